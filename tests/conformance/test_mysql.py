"""Reads of MySQL's kind of database, on MariaDB: exact values, parts that hold every row once, few connections, clear errors."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from conformance.test_databases import check_parts

from framework.engines.spark.databases import Databases
from framework.errors import AccessRefused, DatasetNotFound, ServiceUnavailable
from framework.local import mysql
from framework.local.service import Endpoint
from framework.local.supervisor import Supervisor
from framework.platform import Platform
from framework.sources import splits

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

KINDS = """
create table kinds (id int primary key, tiny tinyint, yes tinyint(1), bits bit(10), small smallint, med mediumint, big bigint,
    ubig bigint unsigned, uint int unsigned, wide decimal(38,10), money numeric(5,2), f float, d double, day date, clock time(6),
    at datetime(6), moment timestamp(6) null, y year, four char(4), words varchar(20), txt longtext, bin varbinary(4), bytes blob,
    colour enum('red','gr\u00fcn'), several set('a','b'), j json) character set utf8mb4
"""
FULL = """
insert into kinds values (1, -128, 1, b'1000000001', -32768, -8388608, -9223372036854775808, 18446744073709551615, 4294967295,
    1234567890123456789012345678.1234567890, -999.99, 1.5, 0.1, '1000-01-01', '23:59:59.999999', '2024-02-29 23:59:59.999999',
    '2024-03-31 02:30:00.000001', 2013, 'ab', 'gr\u00fc\U0001f6e9', 'tab\\t\\\\', x'00ff', x'00', 'gr\u00fcn', 'a,b', '{"a":  1}')
"""
FULL_READ = (
    1, -128, True, 513, -32768, -8388608, -9223372036854775808, Decimal(18446744073709551615), 4294967295,
    Decimal("1234567890123456789012345678.1234567890"), Decimal("-999.99"), 1.5, 0.1, dt.date(1000, 1, 1), "23:59:59.999999",
    dt.datetime(2024, 2, 29, 23, 59, 59, 999999), dt.datetime(2024, 3, 31, 2, 30, 0, 1), 2013, "ab  ", "grü\U0001f6e9", "tab\t\\",
    bytearray(b"\x00\xff"), bytearray(b"\x00"), "grün", "a,b", '{"a":  1}',
)  # fmt: skip


@pytest.fixture(scope="module")
def server(platform: Platform) -> Endpoint:
    """MariaDB, started by the first reference and by nothing else, with the sample's planes."""
    assert platform.resolver.text("${local:mysql.port}")
    return Supervisor(platform.root).endpoints()["mysql"]


@pytest.fixture(scope="module")
def ask(server: Endpoint) -> Iterator[Callable[..., Any]]:
    """Rows of a statement, as the administrator."""
    with mysql.connect(server, database="fleet") as connection:

        def one(statement: str) -> Any:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()

        one("set time_zone = '+00:00'")
        one(KINDS)
        one(FULL)
        one("insert into kinds (id) values (2)")
        # Zipf: half of the rows have the key 1, some have none.
        numbers = "select seq as id, nullif(9000 div seq, 90) as k, repeat('x', 100) as filler from seq_1_to_9000"
        one(f"create table skewed (primary key (id)) as {numbers}")
        one(f"create table keyless as {numbers}")
        one("analyze table skewed, keyless")
        yield one
        one("set global time_zone = '+00:00'")


@pytest.fixture
def connection(ask: Any) -> str:
    return "fleet"


def test_the_planes_of_the_sample_are_there(ask: Any) -> None:
    assert ask("select count(*), count(year), sum(seats) from planes") == ((3322, 3252, 512639),)


def test_every_type_is_read_exactly_whatever_the_servers_time_zone(rows: Any, ask: Any) -> None:
    ask("set global time_zone = '+05:30'")
    assert rows("kinds", where="id = 1") == [FULL_READ]
    assert rows("kinds", where="id = 2") == [(2, *[None] * 25)]


@pytest.mark.parametrize(
    ("table", "how"), [("skewed", {}), ("skewed", {"split_by": "k"}), ("skewed", {"where": "id > 1000 -- the newer"}), ("keyless", {})]
)
def test_a_read_in_parts_gives_every_row_once_and_even_parts(
    table: str, how: dict[str, str], spark: Any, read_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "MIN_ROWS", 1000)
    check_parts(spark, read_of(table, **how))


def test_a_run_holds_no_more_connections_than_its_entry_allows(spark: Any, read_of: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MIN_ROWS", 10)
    before = len(ask("show processlist"))
    for connections, parts in ((1, 1), (2, 1), (3, 2)):
        read = read_of("skewed", connections=connections)
        with Databases(spark, {"rows": read}) as databases:
            assert databases.frame(read).rdd.getNumPartitions() == parts
            assert len(ask("show processlist")) - before + parts <= connections


def test_an_incremental_read_begins_where_the_last_one_ended(spark: Any, read_of: Any) -> None:
    from dataclasses import replace

    read = read_of("kinds", watermark="moment")
    for after, found in ((None, {1, 2}), ("2024-03-31 02:30:00.000001", {2}), ("2024-03-31 02:30:00.000000", {1, 2})):
        with Databases(spark, {"rows": read}) as databases:
            frame = databases.frame(replace(read, after=after))
            assert {row["id"] for row in frame.collect()} == found
            assert databases.reached == {"rows": "2024-03-31 02:30:00.000001"}


@pytest.mark.parametrize(
    ("changes", "table", "kind", "said"),
    [
        ({"password": "${env:WRONG}"}, "planes", AccessRefused, "refused the user or the password"),
        ({"database": "flet"}, "planes", DatasetNotFound, "Unknown database 'flet'"),
        ({}, "plane", DatasetNotFound, "Table 'fleet.plane' doesn't exist"),
        ({"port": 9}, "planes", ServiceUnavailable, "cannot connect to database fleet (mysql://127.0.0.1:9/fleet)"),
    ],
)
def test_what_is_wrong_with_a_connection_is_said_without_its_password(
    changes: dict[str, Any], table: str, kind: type[Exception], said: str, spark: Any, read_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from framework.engines.spark.failures import explain_read

    monkeypatch.setenv("WRONG", "hunter2")
    read = read_of(table, changes=changes)
    with Databases(spark, {"rows": read}) as databases:
        problem: Any = attempt_any(lambda: databases.frame(read))
    error = explain_read(problem, "rows", read, "jobs/a.py:1", spark)
    assert isinstance(error, kind)
    assert said in str(error)
    assert "hunter2" not in str(error)
    if table == "plane":
        assert error.fix == "did you mean 'planes'?"


def attempt_any(act: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a py4j error, which the engine explains
        act()
    return caught.value


def test_trino_joins_the_planes_with_the_lake(ask: Any, emrjobs: Any) -> None:
    sql = (
        "select count(*) as n from fleet.fleet.planes p join reference.planes l on l.tailnum = p.tailnum "
        "and l.seats = p.seats and l.year is not distinct from p.year"
    )
    seen = emrjobs("query", "--engine", "trino", sql, "--json")
    assert '"n": 3322' in seen.out, seen.err
    missing = emrjobs("query", "--engine", "trino", "select * from fleet.fleet.plane")
    assert (missing.code, "did you mean 'planes'?" in missing.err) == (2, True), missing.err
