from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from framework.engines.trino.arrow import is_ordered
from framework.engines.trino.types import fields_of
from framework.errors import UserError
from framework.publish.trino import Column


@pytest.mark.parametrize(
    ("kind", "arrow", "expression"),
    [
        ("integer", pa.int32(), "x"),
        ("smallint", pa.int16(), "CAST(x AS integer)"),
        ("varchar(10)", pa.string(), "x"),
        ("decimal(38,0)", pa.decimal128(38, 0), "x"),
        ("timestamp(3)", pa.timestamp("us"), "x"),
        ("timestamp(6) with time zone", pa.timestamp("us", "UTC"), "x"),
        ("timestamp(9)", pa.timestamp("ns"), "CAST(x AS varchar)"),
        ("timestamp(12)", pa.string(), "CAST(x AS varchar)"),
        ("time(6)", pa.time64("us"), "x"),
        ("array(varchar)", pa.list_(pa.string()), "x"),
        ("array(tinyint)", pa.list_(pa.int8()), "CAST(x AS array(integer))"),
        ("array(timestamp(9))", pa.string(), "json_format(CAST(x AS json))"),
        ("row(integer, varchar)", pa.string(), "json_format(CAST(x AS json))"),
        ("json", pa.string(), "json_format(CAST(x AS json))"),
        ("interval day to second", pa.string(), "CAST(x AS varchar)"),
    ],
)
def test_each_type_has_one_in_arrow_that_loses_nothing(kind: str, arrow: pa.DataType, expression: str) -> None:
    (field,) = fields_of([Column("a", kind)])
    assert (field.type, field.expression("x")) == (arrow, expression)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("boolean", [True, None]),
        ("tinyint", [-128, 127]),
        ("double", [float("inf"), None, 1.5]),
        ("decimal(38,2)", [Decimal("12345678901234567890.12"), None]),
        ("date", [dt.date(2013, 1, 15)]),
        ("timestamp(6)", [dt.datetime(2013, 1, 15, 1, 2, 3, 456789), None]),
        ("time(6)", [dt.time(1, 2, 3, 456789)]),
        ("varbinary", [b"\x00\xff", None]),
        ("array(array(bigint))", [[[1], None, [2, None]], None]),
    ],
)
def test_the_clients_values_arrive_as_they_are(kind: str, values: list[Any]) -> None:
    (field,) = fields_of([Column("a", kind)])
    assert field.array(values).to_pylist() == values


def test_values_of_the_client_that_arrow_does_not_know_are_turned_into_such() -> None:
    def array(kind: str, *values: Any) -> Any:
        (field,) = fields_of([Column("a", kind)])
        return field.array(values).to_pylist()

    key = uuid.uuid4()
    assert array("uuid", key, None) == [str(key), None]
    assert array("map(varchar, integer)", {"a": 1}, None) == [[("a", 1)], None]
    assert array('row(a integer, "B" array(row(c varchar)))', (1, [("x",)]), None) == [{"a": 1, "B": [{"c": "x"}]}, None]
    assert array("timestamp(9)", "2013-01-15 00:00:00.123456789")[0].nanosecond == 789


def test_a_column_without_a_type_is_refused() -> None:
    with pytest.raises(UserError, match="column a has no type"):
        fields_of([Column("a", "unknown")])


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT 1 AS a", False),
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM t UNION ALL SELECT a FROM t ORDER BY 1", True),
        ("SELECT a, row_number() OVER (ORDER BY a) FROM (SELECT a FROM t ORDER BY a LIMIT 3)", False),
        ("what is this", True),
    ],
)
def test_an_order_that_a_query_asks_for_is_seen(sql: str, ordered: bool) -> None:
    assert is_ordered(sql) is ordered
