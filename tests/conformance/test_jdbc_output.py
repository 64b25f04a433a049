"""Publishing to PostgreSQL and MySQL: staged beside the table, checked, and taken over by one transaction, once."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from conformance.test_databases import FULL, KINDS
from conformance.test_mysql import FULL as MYSQL_FULL
from conformance.test_mysql import KINDS as MYSQL_KINDS

from framework import Jdbc, Job, Param
from framework.errors import BadData, ChecksFailed, SchemaMismatch, ServiceUnavailable, UserError
from framework.jobs import EngineKind
from framework.maintenance import rollback, vacuum
from framework.platform import Platform
from framework.sources import mysql, postgresql

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

Rows = list[tuple[Any, ...]]
DAY1, DAY2 = dt.date(2024, 1, 1), dt.date(2024, 1, 2)


class Base:
    """A database that jobs publish to, for people.

    Attributes:
        name: of its connection.
        schema: what tables are qualified with.
    """

    def __init__(self, name: str, schema: str, connection: Any) -> None:
        self.name, self.schema, self._connection = name, schema, connection

    def execute(self, statement: str, values: Any = None) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement, values)
        return cursor

    def rows(self, statement: str, values: Any = None) -> Rows:
        return list(self.execute(statement, values).fetchall())


@contextlib.contextmanager
def opened(platform: Platform, name: str, *, autocommit: bool = True) -> Iterator[Base]:
    entry = platform.open_connection(name)
    if name == "airline_ops":
        with postgresql.connect(entry) as connection:
            connection.autocommit = autocommit
            yield Base(name, "public", connection)
    else:
        with mysql.connect(entry) as other:
            other.autocommit(autocommit)
            yield Base(name, "fleet", other)


@pytest.fixture(scope="module", params=["airline_ops", "fleet"])
def base(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Base]:
    with opened(platform, request.param) as one:
        yield one


@pytest.fixture(scope="module")
def database(platform: Platform) -> Iterator[Base]:
    """PostgreSQL, for what is tried there only."""
    with opened(platform, "airline_ops") as one:
        yield one


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Iterator[str]:
    """A table's name; the table is gone afterwards."""
    name = f"out_{uuid.uuid4().hex[:8]}"
    yield name
    request.getfixturevalue("base" if "base" in request.fixturenames else "database").execute(f"drop table if exists {name}")


@pytest.fixture
def seen(request: pytest.FixtureRequest, table: str) -> Callable[..., Rows]:
    base = request.getfixturevalue("base" if "base" in request.fixturenames else "database")
    return lambda columns="id, name, day": base.rows(f"select {columns} from {table} order by 1")


@pytest.fixture
def staged(request: pytest.FixtureRequest, table: str) -> Callable[[], list[str]]:
    """Staged tables of the table that are there now."""
    base = request.getfixturevalue("base" if "base" in request.fixturenames else "database")
    query = "select table_name from information_schema.tables where table_schema = %s and table_name like %s"
    return lambda: [row[0] for row in base.rows(query, [base.schema, f"{table}\\_\\_stage\\_%"])]


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


MADE = "create table {} (id int primary key, name text not null, day date, touched timestamp default current_timestamp)"


def test_the_first_run_makes_the_table_and_later_ones_merge_by_key(base: Base, table: str, area: Any, seen: Any, staged: Any) -> None:
    output = Jdbc(base.name, table, keys=["id"], deletes="gone")
    schema = "id int, name string, day date, gone boolean"
    area(output, [(1, "a", DAY1, False), (2, "b", DAY1, None), (3, "x", DAY1, True)], schema).publish()
    assert seen() == [(1, "a", DAY1), (2, "b", DAY1)]
    again = area(output, [(1, "a", DAY1, True), (2, "c", DAY2, False), (4, "d", None, False)], schema)
    assert seen() == [(1, "a", DAY1), (2, "b", DAY1)]
    assert [row["id"] for row in again.read().orderBy("id").collect()] == [1, 2, 4]
    done = again.publish()
    assert (done.rows, done.table, done.previous) == (3, f"{base.name}.{table}", None)
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
    how: dict[str, Any], wanted: Rows, table: str, base: Base, area: Any, seen: Any
) -> None:
    base.execute(MADE.format(table))
    base.execute(f"insert into {table} (id, name, day) values (1, 'a', '2024-01-01'), (2, 'b', '2024-01-02')")
    done = area(Jdbc(base.name, f"{base.schema}.{table}", **how), [(3, "c", DAY1)]).publish()
    assert seen() == wanted
    assert done.partitions == (("day=2024-01-01",) if "partitioned_by" in how else ())
    assert all(row[0] is not None for row in seen("touched"))


