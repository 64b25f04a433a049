"""A run that something happens to at a given moment: `python -m conformance.crashing ROOT KIND SUFFIX MOMENT FAULT`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import psutil
from conformance.unreliable import Proxy

from framework import Jdbc, Job, Path, Table
from framework.config.loader import load
from framework.errors import EmrjobsError
from framework.jobs import EngineKind
from framework.local.supervisor import Supervisor
from framework.progress import PhaseEnded, PhaseStarted
from framework.runner import run_job

SOURCE = "crashes/input.json"
CONNECTION = "airline_ops"
STORM = 4.0  # seconds
# S3A would wait many minutes for a server that is gone.
IMPATIENT = {"spark.hadoop.fs.s3a.attempts.maximum": "3", "spark.hadoop.fs.s3a.retry.limit": "3"}
FULL = 15.0  # seconds; of S3, whose clients wait for many minutes


def source_table(suffix: str) -> str:
    """The input of the job that writes to a database."""
    return f"crash_source_{suffix}"


def job(kind: str, suffix: str) -> Job:
    """Copies rows of its input, which is padded, into a table whose days it replaces."""

    def copied(rows: Any) -> Any:
        # In a form that no source takes over: every row is read, padding too.
        kept = rows.where("id + length(filler) > 0 and id + 0 >= 0").select("id", "day")
        return kept.repartition("day")  # with files of Spark's own in between

    output: Table | Jdbc
    if kind == "jdbc":
        output, source = Jdbc(CONNECTION, f"crash_out_{suffix}", partitioned_by=["day"]), Jdbc(CONNECTION, source_table(suffix))
    else:
        output = Table(f"conformance.crash_{kind}_{suffix}", partitioned_by=["day"], format=kind)
        source = Path("{raw}/" + SOURCE, "json", "id int, day int, filler string")
    return Job("crashing", EngineKind.SPARK, {"rows": source}, output, {}, None, copied, "jobs/crashing.py", 1)


def limit_files(pid: int, size: int) -> None:
    """No file of a process, nor of one that it starts, may grow beyond `size` bytes: a write fails with EFBIG, as on a full disk."""
    try:
        process = psutil.Process(pid)
        user, group = process.uids().real, process.gids().real
    except psutil.NoSuchProcess:  # it has died of it
        return
    # The database may run as another user, whose limits only that user may change.
    other = {"user": user, "group": group, "extra_groups": []} if user != os.getuid() else {}
    subprocess.run(["prlimit", f"--pid={pid}", f"--fsize={'unlimited' if size < 0 else size}:"], check=False, **other)


class Faults:
    """What can happen, by name; `slowdown-s3` and the like need the ways through the proxies."""

    def __init__(self, services: Supervisor) -> None:
        endpoints = services.up(["s3", "aws", "postgres", "spark"])
        self._services = services
        self._pids = {one.name: one.pid or 0 for one in services.status()}
        # The service is a small host; the JVM is its child.
        self._pids["spark"] = next(one.pid for one in psutil.Process(self._pids["spark"]).children() if one.name() == "java")
        self.s3, self.postgres = Proxy(int(endpoints["s3"]["port"])), Proxy(int(endpoints["postgres"]["port"]))
        self.variables = {
            "EMRJOBS__AWS__S3_ENDPOINT_URL": f"http://127.0.0.1:{self.s3.port}",
            "EMRJOBS__CONNECTIONS__AIRLINE_OPS__PORT": str(self.postgres.port),
        }

    def of(self, name: str) -> Callable[[], None]:
        """What strikes: `kill-driver`, `interrupt-driver`, `kill-s3`, `full-spark`, `slowdown-s3`, `cut-postgres` ..."""
        what, _, whom = name.partition("-")
        if whom == "driver":
            return lambda: os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGINT)
        if what == "kill":
            return lambda: os.kill(self._pids[whom], signal.SIGKILL)
        if what == "full":
            return lambda: self._fill(whom)
        proxy = self.s3 if whom == "s3" else self.postgres
        if what == "slowdown":
            return lambda: proxy.slow_down(STORM)
        return lambda: proxy.cut(after=50_000 if whom == "s3" else 20_000, times=3)

    def _fill(self, whom: str) -> None:
        limit_files(self._pids[whom], 1)
        if whom == "s3":
            threading.Timer(FULL, self._make_room).start()

    def end(self) -> None:
        """Nothing is limited any more."""
        limit_files(self._pids["spark"], -1)

    def _make_room(self) -> None:
        # SeaweedFS writes no more to a volume whose disk was full, until it is started again.
        os.kill(self._pids["s3"], signal.SIGKILL)
        self._services.up(["s3"])


def main() -> None:
    from framework.local.target import open_platform, supervisor

    root, kind, suffix, moment, fault = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    point, _, phase = moment.partition("-")
    faults = Faults(supervisor(load(FilePath(root), "embedded", variables={}), lambda event: None))
    act = faults.of(fault)

    def strike(event: Any) -> None:
        if not isinstance(event, PhaseEnded if point == "after" else PhaseStarted) or event.phase != phase:
            return
        if point == "in":
            threading.Timer(0.3, act).start()
        else:
            act()

    loaded = load(FilePath(root), "embedded", variables=faults.variables)
    spark = loaded.settings.spark
    impatient = loaded.settings.model_copy(update={"spark": spark.model_copy(update={"conf": {**spark.conf, **IMPATIENT}})})
    loaded = replace(loaded, settings=impatient)
    try:
        with open_platform(loaded, lambda event: None) as platform:
            run_job(job(kind, suffix), {}, platform, strike)
    except EmrjobsError as exc:
        print(f"error: {exc}", file=sys.stderr)
        sys.exit(1)
    finally:
        faults.end()
        print(f"struck: {faults.s3.struck + faults.postgres.struck}")


if __name__ == "__main__":
    main()
