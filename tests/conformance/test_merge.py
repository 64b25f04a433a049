"""Merge, changes of a table's columns, and the order of rows in files; on real S3 and Glue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from framework.errors import BadData, SchemaMismatch
from framework.jobs import Table
from framework.platform import Platform
from framework.publish import open_area

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]

SCHEMA = "id int, name string, gone boolean"


@pytest.fixture
def publish(publish: Callable[..., Any]) -> Callable[..., Any]:
    return lambda output, rows, schema=SCHEMA: publish(output, rows, schema)


def rows_of(spark: Any, table: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in spark.table(table).collect())


def folders(platform: Platform, table: str) -> list[str]:
    """What lies in the table's `_runs/`."""
    info = platform.table(table)
    bucket, _, key = info.location.removeprefix("s3://").partition("/")
    listed = platform.aws.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{key}/_runs/")
    return [item["Key"] for item in listed.get("Contents", [])]


@pytest.mark.slow
def test_rows_replace_add_and_delete_by_key_and_merging_them_again_changes_nothing(
    table: str, spark: Any, publish: Any, platform: Platform
) -> None:
    output = Table(table, mode="merge", keys=["id"], deletes="gone")
    publish(output, [(1, "a", False), (2, "b", None), (3, "c", True)])
    assert rows_of(spark, table) == [(1, "a"), (2, "b")]
    changes = [(1, "A", False), (2, "b", True), (4, "d", False), (5, "e", True)]
    for _ in range(2):
        done = publish(output, changes)
        assert rows_of(spark, table) == [(1, "A"), (4, "d")]
        assert (done.rows, done.table) == (4, table)
    assert folders(platform, table) == []


@pytest.mark.slow
def test_a_partitioned_table_is_merged_across_its_partitions(table: str, spark: Any, publish: Any) -> None:
    output = Table(table, partitioned_by=["day"], mode="merge", keys=["id"])
    publish(output, [(1, "a", 1), (2, "b", 1)], "id int, name string, day int")
    publish(output, [(1, "a", 2), (3, "c", 3)], "id int, name string, day int")
    assert rows_of(spark, table) == [(1, "a", 2), (2, "b", 1), (3, "c", 3)]


@pytest.mark.parametrize("rows", [[(1, "a", False), (1, "b", False)], [(None, "a", False)]])
def test_keys_that_are_not_unique_or_null_are_refused_before_anything_changes(
    rows: list[Any], table: str, spark: Any, publish: Any, platform: Platform
) -> None:
    output = Table(table, mode="merge", keys=["id"], deletes="gone")
    publish(output, [(7, "a", False)])
    with pytest.raises(BadData, match=r"keys \(id\) that are null or not unique"):
        publish(output, rows)
    assert rows_of(spark, table) == [(7, "a")]
    assert folders(platform, table) == []


@pytest.mark.slow
def test_the_checks_see_the_rows_of_the_run_and_readers_the_old_ones_until_the_merge(
    table: str, spark: Any, publish: Any, platform: Platform
) -> None:
    output = Table(table, mode="merge", keys=["id"], deletes="gone")
    publish(output, [(1, "a", False)])
    area = open_area(spark, platform.catalog, output, "20240101T000000-test-audit")
    area.write(spark.createDataFrame([(1, "A", False)], SCHEMA))
    assert [tuple(row) for row in area.read().collect()] == [(1, "A", False)]
    assert rows_of(spark, table) == [(1, "a")]
    publish(output, [(2, "b", False)])  # another run in between
    area.publish()
    assert rows_of(spark, table) == [(1, "A"), (2, "b")]


def test_a_missing_key_column_is_named(table: str, publish: Any) -> None:
    with pytest.raises(SchemaMismatch, match="has no column idd, by which") as caught:
        publish(Table(table, mode="merge", keys=["idd"]), [(1, "a", False)])
    assert caught.value.fix == "did you mean 'id'?"


