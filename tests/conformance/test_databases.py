"""Reads of PostgreSQL: exact values, parts that hold every row once, one snapshot, few connections."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from framework import Job, Table
from framework.engines.spark.databases import Databases
from framework.engines.spark.failures import explain_run
from framework.jobs import EngineKind
from framework.platform import Platform
from framework.sources import jdbc, postgresql, splits

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]

CONNECTION = "airline_ops"
KINDS = """
create table kinds (id int primary key, bare numeric, money numeric(5,2), wide numeric(38,10), f4 real, f8 float8, at timestamp,
    at_zone timestamptz, day date, clock time, yes boolean, u uuid, j json, jb jsonb, bytes bytea, numbers int[], texts text[],
    decimals numeric(8,3)[], words text, four char(4), span interval, small smallint, big bigint, moments timestamptz[])
"""
FULL = r"""
insert into kinds values (1, 123456789012345678.123456789012345678, 999.99, 1234567890123456789012345678.1234567890, 1.5, 0.1,
    '2024-02-29 23:59:59.999999', '2024-03-31 02:30:00.000001+02', '0001-01-01', '23:59:59.999999', true,
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a":  1}', '{"b": [1,2]}', '\x00ff', '{1,NULL,3}', '{"a,b",NULL,""}', '{1.500}',
    E'tab\t\u00fc\\', 'ab', '1 day', -32768, 9223372036854775807, '{2024-01-01 00:00+00}')
