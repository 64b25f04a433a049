from __future__ import annotations

import pytest

from framework.errors import SchemaMismatch
from framework.jobs import Table
from framework.publish.trino import Column, Query, aligned, check_columns, quoted


def query(**columns: str) -> Query:
    return Query("SELECT ...", [Column(name, kind) for name, kind in columns.items()], {})


def test_columns_come_in_the_tables_order_and_types() -> None:
    target = [Column("day", "date"), Column("n", "bigint"), Column("at", "timestamp(6) with time zone")]
    text = aligned(query(n="integer", at="timestamp(3) with time zone", day="date"), "db.t", target)
    assert text == ('SELECT "day", CAST("n" AS bigint) AS "n", CAST("at" AS timestamp(6) with time zone) AS "at" FROM (\nSELECT ...\n)')


@pytest.mark.parametrize(("given", "wanted"), [("varchar(3)", "varchar"), ("decimal(5,2)", "decimal(10,2)"), ("real", "double")])
def test_what_fits_is_cast(given: str, wanted: str) -> None:
    assert f'CAST("a" AS {wanted})' in aligned(query(a=given), "db.t", [Column("a", wanted)])


@pytest.mark.parametrize(("given", "wanted"), [("bigint", "integer"), ("varchar", "date"), ("timestamp(6)", "date"), ("double", "real")])
def test_what_would_lose_something_is_refused(given: str, wanted: str) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        aligned(query(a=given), "db.t", [Column("a", wanted)])
    assert caught.value.details == (f"a: the job gives {given}, the table has {wanted}",)


def test_a_partition_column_that_the_query_does_not_give_is_named() -> None:
    with pytest.raises(SchemaMismatch, match="has no column day"):
        check_columns(query(dya="date"), Table("db.t", partitioned_by=["day"]))


def test_two_columns_of_one_name_are_refused() -> None:
    twice = Query("", [Column("a", "date"), Column("A", "date")], {})
    with pytest.raises(SchemaMismatch, match="two columns A"):
        check_columns(twice, Table("db.t"))


def test_a_quote_in_a_name_is_doubled() -> None:
    assert quoted("c", 'a"b') == '"c"."a""b"'
