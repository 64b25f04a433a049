"""Presto jobs on the embedded target, with a Hive metastore as the catalog: the Trino suite's publish tests, and what is Presto's own.

Only `make test-presto` runs them: the server is an archive of 2 GB.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sample_figures as figures
from builders import attempt
from conformance import test_trino as shared

from framework.config.loader import Loaded, load
from framework.discovery import discover
from framework.engines.presto.client import PrestoClient
from framework.engines.spark import conf, read
from framework.errors import AccessRefused, ConfigError, DatasetNotFound, EngineUnavailable, JobFailed
from framework.jobs import EngineKind, Job, Param, Sql, Table
from framework.ledger import RunRecord
from framework.local.supervisor import Supervisor
from framework.local.target import open_platform
from framework.platform import Platform
from framework.runner import run_job

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.presto, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def platform(root: Path, platform: Platform) -> Iterator[Platform]:
    """The same project and services, with the metastore as its catalog."""
    with open_platform(load(root, "embedded", overrides=["catalog.kind=hive"], variables={}), lambda event: None) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(platform: Platform) -> PrestoClient:
    url, credentials = platform.presto(["airline_ops"])
    return PrestoClient(url, "tests", credentials)


@pytest.fixture
def run_sql(platform: Platform) -> shared.RunSql:
    def one(output: Table, statement: str, *, params: dict[str, Any] | None = None, checks: str | None = None) -> RunRecord:
        declared = {name: Param(type(value)) for name, value in (params or {}).items()}
        made = Job("t", EngineKind.PRESTO, {}, output, declared, checks, Sql(statement, "presto"), "jobs/t.sql", 1)
        return run_job(made, params or {}, platform)

    return one


seen = shared.seen


@pytest.mark.parametrize("table_format", ["parquet", "orc"])
def test_a_runs_rows_replace_the_partitions_that_it_wrote(
    table_format: str, table: str, run_sql: shared.RunSql, seen: Any, platform: Platform
) -> None:
    shared.test_a_runs_rows_replace_the_partitions_that_it_wrote(table_format, table, run_sql, seen, platform)


@pytest.mark.parametrize("table_format", ["parquet"])
@pytest.mark.parametrize("keys", [[], ["day"]])
def test_append_adds_and_overwrite_replaces_all(table_format: str, keys: list[str], table: str, run_sql: shared.RunSql, seen: Any) -> None:
    shared.test_append_adds_and_overwrite_replaces_all(table_format, keys, table, run_sql, seen)


@pytest.mark.parametrize("table_format", ["parquet"])
def test_failing_checks_leave_the_table_and_the_bucket_as_they_were(
    table_format: str, table: str, run_sql: shared.RunSql, seen: Any, platform: Platform
) -> None:
    shared.test_failing_checks_leave_the_table_and_the_bucket_as_they_were(table_format, table, run_sql, seen, platform)


TYPED = """
SELECT 1 AS id, TIMESTAMP '2024-01-02 03:04:05.678' AS at, CAST('12.30' AS decimal(10, 2)) AS price, 0.1e0 AS share, true AS flag,
       CAST(ARRAY['a', NULL] AS array(varchar)) AS tags, CAST(ROW(1, 'x') AS row(n integer, s varchar)) AS pair, DATE '2024-01-02' AS day