"""
FULL_READ = (
    1, Decimal("123456789012345678.123456789012345678"), Decimal("999.99"), Decimal("1234567890123456789012345678.1234567890"), 1.5, 0.1,
    dt.datetime(2024, 2, 29, 23, 59, 59, 999999), dt.datetime(2024, 3, 31, 0, 30, 0, 1), dt.date(1, 1, 1), "23:59:59.999999", True,
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", '{"a":  1}', '{"b": [1, 2]}', bytearray(b"\x00\xff"), [1, None, 3], ["a,b", None, ""],
    [Decimal("1.500")], "tab\tü\\", "ab  ", "1 day", -32768, 9223372036854775807, [dt.datetime(2024, 1, 1)],
)  # fmt: skip
FURTHER = """
insert into kinds (id) values (2);
insert into kinds (id, f4, f8, at) values (3, 'NaN', '-Infinity', 'infinity');
insert into kinds (id, bare) values (4, 'NaN'), (5, 1.1234567890123456789);
insert into kinds (id, day) values (6, 'infinity')
"""


@pytest.fixture(scope="module")
def database(platform: Platform) -> Iterator[psycopg.Connection[Any]]:
    with postgresql.connect(platform.open_connection(CONNECTION)) as connection:
        connection.autocommit = True
        connection.execute(KINDS)
        connection.execute(FULL)
        for statement in FURTHER.split(";\n"):
            connection.execute(statement)
        # Zipf: half of the rows have the key 1, some have none.
        connection.execute(
            "create table skewed as select i as id, nullif((9000 / i)::int, 90) as k, repeat('x', 100) as filler "
            "from generate_series(1, 9000) i"
        )
        connection.execute("analyze skewed")
        yield connection
        connection.execute("drop table if exists kinds, skewed")


@pytest.fixture
def connection() -> str:
    return CONNECTION


@pytest.mark.usefixtures("database")
def test_every_type_is_read_exactly(rows: Any) -> None:
    assert rows("kinds", where="id = 1") == [FULL_READ]
    assert rows("kinds", where="id = 2") == [(2, *[None] * 23)]
    (found,) = rows("kinds", where="id = 3")
    assert (str(found[4]), str(found[5]), found[6]) == ("nan", "-inf", dt.datetime(9999, 12, 31, 23, 59, 59, 999000))


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("number", "column", "said", "text"),
    [
        (4, "bare", "NaN", "NaN"),
        (5, "bare", "1.1234567890123456789 in column bare has more than 18 digits after the point", "1.1234567890123456789"),
        (6, "day", "integer overflow", "infinity"),
    ],
)
def test_what_no_type_of_spark_holds_ends_the_read_or_comes_as_text(
    number: int, column: str, said: str, text: str, rows: Any, spark: Any, platform: Platform, read_of: Any
) -> None:
    job = Job("j", EngineKind.SPARK, {}, Table("t.unused"), {}, None, lambda: None, "jobs/a.py", 1)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a py4j error, which the engine explains
        rows("kinds", where=f"id = {number}")
    assert said in str(explain_run(caught.value, job, {"rows": read_of("kinds")}, spark, platform.aws, platform.root))
    (found,) = rows("kinds", where=f"id = {number}", types={column: "string"})
    assert text in found


def check_parts(spark: Any, read: jdbc.JdbcRead) -> None:
    """A read of a table of 9,000 rows, which have ids from 1 on, gives each of them once and in two even parts."""
    from pyspark.sql import functions as F

    with Databases(spark, {"rows": read}) as databases:
        frame = databases.frame(read).select("id", F.spark_partition_id().alias("part")).collect()
    sizes = sorted(Counter(row["part"] for row in frame).values())
    wanted = 8000 if read.predicate else 9000
    assert sum(sizes) == len({row["id"] for row in frame}) == wanted
    assert len(sizes) == 2
    assert sizes[0] > 0.35 * wanted


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("how", [{}, {"split_by": "k"}, {"split_by": "id"}, {"where": "id > 1000 -- the newer"}])
def test_a_read_in_parts_gives_every_row_once_and_even_parts(
    how: dict[str, str], spark: Any, read_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "MIN_ROWS", 1000)
    check_parts(spark, read_of("skewed", **how))


def test_a_small_read_stays_one_statement(spark: Any, read_of: Any, database: Any) -> None:
    read = read_of("skewed")
    with Databases(spark, {"rows": read}) as databases:
        assert databases.frame(read).rdd.getNumPartitions() == 1


def test_all_parts_and_all_inputs_of_a_run_read_one_snapshot(
    spark: Any, read_of: Any, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(splits, "MIN_ROWS", 1000)
    database.execute("create table moving as select i as id, 0 as version from generate_series(1, 9000) i")
    database.execute("analyze moving")
    try:
        reads = {name: replace(read_of("moving", connections=8), name=name) for name in ("one", "two")}
        with Databases(spark, reads) as databases:
            one, two = (databases.frame(read) for read in reads.values())
            assert one.rdd.getNumPartitions() == 2
            for _ in range(3):  # rows move to other pages, and none of it is seen
                database.execute("update moving set version = version + 1")
            database.execute("delete from moving where id > 4500")
            for frame in (one, two):
                assert [tuple(row) for row in frame.selectExpr("count(*)", "count(distinct id)", "max(version)").collect()] == [
                    (9000, 9000, 0)
                ]
        assert database.execute("select count(*) from pg_stat_activity where state like 'idle in transaction%'").fetchone() == (0,)
    finally:
        database.execute("drop table moving")


def test_a_run_holds_no_more_connections_than_its_entry_allows(
    spark: Any, read_of: Any, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "MIN_ROWS", 10)
    for connections, parts in ((1, 1), (2, 1), (3, 2)):
        read = read_of("skewed", connections=connections)
        with Databases(spark, {"rows": read}) as databases:
            frame = databases.frame(read)
            assert frame.rdd.getNumPartitions() == parts
            open_now = database.execute(
                "select count(*) from pg_stat_activity where query like '%emrjobs%' and pid <> pg_backend_pid()"
            ).fetchone()
            assert open_now is not None
            assert open_now[0] + parts <= connections


def test_a_column_to_split_by_that_is_not_there_is_named(spark: Any, read_of: Any, monkeypatch: pytest.MonkeyPatch, database: Any) -> None:
    from framework.errors import JobDefinitionError

    monkeypatch.setattr(splits, "MIN_ROWS", 10)
    read = read_of("skewed", split_by="idd")
    with Databases(spark, {"rows": read}) as databases, pytest.raises(JobDefinitionError, match="has no column idd to split by") as caught:
        databases.frame(read)
    assert caught.value.fix == "did you mean 'id'?"
