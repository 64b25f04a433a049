"""Processes that belong to a cluster and not to the step that started them: its Trino server, applications that no step waits for.

A step's end takes everything along that the step started, but these. They end with their cluster, as whatever carries its id, and
with `emrjobs local down`, by their mark.
"""

from __future__ import annotations

import contextlib
from typing import Any

import psutil

from framework.local import processes
from framework.local.aws.emr.execution.workspace import ClusterFolder, read_json, write_json
from framework.local.state import Process


def record(cluster: ClusterFolder, name: str, pid: int, **facts: Any) -> None:
    """Make a process that was just started the cluster's own; `facts` are kept with it."""
    cluster.daemons.mkdir(exist_ok=True)
    started = processes.started(psutil.Process(pid))
    write_json(cluster.daemons / f"{name}.json", {**facts, "pid": pid, "started": started})


def facts(cluster: ClusterFolder, name: str) -> dict[str, Any] | None:
    """What was recorded with a process that still runs; None when it does not."""
    known = read_json(cluster.daemons / f"{name}.json")
    return known if known and processes.find(Process(int(known["pid"]), float(known["started"]))) else None


def spared(cluster: ClusterFolder) -> set[int]:
    """Ids of a cluster's own processes and of all that they started."""
    found: set[int] = set()
    for file in cluster.daemons.glob("*.json"):
        if (known := facts(cluster, file.stem)) is not None:
            found.add(int(known["pid"]))
            with contextlib.suppress(psutil.Error):
                found.update(child.pid for child in psutil.Process(int(known["pid"])).children(recursive=True))
    return found
