"""Write, audit, publish: every table format and mode, on real S3 and Glue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from framework.engines.spark import read
from framework.errors import PublishConflict, SchemaMismatch
from framework.jobs import TABLE_FORMATS, Table
from framework.platform import Platform
from framework.publish import open_area

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]

DAY1, DAY2 = dt.date(2024, 1, 1), dt.date(2024, 1, 2)
SCHEMA = "id int, name string, amount decimal(10,2), at timestamp, day date"
Rows = list[tuple[Any, ...]]


def row(number: int, day: dt.date = DAY1, name: str | None = "plain") -> tuple[Any, ...]:
    from decimal import Decimal

    return (number, name, Decimal(number) / 4, dt.datetime(2024, 1, 1, 12, 30, 15, 250_000), day)


AWKWARD = [row(1, name='a,"b"\\c'), row(2, name=None), row(3, name="ünï, cödé"), row(4, DAY2, name=" spaces ")]


@pytest.fixture
def publish(publish: Callable[..., Any]) -> Callable[..., Any]:
    return lambda output, rows, schema=SCHEMA: publish(output, rows, schema)


@pytest.fixture
def seen(spark: Any, platform: Platform) -> Callable[[str], Rows]:
    """What a reader sees of a table, ordered by id."""

    def one(name: str) -> Rows:
        read.mount(spark, platform.read_of(name))
        return sorted(tuple(found) for found in spark.table(name).select("id", "name", "amount", "at", "day").collect())

    return one


def as_read(rows: Rows, table_format: str, *, partitioned: bool = True) -> Rows:
    """CSV tables (OpenCSVSerde) hold texts; only partition values keep their type."""
    if table_format != "csv":
        return rows
    return [
        (str(number), name, f"{amount:.2f}", at.isoformat(" ").rstrip("0"), day if partitioned else str(day))
        for number, name, amount, at, day in rows
    ]


@pytest.mark.parametrize("table_format", TABLE_FORMATS)
def test_what_is_published_is_what_is_read(table_format: str, table: str, publish: Any, seen: Any) -> None:
    done = publish(Table(table, partitioned_by=["day"], format=table_format), AWKWARD)
    assert (done.rows, done.partitions) == (4, ("day=2024-01-01", "day=2024-01-02"))
    assert seen(table) == as_read(AWKWARD, table_format)


@pytest.mark.parametrize("table_format", TABLE_FORMATS)
def test_overwrite_partitions_replaces_only_the_partitions_of_the_run(table_format: str, table: str, publish: Any, seen: Any) -> None:
    output = Table(table, partitioned_by=["day"], format=table_format)
    publish(output, [row(1), row(2, DAY2)])
    publish(output, [row(3)])
    assert seen(table) == as_read([row(2, DAY2), row(3)], table_format)


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
@pytest.mark.parametrize("partitions", [[], ["day"]])
def test_overwrite_replaces_the_whole_table(table_format: str, partitions: list[str], table: str, publish: Any, seen: Any) -> None:
    output = Table(table, partitioned_by=partitions, format=table_format, mode="overwrite")
    publish(output, [row(1), row(2, DAY2)])
    publish(output, [row(3)])
    assert seen(table) == [row(3)]


@pytest.mark.parametrize("table_format", ["iceberg", "parquet", pytest.param("csv", marks=pytest.mark.slow)])
@pytest.mark.parametrize("partitions", [[], ["day"]])
def test_append_keeps_what_is_there(table_format: str, partitions: list[str], table: str, publish: Any, seen: Any) -> None:
    output = Table(table, partitioned_by=partitions, format=table_format, mode="append")
    publish(output, [row(1), row(2, DAY2)])
    publish(output, [row(3)])
    assert seen(table) == as_read([row(1), row(2, DAY2), row(3)], table_format, partitioned=bool(partitions))


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
def test_staged_rows_are_seen_by_the_checks_and_by_nobody_else(
    table_format: str, table: str, spark: Any, platform: Platform, publish: Any, seen: Any
) -> None:
    output = Table(table, partitioned_by=["day"], format=table_format)
    publish(output, [row(1), row(2, DAY2)])
    area = open_area(spark, platform.catalog, output, "20240101T000000-test-staged")
    area.write(spark.createDataFrame([row(9)], SCHEMA))
    assert [found["id"] for found in area.read().collect()] == [9]
    assert seen(table) == [row(1), row(2, DAY2)]
    area.discard()
    assert seen(table) == [row(1), row(2, DAY2)]


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
def test_a_table_does_not_exist_before_its_first_run_is_published(table_format: str, table: str, spark: Any, platform: Platform) -> None:
    area = open_area(spark, platform.catalog, Table(table, format=table_format), "20240101T000000-test-first")
    area.write(spark.createDataFrame([row(1)], SCHEMA))
    assert platform.catalog.find(table) is None
    area.discard()
    assert [one.name for one in platform.catalog.tables() if one.name.startswith(table)] == []
    again = open_area(spark, platform.catalog, Table(table, format=table_format), "20240101T000000-test-second")
    again.write(spark.createDataFrame([row(1)], SCHEMA))
    again.publish()
    assert platform.catalog.find(table) is not None
    assert [one.name for one in platform.catalog.tables() if one.name.startswith(table)] == [table]


def test_two_runs_of_different_partitions_of_one_iceberg_table_are_both_published(
    table: str, spark: Any, platform: Platform, publish: Any, seen: Any
) -> None:
    output = Table(table, partitioned_by=["day"])
    publish(output, [row(1), row(2, DAY2)])
    first, second = (open_area(spark, platform.catalog, output, f"20240101T000000-test-{name}") for name in ("a", "b"))
    first.write(spark.createDataFrame([row(11)], SCHEMA))
    second.write(spark.createDataFrame([row(12, DAY2)], SCHEMA))
    second.publish()
    first.publish()
    assert seen(table) == [row(11), row(12, DAY2)]


def test_a_full_overwrite_is_staged_again_when_the_iceberg_table_moved_meanwhile(
    table: str, spark: Any, platform: Platform, publish: Any, seen: Any
) -> None:
    output = Table(table, mode="overwrite")
    publish(output, [row(1)])
    first, second = (open_area(spark, platform.catalog, output, f"20240101T000000-test-{name}") for name in ("c", "d"))
    first.write(spark.createDataFrame([row(11)], SCHEMA))
    second.write(spark.createDataFrame([row(12)], SCHEMA))
    second.publish()
    first.publish()
    assert seen(table) == [row(11)]


def test_publishing_one_run_twice_changes_an_iceberg_table_once(
    table: str, spark: Any, platform: Platform, publish: Any, seen: Any
) -> None:
    output = Table(table, mode="append")
    publish(output, [row(1)])
    area = open_area(spark, platform.catalog, output, "20240101T000000-test-twice")
    area.write(spark.createDataFrame([row(2)], SCHEMA))
    publish(output, [row(3)])
    area.publish()
    area.publish()
    assert seen(table) == [row(1), row(2), row(3)]


def test_the_slower_of_two_runs_that_replace_an_unpartitioned_hive_table_is_refused(
    table: str, spark: Any, platform: Platform, publish: Any, seen: Any
) -> None:
    output = Table(table, format="parquet")
    publish(output, [row(1)])
    first, second = (open_area(spark, platform.catalog, output, f"20240101T000000-test-{name}") for name in ("e", "f"))
    first.write(spark.createDataFrame([row(11)], SCHEMA))
    second.write(spark.createDataFrame([row(12)], SCHEMA))
    second.publish()
    with pytest.raises(PublishConflict, match="changed while this run was writing"):
        first.publish()
    assert seen(table) == [row(12)]


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
def test_an_output_that_does_not_fit_the_table_is_refused_with_the_differences(
    table_format: str, table: str, publish: Any, seen: Any
) -> None:
    output = Table(table, partitioned_by=["day"], format=table_format)
    publish(output, [row(1)])
    with pytest.raises(SchemaMismatch) as caught:
        publish(output, [("x", "y", DAY1)], "id string, nme string, day date")
    text = str(caught.value)
    assert "id: the job gives string, the table has int" in text
    assert "amount: the table has it (decimal(10,2)), the job does not give it" in text
    assert "nme: the job gives it (string), the table does not have it; did you mean 'name'?" in text
    assert seen(table) == [row(1)]


def test_a_narrower_type_is_widened_to_the_tables(table: str, publish: Any, spark: Any, platform: Platform) -> None:
    publish(Table(table), [(1, 1.5)], "id bigint, value double")
    publish(Table(table), [(2, 2.5)], "id int, value float")
    assert [tuple(found) for found in spark.table(table).collect()] == [(2, 2.5)]


def test_only_the_partitions_that_the_predicate_can_need_are_listed(table: str, publish: Any, platform: Platform) -> None:
    days = [DAY1 + dt.timedelta(days=number) for number in range(30)]
    publish(Table(table, partitioned_by=["day"], format="parquet"), [row(number, day) for number, day in enumerate(days)])
    info = platform.table(table)
    assert len(platform.catalog.partitions(info)) == 30
    assert [one.values for one in platform.catalog.partitions(info, "day >= '2024-01-30'")] == [("2024-01-30",)]
