"""The run record: what ran, on what, with what result; one JSON object per run on the state prefix."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from framework.errors import BadData, DatasetNotFound, nearest
from framework.store import Store

_log = logging.getLogger(__name__)

RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "running", "succeeded", "failed", "interrupted"
ROLLED_BACK = "rolled_back"
"""It had succeeded, and what it published was undone."""


@dataclass(frozen=True)
class InputRecord:
    """One input as it was read.

    Attributes:
        rows: None where the engine did not scan it.
        quarantined: malformed records that were set aside, in the folder `quarantine`.
        watermark: what an incremental input has reached; the next run of the same job and parameters begins there.
    """

    name: str
    kind: str
    dataset: str
    rows: int | None = None
    files: int | None = None
    size_bytes: int | None = None
    partitions: int | None = None
    quarantined: int | None = None
    quarantine: str | None = None
    watermark: str | None = None


@dataclass(frozen=True)
class OutputRecord:
    """What was published, and how its rows met those of the table.

    Attributes:
        version, previous: Iceberg snapshot ids, run folders, or in a database the run that made the publication.
        kind: table, or jdbc for a table of a database.
    """

    table: str
    rows: int
    partitions: tuple[str, ...] = ()
    version: str | None = None
    previous: str | None = None
    mode: str | None = None
    kind: str = "table"


@dataclass(frozen=True)
class CheckRecord:
    """One check's outcome in words; `severity` is error or warn."""

    check: str
    severity: str
    success: bool


@dataclass(frozen=True)
class RunRecord:
    """One execution of one job with one set of parameters.

    Attributes:
        run_id: `20130308T101500123-daily_etl-3f2a9c`: sorts by time (milliseconds), safe in paths and table names.
        started, ended: ISO 8601, UTC.
        phases: seconds by phase.
        code: sha256 over the files of jobs/ and the suite.
        error: type, message and exit code of a run that failed.
        cluster, step: EMR's ids, of a run that was a step.
    """

    run_id: str
    job: str
    env: str
    target: str
    engine: str
    params: Mapping[str, str]
    status: str
    started: str
    ended: str | None = None
    seconds: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    inputs: tuple[InputRecord, ...] = ()
    output: OutputRecord | None = None
    checks: tuple[CheckRecord, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    error: Mapping[str, Any] | None = None
    log: str | None = None
    cluster: str | None = None
    step: str | None = None

    def to_json(self) -> bytes:
        """The record as stored."""
        return json.dumps(asdict(self), indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes) -> RunRecord:
        """Read what `to_json` wrote; keys of later versions are ignored.

        Raises:
            BadData: it is something else.
        """
        try:
            raw = _known(cls, json.loads(data))
            raw["inputs"] = tuple(InputRecord(**_known(InputRecord, item)) for item in raw.get("inputs", ()))
            raw["checks"] = tuple(CheckRecord(**_known(CheckRecord, item)) for item in raw.get("checks", ()))
            if raw.get("output"):
                raw["output"] = OutputRecord(**{**_known(OutputRecord, raw["output"]), "partitions": tuple(raw["output"]["partitions"])})
            return cls(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise BadData(f"is not a run record: {exc}") from exc


def _known(record: type[Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key in record.__dataclass_fields__}


def new_run_id(job: str, now: dt.datetime) -> str:
    """An id that sorts by time and is unique without asking anybody."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{job}-{secrets.token_hex(3)}"


def code_hash(root: Path, suite: Path | None) -> str:
    """sha256 over the names and contents of everything in jobs/, and of the suite."""
    digest = hashlib.sha256()
    files = sorted(path for path in (root / "jobs").rglob("*") if path.suffix in (".py", ".sql"))
    for file in [*files, *([suite] if suite else [])]:
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


class Ledger:
    """Run records below `<state>/runs/<day>/`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, record: RunRecord) -> None:
        """Store the record, replacing the one of the same run."""
        self._store.put(_key(record.run_id, "json"), record.to_json())

    def write_log(self, run_id: str, text: str) -> None:
        """Store the run's log."""
        self._store.put(_key(run_id, "log"), text.encode())

    def log_url(self, run_id: str) -> str:
        """Where the run's log is, or will be."""
        return self._store.url(_key(run_id, "log"))

    def log(self, run_id: str) -> str | None:
        """The run's log, None when it has none (yet)."""
        data = self._store.get(_key(run_id, "log"))
        return None if data is None else data.decode(errors="replace")

    def get(self, run_id: str) -> RunRecord:
        """One record; `latest` is the newest run.

        Raises:
            DatasetNotFound: there is no such run.
        """
        if run_id == "latest":
            for record in self.list():
                return record
            raise DatasetNotFound("there are no runs yet", fix="emrjobs run JOB")
        data = self._store.get(_key(run_id, "json"))
        if data is None:
            recent = [record.run_id for _, record in zip(range(50), self.list(), strict=False)]
            raise DatasetNotFound(f"there is no run {run_id!r}", fix=nearest(run_id, recent, what="run") if recent else "emrjobs run JOB")
        return RunRecord.from_json(data)

    def watermarks(self, job: str, params: Mapping[str, str]) -> dict[str, str]:
        """What the inputs of the newest published run of a job with these parameters have reached, by input."""
        for record in self.list(job=job):
            if record.status == SUCCEEDED and dict(record.params) == dict(params):
                return {one.name: one.watermark for one in record.inputs if one.watermark is not None}
        return {}

    def list(self, *, job: str | None = None) -> Iterator[RunRecord]:
        """Records, newest first, read one by one; what is no record is left out."""
        for key in sorted(self._store.keys("runs/"), reverse=True):
            if not key.endswith(".json") or (job and f"-{job}-" not in key):
                continue
            data = self._store.get(key)
            if data is None:
                continue
            try:
                record = RunRecord.from_json(data)
            except BadData as exc:
                _log.warning("%s %s", self._store.url(key), exc)
                continue
            if job in (None, record.job):
                yield record


def _key(run_id: str, suffix: str) -> str:
    return f"runs/{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}/{run_id}.{suffix}"
