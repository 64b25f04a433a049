"""Whatever ends or disturbs a run, and whenever, readers see the old or the new rows, and the rerun is as if nothing had been.

These are some cells of the matrix in `crash_matrix.py`; `make crash-matrix` runs all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.crash_matrix import Cell, Matrix

from framework.config.loader import Loaded
from framework.platform import Platform

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

KILLED, INTERRUPTED = -9, -2


@pytest.fixture(scope="module")
def matrix(platform: Platform, loaded: Loaded) -> Iterator[Matrix]:
    opened = Matrix(platform, loaded)
    yield opened
    opened.clean_up()


@pytest.mark.parametrize(
    ("kind", "moment", "saw"),
    [("iceberg", "after-stage", "old"), ("parquet", "before-publish", "old"), ("jdbc", "after-publish", "new")],
)
def test_a_driver_that_is_killed(kind: str, moment: str, saw: str, matrix: Matrix) -> None:
    done = matrix.run(Cell(kind, "kill-driver", moment))
    assert (done.code, done.saw) == (KILLED, saw)


def test_a_run_that_is_interrupted(matrix: Matrix) -> None:
    assert matrix.run(Cell("iceberg", "interrupt-driver", "before-publish")).code == INTERRUPTED


@pytest.mark.parametrize("cell", [Cell("parquet", "kill-s3", "before-publish"), Cell("jdbc", "kill-postgres", "before-publish")], ids=str)
def test_a_server_that_is_killed(cell: Cell, matrix: Matrix) -> None:
    done = matrix.run(cell)
    assert (done.code, done.saw) == (1, "old")


def test_a_database_whose_disk_is_full(matrix: Matrix) -> None:
    done = matrix.run(Cell("jdbc", "full-postgres", "before-publish"))
    assert (done.code, done.saw) == (1, "old")


def test_a_storm_of_slow_down(matrix: Matrix) -> None:
    done = matrix.run(Cell("iceberg", "slowdown-s3", "before-stage"))
    assert done.struck > 0
    assert done.saw == ("new" if done.code == 0 else "old")  # whether the clients sit it out depends on their luck


def test_a_storm_of_slow_down_at_the_publish(matrix: Matrix) -> None:
    done = matrix.run(Cell("iceberg", "slowdown-s3", "before-publish"))
    assert done.struck > 0
    assert done.saw == "new" or done.code == 1  # one that has committed may have ended by what came after


def test_a_connection_that_drops_in_the_middle_of_a_read(matrix: Matrix) -> None:
    done = matrix.run(Cell("jdbc", "cut-postgres", "before-stage"))
    assert done.struck > 0
    assert (done.code, done.saw) == (1, "old")
    assert "airline_ops" in done.said
