"""The crash matrix: kinds of output x faults x moments, and what must hold in each of its cells.

`make crash-matrix` runs all of it and writes the counts to benchmarks/RESULTS.md; the tests run a part.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from conformance import crashing
from lake_reader import Lake

from framework.config.loader import Loaded
from framework.jobs import Jdbc
from framework.local.target import supervisor
from framework.maintenance import vacuum
from framework.platform import Platform
from framework.runner import run_job
from framework.sources import postgresql

Rows = list[tuple[int, int]]

LAKE, ALL = ("iceberg", "parquet"), ("iceberg", "parquet", "jdbc")
_PADDING = 300
SERVICES = ("s3", "aws", "postgres", "spark")
# Phases begin and end one after the other: the end of one is the beginning of the next, but for what the driver itself does between.
MOMENTS = ("before-resolve", "before-stage", "in-stage", "after-stage", "before-publish", "in-publish", "after-publish")
FEW = ("before-resolve", "in-stage", "before-publish", "after-publish")


@dataclass(frozen=True)
class Cell:
    """One cell: what kind of table is written, what happens, and when."""

    kind: str
    fault: str
    moment: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.fault}, {self.moment}"


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        code: the run's exit code; negative for a signal.
        saw: what readers saw after the fault, old or new.
        struck: connections that were cut, requests that were refused.
    """

    cell: Cell
    code: int
    saw: str
    struck: int
    seconds: float
    said: str


def cells() -> list[Cell]:
    """All of the matrix."""
    plan: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
        ("kill-driver", ALL, MOMENTS),
        ("interrupt-driver", ALL, ("in-stage", "before-publish")),
        ("kill-s3", LAKE, FEW),
        ("kill-aws", LAKE, FEW),
        ("kill-postgres", ("jdbc",), FEW),
        ("kill-spark", ALL, ("in-stage", "before-publish")),
        ("full-s3", LAKE, ("before-stage", "before-publish")),
        ("full-postgres", ("jdbc",), ("before-stage", "before-publish")),
        ("full-spark", LAKE, ("before-stage",)),
        ("slowdown-s3", LAKE, ("before-resolve", "before-stage", "before-publish", "after-publish")),
        ("cut-s3", LAKE, ("before-stage", "before-publish")),
        ("cut-postgres", ("jdbc",), ("before-stage", "before-publish")),
    ]
    return [Cell(kind, fault, moment) for fault, kinds, moments in plan for moment in moments for kind in kinds]


class Matrix:
    """Runs cells on one platform; each begins with what the one before has left."""

    def __init__(self, platform: Platform, loaded: Loaded) -> None:
        self._platform = platform
        self._loaded = loaded
        self._lake = Lake.of(platform.aws)
        self._suffix = uuid.uuid4().hex[:8]
        self._known: dict[str, Rows] = {}

    def run(self, cell: Cell) -> Outcome:
        """One cell.

        Raises:
            AssertionError: readers saw something else than the old or the new rows, the run did not end cleanly, or the rerun gave
                something else than an undisturbed run.
        """
        begun = time.monotonic()
        job = crashing.job(cell.kind, self._suffix)
        if cell.kind not in self._known:
            self._put(cell.kind, [(1, 1), (2, 2), (7, 3)])
            run_job(job, {}, self._platform)
            self._known[cell.kind] = self.rows_of(cell.kind)
            assert self._known[cell.kind] == [(1, 1), (2, 2), (7, 3)]
        before = self._known[cell.kind]
        number = uuid.uuid4().int % 10**6
        # Days 1 and 3 are replaced; day 2 has the rows of the first run for ever.
        after = sorted([(number, 1), (2, 2), (7, 3)])
        self._put(cell.kind, [(number, 1), (7, 3)])
        command = [sys.executable, "-m", "conformance.crashing", str(self._loaded.root), cell.kind, self._suffix, cell.moment, cell.fault]
        try:
            done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300, check=False)
        finally:
            self._repair()
        seen = self.rows_of(cell.kind)
        assert seen in (before, after), f"{cell}: readers see {seen}; before {before}, after {after}\n{done.stderr[-3000:]}"
        run_job(job, {}, self._platform)
        self._known[cell.kind] = self.rows_of(cell.kind)
        assert self._known[cell.kind] == after, f"{cell}: the rerun gave {self._known[cell.kind]} instead of {after}"
        said = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), "")
        assert done.returncode in (-9, -2, 0) or (done.returncode == 1 and said), f"{cell}: {done.returncode}\n{done.stderr[-3000:]}"
        struck = re.search(r"struck: (\d+)", done.stdout)
        return Outcome(
            cell,
            done.returncode,
            "new" if seen == after else "old",
            int(struck[1]) if struck else 0,
            time.monotonic() - begun,
            said,
        )

    def forget(self, kind: str) -> None:
        """The next cell of this kind begins afresh."""
        self._known.pop(kind, None)

    def clean_up(self) -> dict[str, int]:
        """Vacuum what the faults left; files and staged tables that were removed, by kind.

        Raises:
            AssertionError: something is left, or readers see a difference.
        """
        removed = {}
        for kind, known in self._known.items():
            name = crashing.job(kind, self._suffix).output.name
            done = vacuum(self._platform, name, retention=dt.timedelta(0), dry_run=False)
            removed[kind] = len(done.files) + len(done.names)
            again = vacuum(self._platform, name, retention=dt.timedelta(0), dry_run=True)
            assert (again.files, again.names) == ((), ()), f"{name}: {again}"
            assert self.rows_of(kind) == known
        return removed

    def rows_of(self, kind: str) -> Rows:
        """What a reader sees, by a reader that is none of this framework's."""
        output = crashing.job(kind, self._suffix).output
        if isinstance(output, Jdbc):
            with postgresql.connect(self._platform.open_connection(output.connection)) as connection:
                return [(row[0], row[1]) for row in connection.execute(f"SELECT id, day FROM {output.table} ORDER BY 1, 2").fetchall()]
        return sorted((row[0], row[1]) for row in self._lake.read(output.name).rows)

    def _put(self, kind: str, rows: Rows) -> None:
        """The input: these rows, and padding, so that it can be cut in the middle."""
        padded = [*rows, *[(-1 - number, 0) for number in range(_PADDING)]]
        if kind != "jdbc":
            text = "".join(json.dumps({"id": number, "day": day, "filler": "x" * 1000}) + "\n" for number, day in padded)
            self._platform.aws.client("s3").put_object(Bucket="emrjobs-raw", Key=crashing.SOURCE, Body=text.encode())
            return
        name = crashing.source_table(self._suffix)
        with postgresql.connect(self._platform.open_connection(crashing.CONNECTION)) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
            cursor.execute(f"CREATE TABLE {name} (id int, day int, filler text)")
            cursor.executemany(f"INSERT INTO {name} VALUES (%s, %s, repeat('x', 1000))", padded)

    def _repair(self) -> None:
        """The servers as they were: what died is started again, and no file is limited."""
        services = supervisor(self._loaded, lambda event: None)
        for one in services.status(SERVICES):
            if one.pid:
                crashing.limit_files(one.pid, -1)
        services.up(SERVICES)
