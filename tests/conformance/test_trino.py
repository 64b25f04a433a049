"""Trino jobs on the embedded target: one real server for all tests, beside the other services."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sample_figures as figures
from builders import attempt

from framework import job, query
from framework.catalog import TableInfo
from framework.config.loader import load
from framework.discovery import discover
from framework.engines.trino.client import TrinoClient
from framework.engines.trino.engine import TrinoEngine
from framework.engines.trino.session import TrinoSession
from framework.errors import AccessRefused, BadData, ChecksFailed, DatasetNotFound, EngineUnavailable, JobFailed, SchemaMismatch
from framework.jobs import EngineKind, Job, Param, Sql, Table
from framework.ledger import RunRecord
from framework.local.supervisor import Supervisor
from framework.local.target import open_platform
from framework.platform import Platform
from framework.publish import is_staging_name
from framework.runner import run_job

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]

Rows = list[tuple[Any, ...]]
RunSql = Callable[..., RunRecord]
NAMED = ("airline_ops", "search")
"""The connections that the tests name: what the others lead to is not started for them."""


@pytest.fixture(scope="module")
def client(platform: Platform) -> TrinoClient:
    return TrinoClient(platform.trino_url(NAMED), "tests")


@pytest.fixture
def run_sql(platform: Platform) -> RunSql:
    def one(
        output: Table,
        statement: str,
        *,
        params: dict[str, Any] | None = None,
        checks: str | None = None,
        session: dict[str, str] | None = None,
        on: Platform = platform,
    ) -> RunRecord:
        declared = {name: Param(type(value)) for name, value in (params or {}).items()}
        made = Job("t", EngineKind.TRINO, {}, output, declared, checks, Sql(statement, "trino", session or {}), "jobs/t.sql", 1)
        return run_job(made, params or {}, on)

    return one


@pytest.fixture
def seen(client: TrinoClient) -> Callable[[str], Rows]:
    """What a reader sees, ordered by id."""

    def one(name: str) -> Rows:
        return sorted(tuple(row) for row in client.execute(f"SELECT id, name, day FROM {name}").rows)

    return one


def row(number: int, day: int = 1, name: str | None = "plain") -> tuple[Any, ...]:
    return (number, name, dt.date(2024, 1, day))


def values(*rows: tuple[Any, ...]) -> str:
    def literal(name: str | None) -> str:
        return "CAST(NULL AS varchar)" if name is None else "'" + name.replace("'", "''") + "'"

    listed = ", ".join(f"({number}, {literal(name)}, DATE '{day}')" for number, name, day in rows)
    return f"SELECT id, CAST(name AS varchar) AS name, day FROM (VALUES {listed}) AS t (id, name, day);"


def staging_names(platform: Platform) -> list[str]:
    return [found.name for found in platform.catalog.tables() if is_staging_name(found.name)]


AWKWARD = [row(1, name='a,"b"\\c'), row(2, name=None), row(3, name="ünï, cödé"), row(4, 2, name=" it's ")]


@pytest.mark.parametrize("table_format", ["iceberg", "parquet", "orc"])
def test_a_runs_rows_replace_the_partitions_that_it_wrote(
    table_format: str, table: str, run_sql: RunSql, seen: Any, platform: Platform
) -> None:
    output = Table(table, partitioned_by=["day"], format=table_format)
    first = run_sql(output, values(*AWKWARD))
    assert seen(table) == AWKWARD
    again = run_sql(output, values(row(7)))
    assert seen(table) == [row(4, 2, name=" it's "), row(7)]
    assert first.output is not None
    assert again.output is not None
    assert (first.output.rows, first.output.partitions) == (4, ("day=2024-01-01", "day=2024-01-02"))
    assert (again.output.rows, again.output.partitions) == (1, ("day=2024-01-01",))
    assert again.output.previous == (first.output.version if table_format == "iceberg" else platform.table(table).location)
    assert staging_names(platform) == []


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
@pytest.mark.parametrize("keys", [[], ["day"]])
def test_append_adds_and_overwrite_replaces_all(table_format: str, keys: list[str], table: str, run_sql: RunSql, seen: Any) -> None:
    append = Table(table, partitioned_by=keys, format=table_format, mode="append")
    run_sql(append, values(row(1), row(2, 2)))
    run_sql(append, values(row(3)))
    assert seen(table) == [row(1), row(2, 2), row(3)]
    run_sql(Table(table, partitioned_by=keys, format=table_format, mode="overwrite"), values(row(9)))
    assert seen(table) == [row(9)]


def test_spark_reads_what_trino_wrote_and_trino_writes_into_what_spark_evolved(
    table: str, run_sql: RunSql, seen: Any, platform: Platform
) -> None:
    output = Table(table, partitioned_by=["day"])
    run_sql(output, values(row(1), row(2, 2)))
    with platform.spark() as spark:
        from framework.engines.spark import conf

        conf.prepare(spark, platform.aws)
        # Ids of columns and their order differ from a fresh table's from here on.
        spark.sql(f"ALTER TABLE {table} ADD COLUMN amount double FIRST")
        spark.sql(f"ALTER TABLE {table} RENAME COLUMN name TO label")
        run_sql(output, "SELECT 5 AS id, 'five' AS label, DATE '2024-01-02' AS day, 2.5e0 AS amount")
        found = sorted(tuple(one) for one in spark.sql(f"SELECT id, label, amount FROM {table}").collect())
    assert found == [(1, "plain", None), (5, "five", 2.5)]


def test_nothing_is_seen_until_it_is_published_and_publishing_twice_is_publishing_once(
    table: str, run_sql: RunSql, seen: Any, platform: Platform, client: TrinoClient
) -> None:
    output = Table(table, partitioned_by=["day"], mode="append")
    run_sql(output, values(row(1)))
    engine = TrinoEngine(client)
    made = Job("t", EngineKind.TRINO, {}, output, {}, None, Sql(values(row(2)), "trino"), "jobs/t.sql", 1)
    area: Any = engine.area(platform, made, {}, "20240101T000000-t-twice1")
    engine.stage(made, {}, {}, area)
    assert seen(table) == [row(1)]
    published = area._commit()
    assert area._commit() == published
    assert area.publish() == published
    assert seen(table) == [row(1), row(2)]


@pytest.mark.parametrize("mode", ["append", "overwrite_partitions"])
def test_of_many_publishers_at_once_none_loses_a_row_and_the_last_one_replaces_all(
    mode: str, table: str, run_sql: RunSql, seen: Any, platform: Platform
) -> None:
    output = Table(table, partitioned_by=["day"], mode=mode)
    run_sql(output, values(row(0)))

    def publish(number: int) -> None:
        engine = TrinoEngine(TrinoClient(platform.trino_url(NAMED), "tests"))
        made = Job("t", EngineKind.TRINO, {}, output, {}, None, Sql(values(row(number)), "trino"), "jobs/t.sql", 1)
        area = engine.area(platform, made, {}, f"20240101T000000-t-many{number:02}")
        engine.stage(made, {}, {}, area)
        area.publish()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(publish, range(1, 7)))
    found = seen(table)
    assert found == [row(number) for number in range(7)] if mode == "append" else len(found) == 1
    assert staging_names(platform) == []


def test_rows_replace_add_and_delete_by_key_and_merging_them_again_changes_nothing(
    table: str, run_sql: RunSql, seen: Any, platform: Platform
) -> None:
    output = Table(table, mode="merge", keys=["id"], deletes="gone")

    def merge(*rows: tuple[tuple[Any, ...], bool | None]) -> RunRecord:
        text = " UNION ALL ".join(f"SELECT *, CAST({gone} AS boolean) AS gone FROM ({values(one)[:-1]})" for one, gone in rows)
        return run_sql(output, text.replace("None", "NULL"))

    merge((row(1), False), (row(2), None), (row(3), False), (row(9), True))
    assert seen(table) == [row(1), row(2), row(3)]
    for _ in range(2):
        record = merge((row(2, name="new"), False), (row(3), True), (row(4), None), (row(5), True))
        assert seen(table) == [row(1), row(2, name="new"), row(4)]
    assert record.output is not None
    assert record.output.previous not in (None, record.output.version)
    assert (record.output.rows, record.output.mode) == (4, "merge")
    refused = attempt(lambda: merge((row(1, name="a"), False), (row(1, name="b"), False)))
    assert isinstance(refused, BadData), refused
    assert "id=1: 2 rows" in str(refused)
    assert seen(table) == [row(1), row(2, name="new"), row(4)]
    assert staging_names(platform) == []


def test_columns_are_added_and_widened_as_far_as_the_policy_allows(table: str, run_sql: RunSql, client: TrinoClient) -> None:
    run_sql(Table(table), "SELECT 1 AS id, CAST('x' AS varchar(3)) AS name")
    wider = "SELECT BIGINT '5000000000' AS id, 'y' AS name, CAST('z' AS varchar(2)) AS note"
    assert isinstance(attempt(lambda: run_sql(Table(table, mode="append"), wider)), SchemaMismatch)
    assert isinstance(attempt(lambda: run_sql(Table(table, mode="append", schema_changes="add_columns"), wider)), SchemaMismatch)
    run_sql(Table(table, mode="append", schema_changes="widen"), wider)
    assert sorted(client.execute(f"SELECT * FROM {table}").rows) == [[1, "x", None], [5_000_000_000, "y", "z"]]


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
def test_failing_checks_leave_the_table_and_the_bucket_as_they_were(
    table_format: str, table: str, run_sql: RunSql, seen: Any, platform: Platform
) -> None:
    output = Table(table, partitioned_by=["day"], format=table_format)
    suite = platform.root / "configs" / "checks" / "small.yaml"
    suite.write_text("expectations:\n  - expect_column_values_to_be_between: {column: id, max_value: 5}\n", encoding="utf-8")
    run_sql(output, values(row(1)), checks="small")
    before = objects(platform, platform.table(table))
    failed = attempt(lambda: run_sql(output, values(row(2), row(6), row(7)), checks="small"))
    assert isinstance(failed, ChecksFailed)
    report: Any = failed.report
    assert [sample["id"] for sample in report.failed_errors[0].samples] == [6, 7]
    assert seen(table) == [row(1)]
    assert objects(platform, platform.table(table)) == before
    assert staging_names(platform) == []


def objects(platform: Platform, info: TableInfo) -> set[str]:
    bucket, _, key = info.location.removeprefix("s3://").partition("/")
    prefix = key.split("/_runs")[0]
    answer = platform.aws.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return {item["Key"] for item in answer.get("Contents", [])}


@pytest.mark.parametrize(
    ("statement", "kind", "text"),
    [
        ("SELECT 1 AS id,\n  2 +\nFROM x.y", JobFailed, "jobs/t.sql:3:1: mismatched input 'FROM'"),
        (
            "SELECT {day} AS day,\n  {day} AS d2, nme AS a FROM reference.airlines",
            JobFailed,
            "jobs/t.sql:2:16: Column 'nme' cannot be resolved\n    {day} AS d2, nme AS a FROM reference.airlines\n" + " " * 17 + "^",
        ),
        ("SELECT * FROM airline_ops.public.flihgts", DatasetNotFound, "fix: did you mean 'flights'?"),
        ("SELECT 1 / (id - 1) AS a FROM (VALUES 1) AS t (id)", JobFailed, "Division by zero"),
        ("SELECT 1 AS a, 2", SchemaMismatch, "column 2 of the job's output has no name"),
        ("SELECT NULL AS a", SchemaMismatch, "column a has no type"),
    ],
)
def test_a_mistake_is_told_with_its_place(statement: str, kind: type, text: str, table: str, run_sql: RunSql, platform: Platform) -> None:
    params = {"day": dt.date(2024, 1, 1)} if "{day}" in statement else {}
    failed = attempt(lambda: run_sql(Table(table), statement, params=params))
    assert isinstance(failed, kind), failed
    assert text in str(failed)
    assert platform.catalog.find(table) is None
    assert staging_names(platform) == []


def test_columns_that_do_not_fit_are_told_before_anything_is_computed(table: str, run_sql: RunSql, seen: Any) -> None:
    run_sql(Table(table), values(row(1)))
    failed = attempt(lambda: run_sql(Table(table), "SELECT 'x' AS id, 'y' AS nam, DATE '2024-01-01' AS day"))
    assert isinstance(failed, SchemaMismatch)
    assert "id: the job gives varchar(1), the table has integer" in str(failed)
    assert "nam: the job gives it (varchar(1)), the table does not have it; did you mean 'name'?" in str(failed)
    assert seen(table) == [row(1)]


def test_a_parameter_that_tries_an_injection_is_a_value(table: str, run_sql: RunSql, client: TrinoClient) -> None:
    evil = "x'; DROP TABLE reference.airlines; --"
    run_sql(Table(table), "SELECT {text} AS text", params={"text": evil})
    assert client.execute(f"SELECT text FROM {table}").rows == [[evil]]
    assert client.execute("SELECT count(*) FROM reference.airlines").rows == [[16]]


def test_a_query_that_needs_more_memory_than_it_may_have_says_so_and_publishes_nothing(
    table: str, run_sql: RunSql, seen: Any, platform: Platform
) -> None:
    run_sql(Table(table), values(row(1)))
    greedy = "SELECT CAST(count(DISTINCT comment) AS integer) AS id, 'x' AS name, DATE '2024-01-01' AS day FROM tpch.sf1.orders"
    failed = attempt(lambda: run_sql(Table(table), greedy, session={"query_max_memory": "1MB"}))
    assert isinstance(failed, JobFailed), failed
    assert "needed too much memory: Query exceeded distributed user memory limit of 1MB" in str(failed)
    assert "give Trino more: `trino.heap`" in str(failed)
    assert seen(table) == [row(1)]
    assert staging_names(platform) == []


def test_credentials_that_a_database_refuses_are_said_to_be_wrong_and_not_said(
    table: str, run_sql: RunSql, root: Path, platform: Platform, client: TrinoClient
) -> None:
    overrides = ["connections.airline_ops.user=nobody"]
    with open_platform(load(root, "embedded", overrides=overrides, variables={}), lambda event: None) as wrong:
        failed = attempt(lambda: run_sql(Table(table), "SELECT * FROM airline_ops.public.airlines", on=wrong))
        assert isinstance(failed, AccessRefused), failed
        assert 'password authentication failed for user "nobody"' in str(failed)
        record = next(iter(wrong.ledger.list()))
        told = [str(failed), str(record), str(wrong.ledger.log(record.run_id))]
    secret = password(platform)
    assert not [text for text in told if secret in text]
    # The catalog is what the next statement needs again.
    assert query.run_trino_query(platform, "SELECT count(*) AS n FROM airline_ops.public.flights WHERE flight_date = DATE '2013-01-15'", 1)


LONG = "SELECT count(*) AS n FROM tpch.sf100.lineitem WHERE comment LIKE '%none of them%'"


def running(client: TrinoClient) -> list[str]:
    sql = "SELECT query_id FROM system.runtime.queries WHERE state IN ('RUNNING', 'STARTING') AND query LIKE '%sf100%'"
    sql += " AND query NOT LIKE '%runtime%'"
    return [found[0] for found in client.execute(sql).rows]


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.2)


def test_ctrl_c_ends_the_query_on_the_server(table: str, run_sql: RunSql, client: TrinoClient, platform: Platform) -> None:
    def interrupt() -> None:
        until(lambda: bool(running(TrinoClient(platform.trino_url(NAMED), "tests"))))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_sql(Table(table), LONG)
    thread.join()
    until(lambda: not running(client))
    assert next(iter(platform.ledger.list())).status == "interrupted"


@pytest.fixture(scope="module")
def day(run: Callable[..., RunRecord]) -> dt.date:
    run("daily_etl", date=figures.DAYS[1])
    run("ingest_weather", date=figures.DAYS[1])
    return figures.DAYS[1]


def test_carrier_360_is_what_pandas_computes(day: dt.date, run: Callable[..., RunRecord], client: TrinoClient) -> None:
    record = run("carrier_360", date=day)
    found = client.execute(f"SELECT * FROM marts.carrier_360 WHERE flight_date = DATE '{day}' ORDER BY carrier")
    expected = figures.carrier_360(day).to_dict("records")
    assert len(found.rows) == len(expected) == (record.output.rows if record.output else None)
    for got, want in zip(found.rows, expected, strict=True):
        for name, value in zip(found.columns, got, strict=True):
            missing = want[name] is None or (isinstance(want[name], float) and math.isnan(want[name]))
            assert (
                (value is None) if missing else value == pytest.approx(want[name]) if isinstance(value, float) else value == want[name]
            ), name
    assert {one.name: one.kind for one in record.inputs} == {
        "airline_ops.public.flights": "postgresql",
        "marts.daily_performance": "iceberg",
        "reference.airports": "parquet",
        "search.default.airports": "opensearch",
    }


def test_a_file_in_prestos_sql_is_what_pandas_computes(day: dt.date, run: Callable[..., RunRecord], client: TrinoClient) -> None:
    run("weather_delays", date=day)
    sql = f"SELECT origin, weather, flights, cancelled, avg_dep_delay FROM marts.weather_delays WHERE flight_date = DATE '{day}'"
    found = {(origin, weather): tuple(rest) for origin, weather, *rest in client.execute(sql).rows}
    expected = figures.weather_delays(day)
    assert found.keys() == expected.keys()
    for key, (flights, cancelled, delay) in expected.items():
        assert found[key][:2] == (flights, cancelled)
        assert found[key][2] == (delay if delay is None else pytest.approx(delay))


def test_the_scorecard_goes_back_into_the_database_as_a_whole_and_a_rerun_changes_nothing(
    day: dt.date, run: Callable[..., RunRecord], client: TrinoClient, platform: Platform
) -> None:
    run("carrier_scorecard")
    exported = "SELECT * FROM airline_ops.public.carrier_scorecard ORDER BY carrier"
    first = run("export_scorecard")
    rows = client.execute(exported).rows
    assert rows == client.execute("SELECT * FROM marts.carrier_scorecard ORDER BY carrier").rows
    assert first.output is not None
    assert (first.output.kind, first.output.rows) == ("jdbc", len(rows))
    assert [check.success for check in first.checks] == [True] * 3

    engine, export = TrinoEngine(client), discover(platform.root).get("export_scorecard")
    area: Any = engine.area(platform, export, {}, "20240101T000000-export-half01")
    engine.stage(export, {}, {}, area)
    assert client.execute(f"SELECT count(*) FROM {area.staged_table}").rows == [[len(rows)]]
    assert client.execute(exported).rows == rows
    area.discard()

    run("export_scorecard")
    assert client.execute(exported).rows == rows
    assert client.execute("SHOW TABLES FROM airline_ops.public LIKE 'carrier_scorecard%stage%'").rows == []


def test_a_python_job_looks_at_the_data_and_returns_its_statement(
    table: str, run: Callable[..., RunRecord], client: TrinoClient, platform: Platform
) -> None:
    @job(engine="trino", inputs={"airlines": Table("reference.airlines")}, output=Table(table), params={"first": str})
    def pivot(trino: TrinoSession, first: str) -> str:
        """One column for each carrier."""
        assert trino.value("SELECT count(*) FROM reference.airlines") == trino.fetch_arrow("SELECT * FROM reference.airlines").num_rows
        codes = [code for (code,) in trino.rows("SELECT carrier FROM reference.airlines WHERE carrier >= {code} ORDER BY 1", code=first)]
        columns = [f"count_if(carrier = {trino.literal(code)}) AS {trino.identifier(code.lower())}" for code in codes]
        return f"SELECT {{first}} AS first, {', '.join(columns)} FROM reference.airlines"

    assert run(pivot, first="UA").status == "succeeded"
    assert client.execute(f"SELECT * FROM {table}").rows == [["UA", 1, 1, 1, 1, 1]]

    def failing(body: Callable[..., Any]) -> str:
        declared = job(engine="trino", name="t", inputs={"airlines": Table("reference.airlines")}, output=Table(table))(body)
        failed = attempt(lambda: run(declared))
        assert isinstance(failed, JobFailed), failed
        return str(failed)

    assert "returned NoneType, not the SQL of its rows" in failing(lambda trino: None)
    assert "reads marts.daily_performance, which is not among its inputs" in failing(lambda trino: "SELECT * FROM marts.daily_performance")
    assert "a query reads, this is DROP" in failing(lambda trino: trino.rows("DROP TABLE reference.airlines"))
    assert "Column 'nme' cannot be resolved" in failing(lambda trino: "SELECT nme FROM reference.airlines")
    assert client.execute(f"SELECT * FROM {table}").rows == [["UA", 1, 1, 1, 1, 1]]


def test_a_query_reads_every_connection_and_writes_nothing(platform: Platform) -> None:
    sql = "SELECT count(*) AS flights FROM airline_ops.public.flights WHERE flight_date = DATE '2013-01-15'"
    assert query.run_trino_query(platform, sql, 10) == (["flights"], [(len(figures.flights_of(dt.date(2013, 1, 15))),)], False)
    assert query.run_trino_query(platform, "SELECT * FROM tpch.tiny.orders", 5)[2] is True
    assert "a query reads, this is DROP" in str(attempt(lambda: query.run_trino_query(platform, "DROP TABLE reference.airlines", 1)))


def password(platform: Platform) -> str:
    secret = platform.aws.client("secretsmanager").get_secret_value(SecretId="emrjobs/airline_ops")["SecretString"]
    return str(json.loads(secret)["password"])


def told_by(service: str, platform: Platform) -> list[str]:
    """Whatever a server's files, its log and its command line say."""
    root = platform.root / ".local"
    files = [*(root / "state" / service).rglob("*"), *(root / "data" / service).rglob("*"), root / "logs" / f"{service}.log"]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()]
    (status,) = Supervisor(platform.root).status([service])
    texts.append(Path(f"/proc/{status.pid}/cmdline").read_text(encoding="utf-8") if Path("/proc/self").exists() else "")
    return texts