"""


@pytest.mark.parametrize("table_format", ["parquet", "orc"])
def test_spark_reads_each_type_that_presto_wrote(table_format: str, table: str, run_sql: shared.RunSql, platform: Platform) -> None:
    run_sql(Table(table, partitioned_by=["day"], format=table_format), TYPED)
    (row,) = rows_in_spark(platform, table)
    assert row["at"] == dt.datetime(2024, 1, 2, 3, 4, 5, 678000)
    assert (str(row["price"]), row["share"], row["flag"], row["tags"]) == ("12.30", 0.1, True, ["a", None])
    assert (row["pair"]["n"], row["pair"]["s"], row["day"]) == (1, "x", dt.date(2024, 1, 2))


def rows_in_spark(platform: Platform, table: str) -> list[dict[str, Any]]:
    with platform.spark() as spark:
        conf.prepare(spark, platform.aws)
        read.mount(spark, platform.read_of(table))
        return [one.asDict() for one in spark.table(table).collect()]


def test_a_sample_job_runs_on_presto_and_is_what_pandas_computes(platform: Platform, client: PrestoClient) -> None:
    """It joins PostgreSQL, whose password comes with the query, an Iceberg table that Spark wrote and a Parquet one, and has checks."""
    day = figures.DAYS[1]
    jobs = discover(platform.root)
    run_job(jobs.get("daily_etl"), {"date": day}, platform)
    text = (platform.root / jobs.get("carrier_360").file).read_text(encoding="utf-8")
    for before, after in (
        ("engine: trino\noutput: marts.carrier_360", "engine: presto\nformat: parquet\noutput: marts.carrier_360_presto"),
        # Presto reads no index of OpenSearch.
        ("i.faa IS NOT NULL ", "coalesce(strpos(a.name, 'Intl') > 0, false) "),
        ("LEFT JOIN search.default.airports AS i ON i.faa = b.dest AND i.about LIKE '%Intl%'\n", ""),
        (", i.faa", ""),
    ):
        assert before in text
        text = text.replace(before, after)
    (platform.root / "jobs" / "carrier_360_presto.sql").write_text(text, encoding="utf-8")
    record = run_job(discover(platform.root).get("carrier_360_presto"), {"date": day}, platform)
    assert record.engine == "presto"
    assert {one.name: one.kind for one in record.inputs} == {
        "airline_ops.public.flights": "postgresql",
        "marts.daily_performance": "iceberg",
        "reference.airports": "parquet",
    }
    assert [check.success for check in record.checks] == [True] * 6
    found = client.execute("SELECT * FROM marts.carrier_360_presto ORDER BY carrier")
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    expected = figures.carrier_360(day).to_dict("records")
    assert [row["carrier"] for row in rows] == [row["carrier"] for row in expected]
    for got, want in zip(rows, expected, strict=True):
        for name, value in want.items():
            missing = value is None or (isinstance(value, float) and math.isnan(value))
            assert got[name] == (None if missing else pytest.approx(value) if isinstance(value, float) else value), name


def test_an_iceberg_table_that_presto_cannot_read_is_told_with_what_can(table: str, platform: Platform, run_sql: shared.RunSql) -> None:
    made = Sql("SELECT TIMESTAMP '2024-01-02 03:04:05' AS at", "spark")
    run_job(Job("t", EngineKind.SPARK_SQL, {}, Table(table), {}, None, made, "jobs/t.sql", 1), {}, platform)
    failed = attempt(lambda: run_sql(Table(f"{table}_copy", format="parquet"), f"SELECT * FROM iceberg.{table}"))
    assert isinstance(failed, JobFailed)
    assert str(failed) == (
        "jobs/t.sql: Iceberg column type timestamptz is not supported\n"
        "  fix: use `engine: trino`, or publish the table that has it in the Hive layout"
    )


def test_a_parameter_is_a_value_whatever_is_in_it(table: str, run_sql: shared.RunSql, client: PrestoClient) -> None:
    text = "x' OR '1'='1'; DROP TABLE t -- ? ü"
    run_sql(Table(table, format="parquet"), "SELECT {text} AS text, {day} AS day", params={"text": text, "day": dt.date(2024, 1, 2)})
    assert client.execute(f"SELECT text, day FROM {table}").rows == [[text, dt.date(2024, 1, 2)]]


@pytest.mark.parametrize(
    ("statement", "kind", "text"),
    [
        ("SELECT 1 AS id,\n  2 +\nFROM x.y", JobFailed, "jobs/t.sql:3:1: mismatched input 'FROM'"),
        ("SELECT 1 AS id,\n  nme FROM tpch.tiny.region", JobFailed, "jobs/t.sql:2:3: Column 'nme' cannot be resolved"),
        ("SELECT 1 AS id FROM tpch.tiny.regon", DatasetNotFound, "there is no table tpch.tiny.regon"),
        ("SELECT 1 AS id FROM nowhere.t", DatasetNotFound, "Schema nowhere does not exist"),
    ],
)
def test_what_is_wrong_has_its_place_in_the_users_file(
    statement: str, kind: type[Exception], text: str, table: str, run_sql: shared.RunSql
) -> None:
    failed = attempt(lambda: run_sql(Table(table, format="parquet"), statement))
    assert isinstance(failed, kind), failed
    assert text in str(failed)


def test_on_glue_it_is_said_in_one_sentence(loaded: Loaded, table: str) -> None:
    made = Job("t", EngineKind.PRESTO, {}, Table(table, format="parquet"), {}, None, Sql("SELECT 1 AS id", "presto"), "jobs/t.sql", 1)
    with open_platform(loaded, lambda event: None) as on_glue:
        failed = attempt(lambda: run_job(made, {}, on_glue))
    assert isinstance(failed, ConfigError)
    assert failed.message == "engine presto reads the lake through a Hive metastore, and catalog.kind is glue"


def test_no_secret_is_in_a_file_an_argument_or_a_log_of_the_server(platform: Platform, client: PrestoClient) -> None:
    assert client.execute("SELECT count(*) > 0 FROM airline_ops.public.flights").rows == [[True]]
    s3 = platform.aws.credentials()
    assert s3 is not None
    secrets = [shared.password(platform), s3.secret]
    texts = shared.told_by("presto", platform)
    assert len(texts) > 8
    assert not [text for text in texts for secret in secrets if secret in text]


def test_credentials_that_a_database_refuses_are_said_to_be_wrong_and_not_said(
    table: str, run_sql: shared.RunSql, root: Path, platform: Platform
) -> None:
    overrides = ["catalog.kind=hive", "connections.airline_ops.user=nobody"]
    with open_platform(load(root, "embedded", overrides=overrides, variables={}), lambda event: None) as wrong:
        made = Sql("SELECT origin FROM airline_ops.public.flights", "presto")
        failed = attempt(
            lambda: run_job(Job("t", EngineKind.PRESTO, {}, Table(table, format="parquet"), {}, None, made, "jobs/t.sql", 1), {}, wrong)
        )
    assert isinstance(failed, AccessRefused), failed
    assert 'password authentication failed for user "nobody"' in str(failed)
    assert shared.password(platform) not in str(failed)


LONG = f"SELECT CAST(n AS integer) AS id, 'x' AS name, DATE '2024-01-01' AS day FROM ({shared.LONG})"


def running(client: PrestoClient) -> bool:
    sql = "SELECT count(*) FROM system.runtime.queries WHERE state = 'RUNNING' AND query LIKE '%sf100%' AND query NOT LIKE '%runtime%'"
    return bool(client.execute(sql).rows[0][0])


def during_the_query(url: str, act: Callable[[], object]) -> threading.Thread:
    """Do something when the long query runs."""

    def wait() -> None:
        shared.until(lambda: running(PrestoClient(url, "tests", {})))
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_ctrl_c_ends_the_query_on_the_server(table: str, run_sql: shared.RunSql, client: PrestoClient, platform: Platform) -> None:
    thread = during_the_query(client.url, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_sql(Table(table, format="parquet"), LONG)
    thread.join()
    shared.until(lambda: not running(client))
    assert platform.catalog.find(table) is None
    assert shared.staging_names(platform) == []


def test_a_server_that_is_killed_fails_the_job_cleanly_and_a_rerun_works(
    table: str, run_sql: shared.RunSql, client: PrestoClient, platform: Platform
) -> None:
    run_sql(Table(table, format="parquet"), shared.values(shared.row(1)))
    (status,) = Supervisor(platform.root).status(["presto"])
    assert status.pid
    server = status.pid
    thread = during_the_query(client.url, lambda: os.kill(server, signal.SIGKILL))
    failed = attempt(lambda: run_sql(Table(table, format="parquet"), LONG))
    thread.join()
    assert isinstance(failed, EngineUnavailable), failed
    assert failed.retryable
    run_sql(Table(table, format="parquet"), shared.values(shared.row(2)))
    assert PrestoClient(platform.presto(())[0], "tests", {}).execute(f"SELECT id FROM {table}").rows == [[2]]
    assert shared.staging_names(platform) == []


# The last one: it restarts the server.
def test_a_statement_that_names_another_connection_finds_it_and_those_before_stay(platform: Platform, client: PrestoClient) -> None:
    url, credentials = platform.presto(["fleet"])
    both = PrestoClient(url, "tests", credentials)
    assert both.execute("SELECT count(*) > 0 FROM fleet.fleet.planes").rows == [[True]]
    assert {"airline_ops", "fleet"} <= {name for (name,) in both.execute("SHOW CATALOGS").rows}
    assert platform.presto(["airline_ops"])[0] == url
