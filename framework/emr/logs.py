"""Logs of a step on S3: followed as they appear, and the one line in them that explains a failure."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from framework.aws import Aws, error_code, explain
from framework.sources.paths import normalise, split_s3

_APPLICATION = re.compile(r"\bapplication_\d+_\d+\b")
_TRACEBACK = "Traceback (most recent call last):"
_MAX = 20  # lines of a root cause
# A record of log4j in the layouts that EMR and Spark use: `26/11/24 23:15:58 WARN TaskSetManager: ...`.
_RECORD = re.compile(r"(?:\d\d)?\d\d[/-]\d\d[/-]\d\d[ T]\d\d:\d\d:\d\d\S* +(?P<level>TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\b")


@dataclass(frozen=True)
class LogFile:
    """One log of a step: `source` is step or driver, `stream` stdout, stderr, controller or syslog."""

    source: str
    stream: str
    key: str


@dataclass
class DriverOutput:
    """What a person who follows a step wants of its driver's files, in whole lines however the pieces were cut.

    stdout is what the job prints: in cluster mode Spark puts Python's standard error there too. stderr is the JVM's log, thousands
    of lines a run: of it only warnings and errors, a line each; a failure's cause comes at the end, and `emrjobs logs` has it all.
    """

    stream: str
    _rest: str = ""
    _shown: bool = True

    def lines(self, text: str, *, last: bool = False) -> Iterator[str]:
        """The lines that `text` completes; with `last` its own end completes one."""
        *whole, self._rest = (self._rest + text).split("\n")
        if last and self._rest:
            whole, self._rest = [*whole, self._rest], ""
        for line in whole:
            if self.stream == "stdout" or self._tells(line):
                yield line.rstrip("\r")

    def _tells(self, line: str) -> bool:
        found = _RECORD.match(line)
        if found is None:
            return self._shown
        # What follows a record belongs to it, such as a stack trace; before the first one stands what the JVM itself says.
        self._shown = False
        return found["level"] in ("WARN", "ERROR", "FATAL")


@dataclass
class StepLogs:
    """What a step and its driver wrote so far.

    EMR puts a step's own logs below `<log URI>/<cluster>/steps/<step>/`; in cluster mode the driver's are in its container's,
    `<log URI>/<cluster>/containers/<application>/<container>/`, and the step's stderr names the application.
    """

    aws: Aws
    log_uri: str
    cluster_id: str
    step_id: str
    _seen: dict[str, tuple[str, int]] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)
    _application: str | None = None

    def new(self) -> Iterator[tuple[LogFile, str]]:
        """What was added since the last call.

        Raises:
            AccessRefused: the log bucket may not be read.
        """
        for file, tag in self._files():
            known, length = self._seen.get(file.key, ("", 0))
            if known == tag:
                continue
            text = self._read(file.key)
            self._seen[file.key] = (tag, len(text))
            self._texts[file.key] = text
            if file.source == "step" and self._application is None and (found := _APPLICATION.search(text)):
                self._application = found[0]
            if len(text) > length:
                yield file, text[length:]

    def text(self, source: str, stream: str) -> str:
        """All that one of the logs holds, as far as it was read."""
        keys = [key for key in self._texts if _parsed(key, self.step_id) == (source, stream)]
        return "".join(self._texts[key] for key in sorted(keys))

    def _files(self) -> list[tuple[LogFile, str]]:
        bucket, base = split_s3(normalise(self.log_uri))
        root = f"{base.strip('/')}/{self.cluster_id}".lstrip("/")
        prefixes = [f"{root}/steps/{self.step_id}/"]
        if self._application:
            prefixes.append(f"{root}/containers/{self._application}/")
        found = []
        for prefix in prefixes:
            for item in self._list(bucket, prefix):
                parsed = _parsed(item["Key"], self.step_id)
                if parsed:
                    found.append((LogFile(*parsed, item["Key"]), str(item["ETag"])))
        return found

    def _list(self, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
        try:
            for page in self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                yield from page.get("Contents", [])
        except Exception as exc:
            raise explain(exc, f"list s3://{bucket}/{prefix}") from exc

    def _read(self, key: str) -> str:
        bucket, _ = split_s3(normalise(self.log_uri))
        try:
            data = self.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        except Exception as exc:
            if error_code(exc) == "NoSuchKey":
                return ""
            raise explain(exc, f"read s3://{bucket}/{key}") from exc
        return unpacked(data).decode(errors="replace")


def unpacked(data: bytes) -> bytes:
    """Gunzipped, as far as it goes: a log that is still written may end in the middle."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error):
        return zlib.decompressobj(31).decompress(data)


def _parsed(key: str, step_id: str) -> tuple[str, str] | None:
    """(source, stream) of a key; None for a file that nobody follows. The driver is a YARN application's first container."""
    name = key.rsplit("/", 1)[-1].removesuffix(".gz")
    if name not in ("stdout", "stderr", "controller", "syslog"):
        return None
    if f"/steps/{step_id}/" in key:
        return "step", name
    return ("driver", name) if re.search(r"/container_[^/]+_000001/", key) else None


def root_cause(*texts: str) -> list[str]:
    """The few lines that explain a failure: our own message, the Python exception with its place, or the innermost Spark exception.

    Args:
        texts: logs, the most telling first (the driver's stderr, then the step's).
    """
    for find in (_own_message, _python, _java, _last_error):
        for text in texts:
            if found := find(text):
                return found[:_MAX]
    return []


def _own_message(text: str) -> list[str]:
    lines = text.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    if not starts:
        return []
    first = starts[-1]
    rest = []
    for line in lines[first + 1 :]:
        if not line.startswith("  "):
            break
        rest.append(line)
    return [lines[first].removeprefix("error: "), *rest]


def _python(text: str) -> list[str]:
    if _TRACEBACK not in text:
        return []
    lines = text.rpartition(_TRACEBACK)[2].splitlines()[1:]
    block = []
    for line in lines:
        block.append(line)
        if line and not line.startswith(" "):
            break
    error = next((line for line in block if line and not line.startswith(" ")), "")
    frames = [line.strip() for line in block if line.startswith('  File "') and "/pyspark/" not in line and "site-packages" not in line]
    return [error, *(f"  {frame}" for frame in frames[-1:])] if error else []


def _java(text: str) -> list[str]:
    caused = re.findall(r"^(?:Caused by|Exception in thread \"[^\"]+\"): *([\w.$]+(?:Exception|Error)[^\n]*)", text, re.MULTILINE)
    caused = caused or re.findall(r"^Exception in thread \"[^\"]+\" ([\w.$]+[^\n]*)", text, re.MULTILINE)
    return [caused[-1].strip()] if caused else []


def _last_error(text: str) -> list[str]:
    found = [line.strip() for line in text.splitlines() if re.search(r"\bERROR\b|[Ee]xception\b|^fatal", line)]
    return found[-1:]
