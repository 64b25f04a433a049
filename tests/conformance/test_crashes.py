"""The crash matrix: whatever ends a run, and whenever, readers see the old or the new rows, and the rerun is as if nothing had been."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance import crashing

from framework.config.loader import Loaded
from framework.ledger import RunRecord
from framework.local.target import supervisor
from framework.platform import Platform
from framework.query import run_query

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

MOMENTS = ["before-resolve", "after-resolve", "before-stage", "after-stage", "before-publish", "after-publish"]
FORMATS = ["iceberg", "parquet"]
OLD = [(1, 1), (2, 2)]


@pytest.fixture(scope="module")
def suffix() -> str:
    return uuid.uuid4().hex[:8]


@pytest.fixture(scope="module")
def rows_of(platform: Platform) -> Callable[[str], list[tuple[Any, ...]]]:
    return lambda table: sorted(run_query(platform, f"SELECT id, day FROM {table}", 1000)[1])


@pytest.fixture(scope="module")
def known() -> dict[str, list[tuple[Any, ...]]]:
    """What readers see of the table of each format."""
    return {}


@pytest.fixture
def cell(
    platform: Platform, root: Path, loaded: Loaded, run: Callable[..., RunRecord], rows_of: Any, suffix: str, known: Any
) -> Callable[[str, str, str, int], int]:
    """One cell of the matrix: old rows, a run that something happens to, what readers see, and the rerun; gives the exit code."""

    def one(table_format: str, moment: str, signal: str, pid: int = 0) -> int:
        job = crashing.job(table_format, suffix)
        new = [(uuid.uuid4().int % 10**6, 1), (7, 3)]
        after = sorted([new[0], OLD[1], new[1]])
        if table_format not in known:
            put(platform, [*OLD, (7, 3)])
            run(job)
            known[table_format] = rows_of(job.output.name)
        before = known[table_format]
        put(platform, new)
        command = [sys.executable, "-m", "conformance.crashing", str(root), table_format, suffix, moment, signal, str(pid)]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300, check=False)
        supervisor(loaded, lambda event: None).up(["s3", "aws", "postgres"])
        assert rows_of(job.output.name) in (before, after), done.stderr[-2000:]
        run(job)
        known[table_format] = rows_of(job.output.name)
        assert known[table_format] == after
        assert done.returncode in (-9, -2, 0, 1), done.stderr[-2000:]
        return done.returncode

    return one


def put(platform: Platform, rows: list[tuple[int, int]]) -> None:
    text = "".join(json.dumps({"id": number, "day": day}) + "\n" for number, day in rows)
    platform.aws.client("s3").put_object(Bucket="emrjobs-raw", Key=crashing.SOURCE, Body=text.encode())


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("table_format", FORMATS)
def test_a_driver_that_is_killed(table_format: str, moment: str, cell: Any) -> None:
    assert cell(table_format, moment, "SIGKILL") == -9


@pytest.mark.parametrize("moment", ["before-stage", "before-publish"])
@pytest.mark.parametrize("table_format", FORMATS)
def test_a_run_that_is_interrupted(table_format: str, moment: str, cell: Any) -> None:
    assert cell(table_format, moment, "SIGINT") == -2
