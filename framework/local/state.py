"""What is remembered between commands: one small JSON file per service under `.local/state/`, and its secrets.

Files are replaced whole (written beside, then renamed): a reader sees the old or the new one. A file that cannot be read
is taken as "nothing known", which costs a restart and never data.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import string
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from framework.errors import ServiceUnavailable

log = logging.getLogger(__name__)

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Process:
    """One process, told apart from a later one with the same id.

    Attributes:
        pid: process id.
        started: when it started, on a clock that setting the time does not move (see `processes.started`).
    """

    pid: int
    started: float


@dataclass(frozen=True)
class Run:
    """One start of a server.

    Attributes:
        keeper: the small shell that waits for the server and writes down its exit code; leads the process group.
        mark: what the environment of all its processes carries.
        fingerprint: of the service and of what it needs, when it was started.
        began: seconds since the epoch.
        log_from: size of the log file when it was started.
        ready: whether a probe succeeded since.
        stop_signal, stop_timeout: how to stop it, as its `Launch` said.
    """

    keeper: Process
    mark: str
    fingerprint: str
    began: float
    log_from: int
    stop_signal: int
    stop_timeout: float
    server: Process | None = None
    ready: bool = False


@dataclass(frozen=True)
class Record:
    """What is known about one service of this checkout.

    Attributes:
        ports: remembered over restarts.
        run: the start that was not followed by a stop; None when stopped on purpose or never started.
        values, secret: its endpoint, as of the last start.
    """

    ports: Mapping[str, int] = field(default_factory=dict)
    run: Run | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    secret: tuple[str, ...] = ()


State = Literal["running", "starting", "unhealthy", "crashed", "stopped"]


@dataclass(frozen=True)
class ServiceStatus:
    """One row of `emrjobs local status`.

    Attributes:
        began: seconds since the epoch; uptime: seconds; rss: bytes, of the server and its children.
        why: what is wrong, for crashed and unhealthy; how it ended, for one that stopped by itself.
    """

    name: str
    state: State
    pid: int | None
    ports: Mapping[str, int]
    began: float | None
    uptime: float | None
    rss: int | None
    log: Path
    data: Path
    why: str | None = None


class Layout:
    """Where things lie under `<project root>/.local/`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.base = self.root / ".local"
        self.states = self.base / "state"

    def create(self) -> None:
        """Make the folders; `.local` keeps itself out of git.

        Raises:
            ServiceUnavailable: the project folder is not writable.
        """
        try:
            self.states.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.base / "logs").mkdir(exist_ok=True)
            (self.base / "data").mkdir(exist_ok=True)
            ignore = self.base / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as exc:
            raise ServiceUnavailable(f"cannot create {self.base}: {exc.strerror}", fix="make the project folder writable") from exc

    def data(self, name: str) -> Path:
        return self.base / "data" / name

    def private(self, name: str) -> Path:
        return self.states / name

    def log(self, name: str) -> Path:
        return self.base / "logs" / f"{name}.log"

    def exit_file(self, name: str) -> Path:
        """Two lines, written by the keeper of a run: the server's process id, then its exit code."""
        return self.states / f"{name}.exit"

    def lock(self, name: str) -> Path:
        return self.states / f"{name}.lock"

    def record_file(self, name: str) -> Path:
        return self.states / f"{name}.json"

    def home(self) -> str:
        """Tells this checkout from a copy of it: a copied state file must not lead to the other checkout's processes."""
        found = self.states.stat()
        return f"{found.st_dev}:{found.st_ino}"

    def mark(self, name: str) -> str:
        """What the environment of all processes of a service carries: finds them when the state on disk is lost."""
        return f"{self.root}:{name}"

    def recorded(self) -> list[str]:
        """Names of services that have a state file."""
        return sorted(path.stem for path in self.states.glob("*.json"))

    def read(self, name: str) -> Record:
        """The record of a service; an empty one when there is none, it is damaged, or it came with a copy of a checkout."""
        try:
            raw = json.loads(self.record_file(name).read_text(encoding="utf-8"))
            if raw.pop("home") != self.home():
                return Record()
            return _record(raw)
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
            log.warning("%s is damaged and ignored: %s", self.record_file(name), exc)
            return Record()

    def write(self, name: str, record: Record) -> None:
        """Replace the record of a service."""
        write_private(self.record_file(name), json.dumps({"home": self.home(), **asdict(record)}, indent=1))

    def forget(self, name: str) -> None:
        """Delete what reset deletes: data and secrets. Ports are kept, logs too.

        Raises:
            ServiceUnavailable: something could not be deleted.
        """
        for folder in (self.data(name), self.private(name)):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise ServiceUnavailable(f"cannot delete {exc.filename or folder}: {exc.strerror}", where=folder) from exc
        record = self.read(name)
        self.write(name, replace(record, run=None, values={}, secret=()))
        self.exit_file(name).unlink(missing_ok=True)

    def secret(self, name: str, key: str) -> str:
        """A random text of a service, made when first asked for. Call under the service's lock."""
        path = self.private(name) / key
        try:
            known = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            known = ""
        if known:
            return known
        made = "".join(secrets.choice(_ALPHABET) for _ in range(32))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, made)
        return made


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read (0600), whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _record(raw: Mapping[str, Any]) -> Record:
    run = raw["run"]
    if run is not None:
        server = run["server"]
        run = Run(**{**run, "keeper": Process(**run["keeper"]), "server": Process(**server) if server else None})
    return Record(
        ports={str(key): int(value) for key, value in raw["ports"].items()},
        run=run,
        values={str(key): str(value) for key, value in raw["values"].items()},
        secret=tuple(raw["secret"]),
    )