def test_readers_see_the_old_rows_until_the_transaction_commits_and_are_not_held_up(
    table: str, base: Base, area: Any, platform: Platform
) -> None:
    base.execute(MADE.format(table))
    base.execute(f"insert into {table} (id, name) values (1, 'old')")
    publishing = area(Jdbc(base.name, table), [(1, "new", DAY1)])
    with opened(platform, base.name, autocommit=False) as reader:
        reader.execute("rollback")
        reader.execute("start transaction isolation level repeatable read" if base.schema == "public" else "start transaction")
        assert reader.rows(f"select name from {table}") == [("old",)]
        publishing.publish()
        assert reader.rows(f"select name from {table}") == [("old",)]
    assert base.rows(f"select name from {table}") == [("new",)]


def test_what_is_appended_is_there_once_however_often_the_run_or_its_parameters_come_again(
    base: Base, table: str, area: Any, seen: Any, staged: Any
) -> None:
    output, rows = Jdbc(base.name, table, mode="append"), [(1, "a", DAY1)]
    first = area(output, rows, run_id="20240101T000000000-export-aaaaaa", day="1")
    first.publish()
    assert first.publish().rows == 1  # its answer was lost, say
    assert area(output, rows, run_id="20240101T000000000-export-aaaaaa", day="1").publish().rows == 1
    done = area(output, rows, day="1").publish()
    assert (done.rows, done.previous) == (0, "20240101T000000000-export-aaaaaa")
    area(output, [(2, "b", DAY1)], day="2").publish()
    assert seen() == [(1, "a", DAY1), (2, "b", DAY1)]
    assert staged() == []


def test_runs_without_parameters_each_append(base: Base, table: str, area: Any, seen: Any) -> None:
    output = Jdbc(base.name, table, mode="append")
    for number in (1, 2):
        area(output, [(number, "a", DAY1)]).publish()
    assert len(seen()) == 2


def test_what_an_ended_run_had_staged_goes_with_the_next_one_or_with_a_vacuum(
    base: Base, table: str, area: Any, staged: Any, platform: Platform, emrjobs: Callable[..., Any]
) -> None:
    output = Jdbc(base.name, table, mode="append")
    rows = [(1, "a", DAY1)]
    area(output, rows, day="1")  # killed, say
    beside = area(output, rows, day="2")
    assert len(staged()) == 2
    area(output, rows, day="1").publish()
    assert len(staged()) == 1
    kept = vacuum(platform, f"{base.name}.{table}", retention=dt.timedelta(hours=1), dry_run=False)
    assert kept.names == ()
    done = emrjobs("vacuum", f"{base.name}.{base.schema}.{table}", "--older-than", "0m", "--delete")
    assert done.code == 0, done.err
    assert "1 staging tables" in done.out
    assert staged() == []
    with pytest.raises(Exception, match=r"does not exist|doesn't exist"):
        beside.publish()


def test_an_output_that_does_not_fit_the_table_is_refused_before_anything_is_written(
    table: str, base: Base, area: Any, seen: Any, staged: Any
) -> None:
    base.execute(MADE.format(table))
    with pytest.raises(SchemaMismatch) as caught:
        area(Jdbc(base.name, table), [("x", 1)], "id string, nme int")
    text = str(caught.value)
    assert "id: the job gives string, the table has int" in text
    assert "name: the table has it (string), the job does not give it" in text
    assert "nme: the job gives it (int), the table does not have it; did you mean 'name'?" in text
    with pytest.raises(SchemaMismatch, match=r"no unique index over day, by which rows are merged\n  fix: create one"):
        area(Jdbc(base.name, table, keys=["day"]), [(1, "a", DAY1)])
    with pytest.raises(SchemaMismatch, match=r"map<string,int>, which (postgresql|mysql) has no type for"):
        area(Jdbc(base.name, f"{table}_b"), [({"a": 1},)], "m map<string,int>")
    assert (seen(), staged()) == ([], [])


def test_keys_that_are_null_or_not_unique_are_refused(table: str, area: Any, base: Base) -> None:
    base.execute(MADE.format(table))
    with pytest.raises(BadData) as caught:
        area(Jdbc(base.name, table, keys=["id"]), [(1, "a", DAY1), (1, "b", DAY1)])
    assert "id=1: 2 rows" in str(caught.value)