@pytest.mark.slow
def test_only_iceberg_tables_can_be_merged_into(table: str, publish: Any) -> None:
    publish(Table(table, format="parquet"), [(1, "a", False)])
    with pytest.raises(SchemaMismatch, match="is parquet; only Iceberg tables can be merged into"):
        publish(Table(table, mode="merge", keys=["id"]), [(1, "a", False)])


def test_columns_are_added_and_widened_as_far_as_the_policy_allows(table: str, spark: Any, publish: Any) -> None:
    publish(Table(table, mode="append"), [(1, 1.5)], "id int, price float")
    with pytest.raises(SchemaMismatch, match="does not fit table") as caught:
        publish(Table(table, mode="append"), [(2, 2.5, "x")], "id int, price float, note string")
    assert "note: the job gives it (string), the table does not have it" in str(caught.value)
    publish(Table(table, mode="append", schema_changes="add_columns"), [(2, 2.5, "x")], "id int, price float, note string")
    assert rows_of(spark, table) == [(1, 1.5, None), (2, 2.5, "x")]
    wide = [(2**40, 0.1, "y")]
    with pytest.raises(SchemaMismatch, match="does not fit"):
        publish(Table(table, mode="append", schema_changes="add_columns"), wide, "id bigint, price double, note string")
    publish(Table(table, mode="append", schema_changes="widen"), wide, "id bigint, price double, note string")
    assert rows_of(spark, table) == [(1, 1.5, None), (2, 2.5, "x"), (2**40, 0.1, "y")]
    with pytest.raises(SchemaMismatch, match="id: the job gives string, the table has bigint"):
        publish(Table(table, mode="append", schema_changes="widen"), [("a", 0.1, "y")], "id string, price double, note string")


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"mode": "append"}, {"mode": "merge", "keys": ["id"]}])
def test_a_run_that_publishes_nothing_leaves_the_columns_as_they_were(
    how: dict[str, Any], table: str, spark: Any, publish: Any, platform: Platform
) -> None:
    publish(Table(table, mode="append"), [(1, 1.5)], "id int, price float")
    output = Table(table, schema_changes="widen", **how)
    area = open_area(spark, platform.catalog, output, "20240101T000000-test-columns")
    area.write(spark.createDataFrame([(2, 0.1, "x")], "id int, price double, note string"))
    area.discard()  # as when a check fails
    assert dict(spark.table(table).dtypes) == {"id": "int", "price": "float"}
    publish(output, [(3, 0.1, "y")], "id int, price double, note string")
    assert rows_of(spark, table) == [(1, 1.5, None), (3, 0.1, "y")]


@pytest.mark.slow
def test_a_column_that_another_run_has_published_stays_and_one_that_is_gone_is_added_again(
    table: str, spark: Any, publish: Any, platform: Platform
) -> None:
    publish(Table(table, mode="append"), [(1,)], "id int")
    output = Table(table, mode="append", schema_changes="add_columns")

    def staged(number: int) -> Any:
        area = open_area(spark, platform.catalog, output, f"20240101T000000-test-shared{number}")
        area.write(spark.createDataFrame([(number, "x")], "id int, note string"))
        return area

    failing, second, third = staged(2), staged(3), staged(4)
    failing.discard()
    second.publish()
    third.publish()
    assert rows_of(spark, table) == [(1, None), (3, "x"), (4, "x")]


@pytest.mark.slow
@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
def test_rows_of_a_file_are_in_the_declared_order(table_format: str, table: str, spark: Any, publish: Any, platform: Platform) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    publish(Table(table, format=table_format, sorted_by=["id"]), [(n * 7 % 10, "a", False) for n in range(10)])
    s3 = platform.aws.client("s3")
    bucket, _, key = platform.table(table).location.removeprefix("s3://").partition("/")
    found = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"] if item["Key"].endswith(".parquet")]
    assert found
    for name in found:
        body = s3.get_object(Bucket=bucket, Key=name)["Body"].read()
        ids = pq.read_table(pa.BufferReader(body)).column("id").to_pylist()
        assert ids == sorted(ids)
