"""A run that something happens to at a given moment: `python crashing.py ROOT FORMAT MOMENT SIGNAL PID`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path as FilePath
from typing import Any

from framework import Job, Path, Table
from framework.config.loader import load
from framework.jobs import EngineKind
from framework.progress import PhaseEnded, PhaseStarted
from framework.runner import run_job

SOURCE = "crashes/input.json"


def job(table_format: str, suffix: str) -> Job:
    """Copies the input's rows into a partitioned table."""
    output = Table(f"conformance.crash_{table_format}_{suffix}", partitioned_by=["day"], format=table_format)
    source = Path("{raw}/" + SOURCE, "json", "id int, day int")
    return Job("crashing", EngineKind.SPARK, {"rows": source}, output, {}, None, lambda rows: rows.where("id >= 0"), "jobs/crashing.py", 1)


def main() -> None:
    from framework.local.target import open_platform

    root, table_format, suffix, moment, name, pid = sys.argv[1:]
    begins, phase = moment.split("-")

    def strike(event: Any) -> None:
        if isinstance(event, PhaseStarted if begins == "before" else PhaseEnded) and event.phase == phase:
            os.kill(int(pid) or os.getpid(), signal.Signals[name])

    with open_platform(load(FilePath(root), "embedded", variables={}), lambda event: None) as platform:
        run_job(job(table_format, suffix), {}, platform, strike)


if __name__ == "__main__":
    main()
