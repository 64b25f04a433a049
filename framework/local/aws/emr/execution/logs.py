"""Logs of one piece of work, pushed to the LogUri in EMR's layout: gzip, while it runs and at its end.

S3 cannot append, so an object is replaced each time. What was compressed once is kept: a push compresses the new bytes only, as
one more gzip member (RFC 1952 allows several in one file, and every reader takes them as one text).
"""

from __future__ import annotations

import gzip
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.local.aws.emr.contract import WorkKind
from framework.local.aws.emr.execution.workspace import LOG_NAMES, Order, WorkFolder
from framework.sources.paths import split_s3

_log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two pushes; EMR itself takes up to five minutes."""

_PIECE = 4 * 1024 * 1024
# A long log is not uploaded again and again: at most this many bytes per second on average.
_BYTES_PER_SECOND = 2_000_000


def log_uri(order: Order, name: str) -> str | None:
    """S3 URI of one of a work's own logs; None without a LogUri."""
    if order.log_uri is None:
        return None
    return f"{order.log_uri.rstrip('/')}/{order.work.log_key}/{name}.gz"


def container_uri(order: Order, path: str) -> str | None:
    """S3 URI of a container's log; `path` is `application_*/container_*/stderr`."""
    if order.log_uri is None:
        return None
    return f"{order.log_uri.rstrip('/')}/{order.work.log_key.split('/', 1)[0]}/containers/{path}.gz"


@dataclass
class _Sent:
    """How much of one log is compressed, and how much of that is uploaded."""

    read: int = 0
    uploaded: int = -1
    not_before: float = 0.0


class LogPusher:
    """Pushes the logs of one piece of work.

    Args:
        client: makes the S3 client, when there is something to push for the first time.
    """

    def __init__(self, folder: WorkFolder, order: Order, client: Callable[[], Any]) -> None:
        self._folder, self._order = folder, order
        self._make_client = client
        self._client: Any = None
        self._sent: dict[Path, _Sent] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Push from now on in a thread of its own."""
        if self._order.log_uri is not None:
            self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        # The first look comes early: a user waits for the first lines.
        pause = 1.0
        while not self._stop.wait(pause):
            pause = INTERVAL
            try:
                self.push()
            except Exception as exc:  # the S3 server may be down for a while
                _log.warning("logs not pushed: %s: %s", type(exc).__name__, exc)

    def finish(self, seconds: float) -> bool:
        """Push what is left; try for so many seconds. Whether everything is there."""
        self._stop.set()
        if self._order.log_uri is None:
            return True
        deadline = time.monotonic() + seconds
        pause = 0.2
        while True:
            try:
                self.push(last=True)
                return True
            except Exception as exc:  # the S3 server may be down for a while
                _log.warning("logs not pushed: %s: %s", type(exc).__name__, exc)
            if time.monotonic() + pause > deadline:
                return False
            time.sleep(pause)
            pause *= 2

    def push(self, *, last: bool = False) -> None:
        """Upload every log that has grown; all that is left when it is the last time."""
        with self._lock:
            for path, uri in self._files():
                sent = self._sent.setdefault(path, _Sent())
                if not last and time.monotonic() < sent.not_before:
                    continue
                packed = path.with_name(f"{path.name}.gz")
                self._compress(path, packed, sent)
                size = packed.stat().st_size if packed.exists() else 0
                if size == sent.uploaded or (size == 0 and not last):
                    continue
                self._upload(packed, uri)
                sent.uploaded = size
                sent.not_before = time.monotonic() + size / _BYTES_PER_SECOND

    def _files(self) -> Iterator[tuple[Path, str]]:
        # EMR Serverless and YARN show nothing of what starts a driver.
        for name in ("stdout", "stderr") if self._order.work.kind in (WorkKind.JOB_RUN, WorkKind.APPLICATION) else LOG_NAMES:
            path, uri = self._folder.log(name), log_uri(self._order, name)
            if uri is not None and path.exists():
                yield path, uri
        for path in sorted(self._folder.containers.glob("application_*/container_*/std*")):
            uri = container_uri(self._order, path.relative_to(self._folder.containers).as_posix())
            if uri is not None and path.suffix != ".gz":
                yield path, uri

    @staticmethod
    def _compress(path: Path, packed: Path, sent: _Sent) -> None:
        if sent.read == 0:
            packed.unlink(missing_ok=True)  # of an agent that was killed
        with path.open("rb") as log:
            log.seek(sent.read)
            while piece := log.read(_PIECE):
                with packed.open("ab") as out:
                    out.write(gzip.compress(piece, compresslevel=6))
                sent.read += len(piece)
        if not packed.exists():
            packed.write_bytes(gzip.compress(b""))

    def _upload(self, packed: Path, uri: str) -> None:
        if self._client is None:
            self._client = self._make_client()
        bucket, key = split_s3(uri)
        with packed.open("rb") as body:
            self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/x-gzip")