def test_no_secret_is_in_a_file_an_argument_or_a_log_of_the_server(platform: Platform, client: TrinoClient) -> None:
    texts, secrets = told_by("trino", platform), [password(platform)]
    assert len(texts) > 8
    assert not [text for text in texts for secret in secrets if secret in text]


# The last one: it costs a start of the server.
def test_a_server_that_is_killed_fails_the_job_cleanly_and_a_rerun_works(
    table: str, run_sql: RunSql, seen: Any, platform: Platform, client: TrinoClient
) -> None:
    run_sql(Table(table), values(row(1)))

    def kill() -> None:
        until(lambda: bool(running(TrinoClient(platform.trino_url(NAMED), "tests"))))
        (status,) = Supervisor(platform.root).status(["trino"])
        assert status.pid
        os.kill(status.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    failed = attempt(lambda: run_sql(Table(table), f"SELECT CAST(n AS integer) AS id, 'x' AS name, DATE '2024-01-01' AS day FROM ({LONG})"))
    thread.join()
    assert isinstance(failed, EngineUnavailable)
    assert failed.retryable
    run_sql(Table(table), values(row(2)))
    found = TrinoClient(platform.trino_url(NAMED), "tests").execute(f"SELECT id FROM {table}")
    assert found.rows == [[2]]
    assert staging_names(platform) == []