def test_a_constraint_that_refuses_the_rows_leaves_the_table_as_it_was(table: str, area: Any, base: Base, seen: Any, staged: Any) -> None:
    base.execute(MADE.format(table))
    base.execute(f"alter table {table} add check (name <> 'bad')")
    base.execute(f"insert into {table} (id, name, day) values (1, 'a', null)")
    opened = area(Jdbc(base.name, table), [(2, "good", DAY1), (3, "bad", DAY1)])
    with pytest.raises(BadData, match=r"refuses the rows: .*(violates check constraint|CONSTRAINT .* failed)"):
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
    assert database.rows(text.format(table)) == database.rows(text.format("kinds"))
    made = platform.area(spark, job(Jdbc("airline_ops", f"{table}_new", types={"j": "jsonb"})), {}, "20240101T000000000-export-dddddd")
    made.write(
        spark.sql("select cast(1 as tinyint) a, 1.5BD b, timestamp'2024-01-01 00:00:00' c, array(1L, null) d, '{\"x\": 1}' j, X'00' e")
    )
    made.publish()
    types = "select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass and attnum > 0"
    assert [row[0] for row in database.rows(types, [f"{table}_new"])] == [
        "a smallint",
        "b numeric(2,1)",
        "c timestamp with time zone",
        "d bigint[]",
        "j jsonb",
        "e bytea",
    ]
    database.execute(f"drop table {table}_new, kinds")


@pytest.mark.parametrize("base", ["fleet"], indirect=True)
def test_every_type_of_mysql_that_is_read_is_written_back_exactly(base: Base, table: str, spark: Any, platform: Platform) -> None:
    from framework.engines.spark.databases import Databases
    from framework.sources import jdbc

    base.execute("drop table if exists kinds")
    base.execute(MYSQL_KINDS)
    base.execute(MYSQL_FULL)
    base.execute("insert into kinds (id) values (2)")
    base.execute(f"create table {table} like kinds")
    read = jdbc.resolve("rows", Jdbc("fleet", "kinds"), {}, platform.settings.connections, platform.resolver, where="jobs/a.py:1")
    opened = platform.area(spark, job(Jdbc("fleet", table, keys=["id"])), {}, "20240101T000000000-export-cccccc")
    with Databases(spark, {"rows": read}) as databases:
        frame = databases.frame(read)
        opened.write(frame.withColumn("f", frame["f"].cast("float")))  # Spark reads it as a double
    opened.publish()
    assert base.rows(f"select * from {table} order by id") == base.rows("select * from kinds order by id")
    made = platform.area(spark, job(Jdbc("fleet", f"{table}_new", types={"j": "json"}, keys=["k"])), {}, "20240101T000000000-export-dddddd")
    made.write(
        spark.sql(
            "select cast(1 as tinyint) a, 1.5BD b, timestamp'2040-01-01 00:00:00.000001' c, '{\"x\": 1}' j, X'00' e, true f, 'key' k, 's' s"
        )
    )
    made.publish()
    kinds = base.rows(f"select column_type from information_schema.columns where table_name = '{table}_new' order by ordinal_position")
    assert [row[0] for row in kinds] == [
        *("tinyint(4)", "decimal(2,1)", "datetime(6)", "longtext", "longblob", "tinyint(1)", "varchar(255)", "longtext"),
    ]
    found = base.rows(f"select * from {table}_new")
    assert found == [(1, Decimal("1.5"), dt.datetime(2040, 1, 1, 0, 0, 0, 1), '{"x": 1}', b"\x00", 1, "key", "s")]
    base.execute(f"drop table {table}_new, kinds")


@pytest.mark.parametrize("base", ["fleet"], indirect=True)
def test_a_second_unique_index_of_mysql_and_an_engine_without_transactions_are_refused(base: Base, table: str, area: Any) -> None:
    base.execute(f"create table {table} (id int primary key, name varchar(10) unique, day date)")
    with pytest.raises(SchemaMismatch, match=r"has another unique index, name \(name\)"):
        area(Jdbc("fleet", table, keys=["id"]), [(1, "a", DAY1)])
    base.execute(f"alter table {table} engine = MyISAM")
    with pytest.raises(SchemaMismatch, match="a table of MyISAM, which knows no transactions"):
        area(Jdbc("fleet", table), [(1, "a", DAY1)])


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
