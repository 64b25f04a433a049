"""The publish tests on a Hive metastore, and what only it can get wrong. The rest of the conformance suite runs on Glue."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conformance import test_publish as shared

from framework.catalog import Column, Partition, TableInfo, pruning
from framework.config.loader import Loaded, load
from framework.errors import PublishConflict
from framework.local.target import open_platform
from framework.platform import Platform

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def platform(root: Path, platform: Platform) -> Iterator[Platform]:
    """The same project and services, with the metastore as its catalog."""
    with open_platform(load(root, "embedded", overrides=["catalog.kind=hive"], variables={}), lambda event: None) as opened:
        yield opened


publish, seen = shared.publish, shared.seen

# Everything of the publish suite that goes through the catalog; schema rules do not depend on it, and which partitions are listed
# is tested below: the metastore evaluates no dates.
test_what_is_published_is_what_is_read = shared.test_what_is_published_is_what_is_read
test_overwrite_partitions_replaces_only_the_partitions_of_the_run = shared.test_overwrite_partitions_replaces_only_the_partitions_of_the_run
test_staged_rows_are_seen_by_the_checks_and_by_nobody_else = shared.test_staged_rows_are_seen_by_the_checks_and_by_nobody_else
test_overwrite_replaces_the_whole_table = shared.test_overwrite_replaces_the_whole_table
test_append_keeps_what_is_there = shared.test_append_keeps_what_is_there
test_a_table_does_not_exist_before_its_first_run = shared.test_a_table_does_not_exist_before_its_first_run_is_published
test_two_runs_of_different_partitions = shared.test_two_runs_of_different_partitions_of_one_iceberg_table_are_both_published
test_a_full_overwrite_is_staged_again = shared.test_a_full_overwrite_is_staged_again_when_the_iceberg_table_moved_meanwhile
test_publishing_one_run_twice = shared.test_publishing_one_run_twice_changes_an_iceberg_table_once
test_the_slower_of_two_runs_is_refused = shared.test_the_slower_of_two_runs_that_replace_an_unpartitioned_hive_table_is_refused


def hive_table(name: str, platform: Platform, **keys: str) -> TableInfo:
    location = f"{platform.catalog.ensure_database('conformance')}/{name}"
    partition_keys = tuple(Column(key, kind) for key, kind in keys.items())
    return platform.catalog.create(TableInfo(f"conformance.{name}", "parquet", location, (Column("id", "int"),), partition_keys))


def test_of_many_that_switch_one_table_at_once_one_wins(table: str, platform: Platform) -> None:
    made = hive_table(table.split(".")[1], platform)
    together = threading.Barrier(6)

    def switch(number: int) -> str | None:
        together.wait()
        try:
            platform.catalog.switch(made, f"{made.location}/_runs/{number}")
        except PublishConflict:
            return None
        return f"{made.location}/_runs/{number}"

    with ThreadPoolExecutor(6) as pool:
        winners = [location for location in pool.map(switch, range(6)) if location]
    assert len(winners) == 1
    assert platform.table(table).location == winners[0]


def test_runs_that_publish_the_same_partitions_at_once_lose_none(table: str, platform: Platform) -> None:
    made = hive_table(table.split(".")[1], platform, day="date")
    days = [str(dt.date(2024, 1, 1) + dt.timedelta(days=number)) for number in range(150)]

    def put(run: str) -> None:
        platform.catalog.put_partitions(made, [Partition((day,), f"{made.location}/_runs/{run}/day={day}") for day in days])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(put, "abc"))
    found = platform.catalog.partitions(made)
    assert sorted(one.values[0] for one in found) == days
    put("d")
    assert {one.location for one in platform.catalog.partitions(made)} == {f"{made.location}/_runs/d/day={day}" for day in days}
    platform.catalog.delete_partitions(made, found[10:])
    assert len(platform.catalog.partitions(made)) == 10


@pytest.mark.parametrize(
    ("kind", "values", "predicate", "kept"),
    [
        ("date", ["2024-01-01", "2024-02-01"], "part = DATE '2024-02-01'", ["2024-02-01"]),
        ("int", ["1", "9", "10"], "part between 9 and 10", ["9", "10"]),
        ("bigint", ["1", "9", "10"], "part in (1, 10)", ["1", "10"]),
        ("string", ["a", "b", "__HIVE_DEFAULT_PARTITION__"], "part in ('a', 'c')", ["a"]),
        ("timestamp", ["2024-01-01 00:00:00"], "part = TIMESTAMP '2024-01-01 00:00:00'", ["2024-01-01 00:00:00"]),
        ("decimal(4,1)", ["1.5", "2.5"], "part = 1.5", ["1.5"]),
    ],
)
def test_a_partition_that_the_predicate_needs_is_never_left_out(
    kind: str, values: list[str], predicate: str, kept: list[str], table: str, platform: Platform
) -> None:
    made = hive_table(table.split(".")[1], platform, part=kind)
    platform.catalog.put_partitions(made, [Partition((value,), f"{made.location}/part={value}") for value in values])
    expression = pruning.expression(predicate, made.partition_keys)
    found = {one.values[0] for one in platform.catalog.partitions(made, expression)}
    assert set(kept) <= found <= set(values)
    if kind in ("int", "bigint", "string"):
        assert found == set(kept)


def test_a_database_of_the_metastore_lies_apart_from_those_of_glue(loaded: Loaded, platform: Platform) -> None:
    assert platform.table("reference.airlines").location.startswith("s3://emrjobs-warehouse/hive/")
    with open_platform(loaded, lambda event: None) as glue:
        locations = {one.location for one in glue.catalog.tables()} & {one.location for one in platform.catalog.tables()}
    assert locations == set()
