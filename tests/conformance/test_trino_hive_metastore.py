"""The Trino suite's publish tests with a Hive metastore as the catalog, on the same server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance import test_trino as shared
from trino.exceptions import TrinoQueryError

from framework.config.loader import Loaded, load
from framework.engines.spark import conf
from framework.engines.trino.client import TrinoClient
from framework.jobs import Table
from framework.local.target import open_platform
from framework.platform import Platform

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def platform(root: Path, platform: Platform) -> Iterator[Platform]:
    """The same project and services, with the metastore as its catalog."""
    with open_platform(load(root, "embedded", overrides=["catalog.kind=hive"], variables={}), lambda event: None) as opened:
        yield opened


client, run_sql, seen = shared.client, shared.run_sql, shared.seen

# What goes through the catalog, once for each of its ways; statements, their mistakes and a killed server do not depend on it.


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
def test_a_runs_rows_replace_the_partitions_that_it_wrote(
    table_format: str, table: str, run_sql: shared.RunSql, seen: Any, platform: Platform
) -> None:
    shared.test_a_runs_rows_replace_the_partitions_that_it_wrote(table_format, table, run_sql, seen, platform)


@pytest.mark.parametrize(("table_format", "keys"), [("iceberg", []), ("parquet", []), ("parquet", ["day"])])
def test_append_adds_and_overwrite_replaces_all(table_format: str, keys: list[str], table: str, run_sql: shared.RunSql, seen: Any) -> None:
    shared.test_append_adds_and_overwrite_replaces_all(table_format, keys, table, run_sql, seen)


def test_of_many_publishers_at_once_none_loses_a_row(table: str, run_sql: shared.RunSql, seen: Any, platform: Platform) -> None:
    shared.test_of_many_publishers_at_once_none_loses_a_row_and_the_last_one_replaces_all("append", table, run_sql, seen, platform)


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
def test_failing_checks_leave_the_table_and_the_bucket_as_they_were(
    table_format: str, table: str, run_sql: shared.RunSql, seen: Any, platform: Platform
) -> None:
    shared.test_failing_checks_leave_the_table_and_the_bucket_as_they_were(table_format, table, run_sql, seen, platform)


def test_spark_reads_what_trino_wrote_and_trino_writes_into_what_spark_evolved(
    table: str, run_sql: shared.RunSql, platform: Platform
) -> None:
    run_sql(Table(table, partitioned_by=["day"]), shared.values(shared.row(1), shared.row(2, 2)))
    with platform.spark() as spark:
        conf.prepare(spark, platform.aws)
        # The metastore compares columns by position and takes new ones at the end only.
        spark.sql(f"ALTER TABLE {table} ADD COLUMN amount double")
        run_sql(Table(table, partitioned_by=["day"]), "SELECT 5 AS id, 'five' AS name, DATE '2024-01-02' AS day, 2.5e0 AS amount")
        found = sorted(tuple(one) for one in spark.sql(f"SELECT id, name, amount FROM {table}").collect())
    assert found == [(1, "plain", None), (5, "five", 2.5)]


def test_one_server_serves_the_lake_of_either_catalog(platform: Platform, loaded: Loaded, table: str, run_sql: shared.RunSql) -> None:
    run_sql(Table(table), shared.values(shared.row(1)))
    sql = f"SELECT id FROM {table}"
    server = TrinoClient(platform.trino_url(()), "tests")
    assert server.execute(sql).rows == [[1]]
    with open_platform(loaded, lambda event: None) as on_glue:
        assert on_glue.trino_url(()) == server.url
        with pytest.raises(TrinoQueryError, match="does not exist"):
            server.execute(sql)
    assert platform.trino_url(()) == server.url
    assert server.execute(sql).rows == [[1]]
