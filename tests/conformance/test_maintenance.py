"""Undo a run, remove what nobody reads, rewrite small files: on tables that runs have made."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from framework import Job, Param, Path, Table, maintenance
from framework.errors import PublishConflict, UserError
from framework.jobs import EngineKind
from framework.ledger import RunRecord
from framework.platform import Platform
from framework.query import run_query

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]

NOW, WEEK = dt.timedelta(0), dt.timedelta(days=7)
Rows = list[tuple[int, int]]


@pytest.fixture
def publish(platform: Platform, run: Callable[..., RunRecord]) -> Callable[[Table, Rows], RunRecord]:
    """Run a job that publishes these rows of (id, day)."""

    def one(output: Table, rows: Rows) -> RunRecord:
        batch = uuid.uuid4().hex
        text = "".join(json.dumps({"id": number, "day": day}) + "\n" for number, day in rows)
        platform.aws.client("s3").put_object(Bucket="emrjobs-raw", Key=f"maintenance/{batch}.json", Body=text.encode())
        source = Path("{raw}/maintenance/{batch}.json", "json", "id int, day int")
        job = Job("numbers", EngineKind.SPARK, {"rows": source}, output, {"batch": Param(str)}, None, lambda rows: rows, "jobs/n.py", 1)
        return run(job, batch=batch)

    return one


@pytest.fixture
def seen(platform: Platform) -> Callable[[Table], Rows]:
    return lambda output: sorted(run_query(platform, f"SELECT id, day FROM {output.name}", 1000)[1])  # type: ignore[arg-type]


def table(**how: Any) -> Table:
    return Table(f"conformance.k_{uuid.uuid4().hex[:10]}", **how)


@pytest.mark.parametrize(
    ("how", "after_both"),
    [
        ({"partitioned_by": ["day"]}, [(1, 1), (3, 2), (4, 3)]),
        pytest.param({"mode": "merge", "keys": ["id"]}, [(1, 1), (2, 2), (3, 2), (4, 3)], marks=pytest.mark.slow),
        pytest.param({"format": "parquet", "partitioned_by": ["day"]}, [(1, 1), (3, 2), (4, 3)], marks=pytest.mark.slow),
        pytest.param({"format": "parquet", "partitioned_by": ["day"], "mode": "overwrite"}, [(3, 2), (4, 3)], marks=pytest.mark.slow),
        pytest.param({"format": "parquet"}, [(3, 2), (4, 3)], marks=pytest.mark.slow),
    ],
)
def test_a_rollback_shows_what_was_there_before_the_run(
    how: dict[str, Any], after_both: Rows, publish: Any, seen: Any, platform: Platform
) -> None:
    output = table(**how)
    first, second = publish(output, [(1, 1), (2, 2)]), publish(output, [(3, 2), (4, 3)])
    assert seen(output) == after_both
    with pytest.raises(PublishConflict, match=f"has changed since run {first.run_id} published") as caught:
        maintenance.rollback(platform, first.run_id)
    assert caught.value.fix == f"roll back {second.run_id} first"
    assert seen(output) == after_both
    assert maintenance.rollback(platform, second.run_id).status == "rolled_back"
    assert seen(output) == [(1, 1), (2, 2)]
    with pytest.raises(UserError, match="is rolled_back: there is nothing to undo"):
        maintenance.rollback(platform, second.run_id)


@pytest.mark.slow
def test_the_run_that_made_a_table_is_not_undone(publish: Any, seen: Any, platform: Platform) -> None:
    output = table()
    record = publish(output, [(1, 1)])
    with pytest.raises(UserError, match="there is nothing before it"):
        maintenance.rollback(platform, record.run_id)
    assert seen(output) == [(1, 1)]


@pytest.mark.parametrize(
    "how",
    [
        {"partitioned_by": ["day"]},
        pytest.param({"format": "parquet", "partitioned_by": ["day"]}, marks=pytest.mark.slow),
        pytest.param({"format": "parquet"}, marks=pytest.mark.slow),
    ],
)
def test_a_vacuum_removes_what_nobody_reads_and_nothing_else(how: dict[str, Any], publish: Any, seen: Any, platform: Platform) -> None:
    output = table(**how)
    publish(output, [(1, 1), (2, 2)])
    second = publish(output, [(3, 1), (4, 2)])
    root = platform.table(output.name).location.partition("/_runs/")[0]
    bucket, _, key = root.removeprefix("s3://").partition("/")
    crashed = f"{key}/_runs/20230101T000000000-numbers-dead00/part-0.parquet"
    s3 = platform.aws.client("s3")
    s3.put_object(Bucket=bucket, Key=crashed, Body=b"half a file")

    def keys() -> set[str]:
        return {item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=f"{key}/")["Contents"]}

    before = keys()
    assert maintenance.vacuum(platform, output.name, retention=WEEK, dry_run=False).files == ()
    told = maintenance.vacuum(platform, output.name, retention=NOW, dry_run=True)
    assert f"s3://{bucket}/{crashed}" in told.files
    assert keys() == before
    done = maintenance.vacuum(platform, output.name, retention=NOW, dry_run=False)
    assert set(told.files) <= set(done.files)
    assert crashed not in keys()
    assert len(keys()) < len(before) - 1  # the first run's files went too
    assert seen(output) == [(3, 1), (4, 2)]
    assert maintenance.vacuum(platform, output.name, retention=NOW, dry_run=False).files == ()
    with pytest.raises(UserError):  # the run before it has been removed, or nothing is known of it
        maintenance.rollback(platform, second.run_id)
    publish(output, [(5, 1)])
    assert (5, 1) in seen(output)


@pytest.mark.slow
def test_small_files_become_one_and_readers_see_no_change(publish: Any, seen: Any, platform: Platform) -> None:
    output = table(mode="append")
    for number in range(6):
        publish(output, [(number, 1)])
    done = maintenance.optimize(platform, output.name)
    assert (done.rewritten, done.added) == (6, 1)
    assert seen(output) == [(number, 1) for number in range(6)]
    hive = table(format="parquet")
    publish(hive, [(1, 1)])
    with pytest.raises(UserError, match="only Iceberg tables can be optimized"):
        maintenance.optimize(platform, hive.name)


def test_the_commands_say_what_they_did(publish: Any, platform: Platform, emrjobs: Callable[..., Any]) -> None:
    output = table(format="parquet")
    publish(output, [(1, 1)])
    second = publish(output, [(2, 1)])
    done = emrjobs("vacuum", output.name, "--older-than", "0m")
    assert done.code == 0, done.err
    assert done.out.startswith("would remove ")
    assert "nothing was changed; --delete removes it" in done.out
    undone = emrjobs("rollback", second.run_id)
    assert undone.out == f"{output.name} is as it was before run {second.run_id}\n"
    wrong = emrjobs("vacuum", output.name, "--older-than", "soon")
    assert (wrong.code, wrong.err) == (2, "error: --older-than: 'soon' is not a duration\n  fix: write 7d, 36h or 90m\n")
