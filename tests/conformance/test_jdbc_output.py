"""Publishing to PostgreSQL: staged beside the table, checked, and taken over by one transaction, once."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from conformance.test_databases import FULL, KINDS

from framework import Jdbc, Job, Param
from framework.engines.spark import conf
from framework.errors import BadData, ChecksFailed, SchemaMismatch, ServiceUnavailable, UserError
from framework.jobs import EngineKind
from framework.maintenance import rollback, vacuum
from framework.platform import Platform
from framework.sources import postgresql

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

Rows = list[tuple[Any, ...]]
DAY1, DAY2 = dt.date(2024, 1, 1), dt.date(2024, 1, 2)


@pytest.fixture(scope="module")
def spark(platform: Platform) -> Iterator[Any]:
    with platform.spark() as session:
        conf.prepare(session, platform.aws)
        yield session


@pytest.fixture(scope="module")
def database(platform: Platform) -> Iterator[psycopg.Connection[Any]]:
    with postgresql.connect(platform.open_connection("airline_ops")) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture
def table(database: psycopg.Connection[Any]) -> Iterator[str]:
    name = f"out_{uuid.uuid4().hex[:8]}"
    yield name
    database.execute(f"drop table if exists {name}")


@pytest.fixture
def seen(database: psycopg.Connection[Any], table: str) -> Callable[..., Rows]:
    return lambda columns="id, name, day": database.execute(f"select {columns} from {table} order by 1").fetchall()


@pytest.fixture
def staged(database: psycopg.Connection[Any], table: str) -> Callable[[], list[str]]:
    """Staged tables of the table that are there now."""
    query = "select relname from pg_class where relkind = 'r' and relname like %s"
    return lambda: [row[0] for row in database.execute(query, [f"{table}\\_\\_stage\\_%"]).fetchall()]


def job(output: Jdbc, **declared: Any) -> Job:
    given = {"inputs": {}, "params": {}, "checks": None, **declared}
    return Job(
        "export", EngineKind.SPARK, given["inputs"], output, given["params"], given["checks"], lambda rows: rows, "jobs/export.py", 1
    )


@pytest.fixture
def area(spark: Any, platform: Platform) -> Callable[..., Any]:
    """A staging area that holds the rows."""

    def one(output: Jdbc, rows: Rows, schema: str = "id int, name string, day date", run_id: str | None = None, **params: Any) -> Any:
        made = job(output, params={name: Param(type(value)) for name, value in params.items()})
        opened = platform.area(spark, made, params, run_id or f"20240101T000000000-export-{uuid.uuid4().hex[:6]}")
        opened.write(spark.createDataFrame(rows, schema))
        return opened

    return one


MADE = "create table {} (id int primary key, name text not null, day date, touched timestamptz default now())"


def test_the_first_run_makes_the_table_and_later_ones_merge_by_key(table: str, area: Any, seen: Any, staged: Any) -> None:
    output = Jdbc("airline_ops", table, keys=["id"], deletes="gone")
    schema = "id int, name string, day date, gone boolean"
    area(output, [(1, "a", DAY1, False), (2, "b", DAY1, None), (3, "x", DAY1, True)], schema).publish()
    assert seen() == [(1, "a", DAY1), (2, "b", DAY1)]
    again = area(output, [(1, "a", DAY1, True), (2, "c", DAY2, False), (4, "d", None, False)], schema)
    assert seen() == [(1, "a", DAY1), (2, "b", DAY1)]
    assert [row["id"] for row in again.read().orderBy("id").collect()] == [1, 2, 4]
    done = again.publish()
    assert (done.rows, done.table, done.previous) == (3, f"airline_ops.{table}", None)
    assert seen() == [(2, "c", DAY2), (4, "d", None)]
    assert staged() == []


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({}, [(3, "c", DAY1)]),
        ({"partitioned_by": ["day"]}, [(2, "b", DAY2), (3, "c", DAY1)]),
        ({"mode": "append"}, [(1, "a", DAY1), (2, "b", DAY2), (3, "c", DAY1)]),
        ({"keys": ["id"]}, [(1, "a", DAY1), (2, "b", DAY2), (3, "c", DAY1)]),
    ],
)
def test_rows_meet_those_of_a_table_that_is_there_as_the_mode_says(
    how: dict[str, Any], wanted: Rows, table: str, database: Any, area: Any, seen: Any
) -> None:
    database.execute(MADE.format(table))
    database.execute(f"insert into {table} (id, name, day) values (1, 'a', '2024-01-01'), (2, 'b', '2024-01-02')")
    done = area(Jdbc("airline_ops", f"public.{table}", **how), [(3, "c", DAY1)]).publish()
    assert seen() == wanted
    assert done.partitions == (("day=2024-01-01",) if "partitioned_by" in how else ())
    assert all(row[0] is not None for row in seen("touched"))


def test_readers_see_the_old_rows_until_the_transaction_commits_and_are_not_held_up(
    table: str, database: Any, area: Any, platform: Platform
) -> None:
    database.execute(MADE.format(table))
    database.execute(f"insert into {table} (id, name) values (1, 'old')")
    opened = area(Jdbc("airline_ops", table), [(1, "new", DAY1)])
    with postgresql.connect(platform.open_connection("airline_ops")) as reader:
        reader.execute("set transaction isolation level repeatable read")
        assert reader.execute(f"select name from {table}").fetchall() == [("old",)]
        opened.publish()
        assert reader.execute(f"select name from {table}").fetchall() == [("old",)]
    assert database.execute(f"select name from {table}").fetchall() == [("new",)]


def test_what_is_appended_is_there_once_however_often_the_run_or_its_parameters_come_again(
    table: str, area: Any, seen: Any, staged: Any
) -> None:
    output, rows = Jdbc("airline_ops", table, mode="append"), [(1, "a", DAY1)]
    first = area(output, rows, run_id="20240101T000000000-export-aaaaaa", day="1")
    first.publish()
    assert first.publish().rows == 1  # its answer was lost, say
    assert area(output, rows, run_id="20240101T000000000-export-aaaaaa", day="1").publish().rows == 1
    done = area(output, rows, day="1").publish()
    assert (done.rows, done.previous) == (0, "20240101T000000000-export-aaaaaa")
    area(output, [(2, "b", DAY1)], day="2").publish()
    assert seen() == [(1, "a", DAY1), (2, "b", DAY1)]
    assert staged() == []


def test_runs_without_parameters_each_append(table: str, area: Any, seen: Any) -> None:
    output = Jdbc("airline_ops", table, mode="append")
    for number in (1, 2):
        area(output, [(number, "a", DAY1)]).publish()
    assert len(seen()) == 2


def test_what_an_ended_run_had_staged_goes_with_the_next_one_or_with_a_vacuum(
    table: str, area: Any, staged: Any, platform: Platform, emrjobs: Callable[..., Any]
) -> None:
    output = Jdbc("airline_ops", table, mode="append")
    rows = [(1, "a", DAY1)]
    area(output, rows, day="1")  # killed, say
    beside = area(output, rows, day="2")
    assert len(staged()) == 2
    area(output, rows, day="1").publish()
    assert len(staged()) == 1
    kept = vacuum(platform, f"airline_ops.{table}", retention=dt.timedelta(hours=1), dry_run=False)
    assert kept.names == ()
    done = emrjobs("vacuum", f"airline_ops.public.{table}", "--older-than", "0m", "--delete")
    assert done.code == 0, done.err
    assert "1 staging tables" in done.out
    assert staged() == []
    with pytest.raises(Exception, match="does not exist"):
        beside.publish()


def test_an_output_that_does_not_fit_the_table_is_refused_before_anything_is_written(
    table: str, database: Any, area: Any, seen: Any, staged: Any
) -> None:
    database.execute(MADE.format(table))
    with pytest.raises(SchemaMismatch) as caught:
        area(Jdbc("airline_ops", table), [("x", 1)], "id string, nme int")
    text = str(caught.value)
    assert "id: the job gives string, the table has int" in text
    assert "name: the table has it (string), the job does not give it" in text
    assert "nme: the job gives it (int), the table does not have it; did you mean 'name'?" in text
    with pytest.raises(SchemaMismatch, match=r"no unique index over day, by which rows are merged\n  fix: create one"):
        area(Jdbc("airline_ops", table, keys=["day"]), [(1, "a", DAY1)])
    with pytest.raises(SchemaMismatch, match="map<string,int>, which postgresql has no type for"):
        area(Jdbc("airline_ops", f"{table}_b"), [({"a": 1},)], "m map<string,int>")
    assert (seen(), staged()) == ([], [])


def test_keys_that_are_null_or_not_unique_are_refused(table: str, area: Any, database: Any) -> None:
    database.execute(MADE.format(table))
    with pytest.raises(BadData) as caught:
        area(Jdbc("airline_ops", table, keys=["id"]), [(1, "a", DAY1), (1, "b", DAY1)])
    assert "id=1: 2 rows" in str(caught.value)


def test_a_constraint_that_refuses_the_rows_leaves_the_table_as_it_was(
    table: str, area: Any, database: Any, seen: Any, staged: Any
) -> None:
    database.execute(MADE.format(table))
    database.execute(f"alter table {table} add check (name <> 'bad')")
    database.execute(f"insert into {table} (id, name, day) values (1, 'a', null)")
    opened = area(Jdbc("airline_ops", table), [(2, "good", DAY1), (3, "bad", DAY1)])
    with pytest.raises(BadData, match=r"refuses the rows: .* violates check constraint"):
        opened.publish()
    opened.discard()
    assert (seen(), staged()) == ([(1, "a", None)], [])


def test_every_type_that_is_read_is_written_back_exactly(table: str, spark: Any, platform: Platform, database: Any) -> None:
    from framework.engines.spark.databases import Databases
    from framework.sources import jdbc

    database.execute("drop table if exists kinds")
    database.execute(KINDS)
    database.execute(FULL)
    database.execute("insert into kinds (id) values (2)")
    database.execute("insert into kinds (id, f4, f8) values (3, 'NaN', '-Infinity')")
    database.execute(f"create table {table} (like kinds including all)")
    read = jdbc.resolve("rows", Jdbc("airline_ops", "kinds"), {}, platform.settings.connections, platform.resolver, where="jobs/a.py:1")
    opened = platform.area(spark, job(Jdbc("airline_ops", table, keys=["id"])), {}, "20240101T000000000-export-cccccc")
    with Databases(spark, {"rows": read}) as databases:
        opened.write(databases.frame(read))
    opened.publish()
    text = "select row(k.*)::text from {} k order by id"
    assert database.execute(text.format(table)).fetchall() == database.execute(text.format("kinds")).fetchall()
    made = platform.area(spark, job(Jdbc("airline_ops", f"{table}_new", types={"j": "jsonb"})), {}, "20240101T000000000-export-dddddd")
    made.write(
        spark.sql("select cast(1 as tinyint) a, 1.5BD b, timestamp'2024-01-01 00:00:00' c, array(1L, null) d, '{\"x\": 1}' j, X'00' e")
    )
    made.publish()
    types = "select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass and attnum > 0"
    assert [row[0] for row in database.execute(types, [f"{table}_new"]).fetchall()] == [
        "a smallint",
        "b numeric(2,1)",
        "c timestamp with time zone",
        "d bigint[]",
        "j jsonb",
        "e bytea",
    ]
    database.execute(f"drop table {table}_new, kinds")


def test_a_run_reads_checks_and_publishes_and_a_failing_check_publishes_nothing(
    table: str,
    database: Any,
    run: Callable[..., Any],
    seen: Any,
    staged: Any,
    platform: Platform,
    spark: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "_start_spark", lambda conf: contextlib.nullcontext(spark))
    database.execute(f"create table {table}_in as select i as id, 'n' || i as name, date '2024-01-01' as day from generate_series(1, 3) i")
    suite = platform.root / "configs" / "checks" / f"{table}.yaml"
    suite.write_text("expectations:\n  - expect_column_values_to_be_between: {column: id, min_value: 1, max_value: 3}\n", encoding="utf-8")
    exports = job(Jdbc("airline_ops", table, keys=["id"]), inputs={"rows": Jdbc("airline_ops", f"{table}_in")}, checks=table)
    record = run(exports)
    assert record.output is not None
    assert (record.output.table, record.output.rows, record.output.kind) == (f"airline_ops.{table}", 3, "jdbc")
    assert [check.success for check in record.checks] == [True]
    database.execute(f"insert into {table}_in values (4, 'bad', null)")
    with pytest.raises(ChecksFailed, match="nothing was published"):
        run(exports)
    assert ([row[0] for row in seen()], staged()) == ([1, 2, 3], [])
    with pytest.raises(UserError, match="a database keeps no earlier rows"):
        rollback(platform, record.run_id)
    database.execute(f"alter table {table} alter column name type varchar(3)")
    database.execute(f"update {table}_in set name = 'too long' where id = 2")
    with pytest.raises(BadData, match="refuses the rows: value too long for type character varying") as caught:
        run(exports)
    assert caught.value.where == "jobs/export.py:1"
    database.execute(f"drop table {table}_in")


def test_a_database_that_does_not_answer_is_named(spark: Any, platform: Platform) -> None:
    made = job(Jdbc("airline_ops", "t", mode="append"))
    opened = platform.area(spark, made, {}, "20240101T000000000-export-eeeeee")
    opened._table.database = replace(opened._table.database, port="1")
    with pytest.raises(
        ServiceUnavailable, match=r"output airline_ops.t: database airline_ops \(postgresql://.*:1/airline_ops\) does not answer"
    ):
        opened.write(spark.createDataFrame([(1,)], "id int"))
