"""Where things lie on disk: one folder per cluster, in it one per piece of work. Files are replaced whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framework.local.aws.emr.contract import ClusterSpec, Outcome, Work, WorkKind

LOG_NAMES = ("controller", "syslog", "stdout", "stderr")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file: a reader sees the old or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1)
    Path(temporary).replace(path)


def read_json(path: Path) -> Any:
    """Content of a JSON file; None when there is none, or it was damaged by the machine's own end."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _name(text: str) -> str:
    if not _SAFE.fullmatch(text):
        raise ValueError(f"{text!r} is not an id")
    return text


class Clusters:
    """The folder of all clusters."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def cluster(self, cluster_id: str) -> ClusterFolder:
        return ClusterFolder(self.root / _name(cluster_id))

    def all(self) -> list[ClusterFolder]:
        return [ClusterFolder(path) for path in sorted(self.root.iterdir()) if path.is_dir()] if self.root.is_dir() else []


@dataclass(frozen=True)
class ClusterFolder:
    """One cluster's folder: the stand-in for its node's file system, its HDFS, and its work."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def alive(self) -> bool:
        """Whether it was prepared and not released yet."""
        return (self.path / "node.json").exists()

    @property
    def node(self) -> Path:
        """What is `/` for the cluster: usr/bin, etc/spark/conf, home/hadoop, ..."""
        return self.path / "node"

    @property
    def hdfs(self) -> Path:
        """What `hdfs:///` shows."""
        return self.path / "hdfs"

    @property
    def daemons(self) -> Path:
        """What outlives the step that started it: see `daemons`."""
        return self.path / "daemons"

    def work(self, work_id: str) -> WorkFolder:
        return WorkFolder(self.path / "work" / _name(work_id))

    def all_work(self) -> list[WorkFolder]:
        parent = self.path / "work"
        return [WorkFolder(path) for path in sorted(parent.iterdir())] if parent.is_dir() else []


@dataclass(frozen=True)
class Order:
    """What an agent has to do. No secret is in it: those are in the agent's environment only."""

    work: Work
    cluster_id: str
    release: str
    region: str
    log_uri: str | None

    @classmethod
    def of(cls, cluster: ClusterSpec, work: Work) -> Order:
        return cls(work, cluster.id, cluster.release, cluster.region, cluster.log_uri)


@dataclass(frozen=True)
class WorkFolder:
    """One piece of work's folder."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def cluster(self) -> ClusterFolder:
        return ClusterFolder(self.path.parent.parent)

    @property
    def lock(self) -> Path:
        """Held by the agent as long as it lives, so that there is never a second one."""
        return self.path / "lock"

    @property
    def processes(self) -> Path:
        """`agent` and `child`, each with pid and start time."""
        return self.path / "processes.json"

    @property
    def cancel(self) -> Path:
        """There as soon as the work was cancelled; holds how."""
        return self.path / "cancel.json"

    @property
    def undelivered(self) -> Path:
        """There when the last logs could not be pushed."""
        return self.path / "undelivered"

    @property
    def agent_log(self) -> Path:
        return self.path / "agent.log"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def containers(self) -> Path:
        """`application_*/container_*/{stdout,stderr}` of what runs in cluster mode."""
        return self.path / "containers"

    @property
    def cwd(self) -> Path:
        return self.path / "cwd"

    def log(self, name: str) -> Path:
        return self.logs / name

    def create(self, order: Order) -> None:
        for folder in (self.path, self.logs, self.cwd):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "order.json", asdict(order))

    def start_agent(self, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the process that does what was ordered here, and outlives whoever starts it.

        Raises:
            OSError: no process can be started.
        """
        with self.agent_log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-m", "framework.local.aws.emr.execution.agent", str(self.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.path,
                env=env,
                start_new_session=True,
            )

    def order(self) -> Order:
        """What is to be done.

        Raises:
            KeyError: nothing was ordered here.
        """
        raw = read_json(self.path / "order.json")
        if raw is None:
            raise KeyError(f"{self.cluster.id}/{self.id}")
        work = raw.pop("work")
        return Order(work=Work(**{**work, "kind": WorkKind(work["kind"]), "args": tuple(work["args"])}), **raw)

    def outcome(self) -> Outcome | None:
        raw = read_json(self.path / "outcome.json")
        return None if raw is None else Outcome(**raw)

    def write_outcome(self, outcome: Outcome) -> None:
        write_json(self.path / "outcome.json", asdict(outcome))
