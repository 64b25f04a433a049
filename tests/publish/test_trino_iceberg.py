"""What becomes of a run's files when the catalog's answer is lost, a commit is heard twice, or a run is made again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from publish.lake import COLUMNS, DATABASE, S3, Fault, Killed, Lake, Names, Rows, Trino, Unreachable, spark
from pyiceberg.exceptions import CommitFailedException

from framework.jobs import Table
from framework.maintenance import vacuum
from framework.publish.trino import Query
from framework.publish.trino_iceberg import TrinoIcebergArea
from framework.publish.trino_merge import TrinoMergeArea

NAME = f"{DATABASE}.daily"
OUTPUT = Table(NAME, partitioned_by=["day"], mode="append")
MERGED = Table(NAME, partitioned_by=["day"], mode="merge", keys=["id"])
OLD, NEW = [(1, "mon", 1)], [(2, "tue", 2)]


@pytest.fixture
def lake() -> Iterator[Lake]:
    lake = Lake()
    with lake.opened(), lake.process(None):
        yield lake


@pytest.fixture
def staged(lake: Lake) -> Callable[..., Any]:
    """An area that holds these rows."""

    def one(rows: Rows, run: str, output: Table = OUTPUT) -> Any:
        names: Any = Names(lake)
        kind = TrinoMergeArea if output.keys else TrinoIcebergArea
        trino: Any = Trino(lake, {"rows_1": rows})
        aws: Any = SimpleNamespace(client=lambda service: S3(lake))
        area = kind(trino, names, aws, output, f"20240101T000000000-daily-{run}", names.find(NAME))
        area.write(Query("SELECT * FROM rows_1", COLUMNS, {}))
        return area

    return one


def publish_with(lake: Lake, area: Any, fault: Fault) -> Exception | None:
    """Publish as a run does that meets the fault, and gives up in order."""
    try:
        with lake.process(fault):
            area.publish()
    except Exception as exc:
        area.discard()
        return exc
    return None


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("operation", range(8))
def test_rows_that_readers_may_see_outlive_a_lost_answer(lake: Lake, staged: Any, first: bool, operation: int) -> None:
    if not first:
        staged(OLD, "aaaaaa").publish()
    before = lake.rows(NAME)
    publish_with(lake, staged(NEW, "bbbbbb"), Fault(operation, heard=True, kind=Unreachable))
    assert lake.rows(NAME) in (before, sorted([*(before or []), *NEW]))
    staged(NEW, "bbbbbb").publish()
    assert lake.rows(NAME) == sorted([*(before or []), *NEW])


def test_a_commit_that_was_heard_and_then_refused_is_a_publication(lake: Lake, staged: Any) -> None:
    staged(OLD, "aaaaaa").publish()
    assert publish_with(lake, staged(NEW, "bbbbbb"), Fault(0, heard=True, kind=CommitFailedException)) is None
    assert lake.rows(NAME) == [*OLD, *NEW]


@pytest.mark.parametrize("operation", range(4))
def test_a_first_run_that_is_killed_and_made_again_appends_once(lake: Lake, staged: Any, operation: int) -> None:
    area = staged(NEW, "aaaaaa")
    with pytest.raises(Killed) if operation < 3 else nullcontext(), lake.process(Fault(operation, heard=True, kind=Killed)):
        area.publish()
    with lake.process(None):
        staged(NEW, "aaaaaa").publish()
    assert lake.rows(NAME) == NEW
    assert [info.name for info in Names(lake).tables()] == [NAME]


def test_of_two_first_runs_the_slower_leaves_nothing_but_its_rows(lake: Lake, staged: Any) -> None:
    faster, slower = staged(OLD, "aaaaaa"), staged(NEW, "bbbbbb")
    faster.publish()
    slower.publish()
    assert lake.rows(NAME) == [*OLD, *NEW]
    table = lake.tables.load_table(NAME)
    beside = {uri for uri in lake.objects if not uri.startswith(f"{table.location()}/")}
    # The rows of the slower one stay where they were written.
    assert beside == {task.file.file_path for task in table.scan(row_filter="day = 'tue'").plan_files()}


def test_a_run_that_was_rolled_back_can_be_published_again(lake: Lake, staged: Any) -> None:
    staged(OLD, "aaaaaa").publish()
    done = staged(NEW, "bbbbbb").publish()
    lake.tables.load_table(NAME).manage_snapshots().rollback_to_snapshot(int(done.previous)).commit()
    assert lake.rows(NAME) == OLD
    staged(NEW, "bbbbbb").publish()
    assert lake.rows(NAME) == [*OLD, *NEW]


def test_a_rollback_of_a_merge_leaves_what_came_just_before_it(lake: Lake, staged: Any) -> None:
    staged(OLD, "aaaaaa").publish()
    merge, other = staged([(1, "mon", 3)], "bbbbbb", MERGED), staged(NEW, "cccccc")
    between = []
    lake.meanwhile = lambda: between.append(other.publish())
    done = merge.publish()
    assert lake.rows(NAME) == [(1, "mon", 3), *NEW]
    assert done.previous == between[0].version


def test_a_vacuum_removes_what_a_killed_first_run_left_in_a_folder_of_its_own(lake: Lake, staged: Any) -> None:
    staged(OLD, "aaaaaa")  # killed
    staged(NEW, "bbbbbb").publish()
    lake.now += 3600
    names: Any = Names(lake)
    platform: Any = SimpleNamespace(
        catalog=names,
        aws=SimpleNamespace(client=lambda service: S3(lake), credentials=lambda: None),
        settings=SimpleNamespace(connections={}),
        table=names.find,
        spark=lambda: nullcontext(spark(lake)),
    )
    root = names.find(NAME).location
    assert any(not uri.startswith(f"{root}/") for uri in lake.objects)
    vacuum(platform, NAME, retention=dt.timedelta(minutes=1), dry_run=False)
    assert all(uri.startswith(f"{root}/") for uri in lake.objects)
    assert lake.rows(NAME) == NEW
