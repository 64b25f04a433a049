"""Results of Trino queries as Arrow, by the client and by way of files."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from framework import query, trino
from framework.errors import JobFailed, UserError
from framework.platform import Platform
from framework.publish import is_staging_name

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]

EVERY_TYPE = """
SELECT true AS a, TINYINT '-128' AS b, SMALLINT '7' AS c, 2147483647 AS d, BIGINT '-9223372036854775808' AS e, REAL '1.5' AS f,
  infinity() AS g, DECIMAL '12345678901234567890.12' AS h, 'ünï' AS i, CAST('ab' AS char(4)) AS j, X'00FF' AS k, DATE '0001-01-01' AS l,
  TIME '01:02:03.456789' AS m, TIMESTAMP '2013-01-15 01:02:03.456789' AS n, TIMESTAMP '2013-01-15 01:02:03 America/New_York' AS o,
  TIMESTAMP '2013-01-15 01:02:03.123456789' AS p, ARRAY[SMALLINT '1', NULL] AS q, MAP(ARRAY['x'], ARRAY[1]) AS r,
  CAST(ROW(1, ARRAY['y']) AS row(one integer, two array(varchar))) AS s, JSON '{"a": [1]}' AS t,
  UUID '12151fd2-7586-11e9-8f9e-2a86e4085a59' AS u, INTERVAL '2' DAY AS v, ROW(1, 'x') AS w
UNION ALL
SELECT """ + ", ".join(["NULL"] * 23)


def left_behind(platform: Platform) -> list[str]:
    listed = platform.aws.client("s3").list_objects_v2(Bucket="emrjobs-state", Prefix="trino/unload/")
    names = [table.name for table in platform.catalog.tables() if is_staging_name(table.name)]
    return [*names, *(item["Key"] for item in listed.get("Contents", []))]


def fetched(platform: Platform, sql: str, *, unload: bool | None, batch_rows: int | None = None) -> tuple[pa.Table, list[int]]:
    with query.fetch(platform, sql, {}, unload=unload, batch_rows=batch_rows) as found:
        batches = list(found.batches())
        return pa.Table.from_batches(batches, found.schema), [batch.num_rows for batch in batches]


def test_every_type_comes_exactly_and_the_same_on_both_ways(platform: Platform) -> None:
    rows: list[Any] = []
    for unload in (False, True):
        with query.fetch(platform, EVERY_TYPE, {}, unload=unload) as found:
            table = found.table()
            rows.append((table.schema, sorted(table.to_pylist(), key=lambda row: row["a"] is None)))
    assert rows[0] == rows[1]
    (first, second) = rows[0][1]
    assert set(second.values()) == {None}
    assert first["b"] == -128
    assert first["h"] == Decimal("12345678901234567890.12")
    assert first["k"] == b"\x00\xff"
    assert first["l"] == dt.date(1, 1, 1)
    assert first["o"] == dt.datetime(2013, 1, 15, 6, 2, 3, tzinfo=dt.UTC)
    assert first["p"].nanosecond == 789
    assert (first["q"], first["r"], first["s"]) == ([1, None], [("x", 1)], {"one": 1, "two": ["y"]})
    assert (first["t"], first["u"], first["v"]) == ('{"a":[1]}', "12151fd2-7586-11e9-8f9e-2a86e4085a59", "2 00:00:00.000")
    assert left_behind(platform) == []


def test_the_planners_estimate_chooses_the_way_and_an_order_keeps_to_the_client(platform: Platform) -> None:
    def way(sql: str) -> bool:
        with query.fetch(platform, sql, {}) as found:
            return found.unloads

    assert way("SELECT * FROM tpch.sf1.orders")
    assert not way("SELECT * FROM tpch.tiny.orders")
    assert not way("SELECT * FROM tpch.sf1.orders ORDER BY orderkey")
    assert way("SELECT * FROM TABLE(sequence(1, 5)) AS t (n)")  # of which the planner knows nothing


@pytest.mark.parametrize("unload", [False, True])
def test_a_result_without_rows_has_its_columns(unload: bool, platform: Platform) -> None:
    with query.fetch(platform, "SELECT orderkey, orderdate FROM tpch.tiny.orders WHERE orderkey < 0", {}, unload=unload) as found:
        assert found.table().schema == pa.schema([("orderkey", pa.int64()), ("orderdate", pa.date32())])
    assert fetched(platform, "SELECT 1 AS a WHERE false", unload=unload)[1] == []


@pytest.mark.parametrize("unload", [False, True])
def test_batches_are_no_larger_than_asked_for_and_give_every_row_once(unload: bool, platform: Platform) -> None:
    table, sizes = fetched(platform, "SELECT orderkey, comment FROM tpch.tiny.orders", unload=unload, batch_rows=4_000)
    assert max(sizes) <= 4_000
    assert table.num_rows == len(set(table["orderkey"].to_pylist())) == 15_000


def test_nothing_is_left_behind_by_a_query_that_fails_or_is_given_up_or_was_killed(platform: Platform) -> None:
    killed = "trino/unload/20200101t000000_dead0000/data/part.parquet"
    platform.aws.client("s3").put_object(Bucket="emrjobs-state", Key=killed, Body=b"")
    with (
        pytest.raises(JobFailed, match="Division by zero"),
        query.fetch(platform, "SELECT 1 / (orderkey - 59969) AS a FROM tpch.tiny.orders", {}, unload=True) as found,
    ):
        found.table()
    with query.fetch(platform, "SELECT * FROM tpch.tiny.orders", {}, unload=True, batch_rows=10) as found:
        batches = found.batches()
        assert next(batches).num_rows == 10
        batches.close()
    assert left_behind(platform) == []


@pytest.mark.parametrize(
    ("sql", "kind", "text"),
    [
        ("DROP TABLE reference.airlines", UserError, "a query reads, this is DROP"),
        ("SELECT 1 AS a; DROP TABLE reference.airlines", UserError, "a query is one statement, this has more"),
        ("SELECT nme FROM reference.airlines", JobFailed, "query:1:8: Column 'nme' cannot be resolved"),
        ("SELECT INTERVAL '2' DAY AS v ORDER BY 1", UserError, "column v is INTERVAL DAY TO SECOND, which has no exact value in Python"),
    ],
)
def test_what_cannot_be_fetched_is_told_with_its_place(sql: str, kind: type[Exception], text: str, platform: Platform) -> None:
    with pytest.raises(kind) as caught, query.fetch(platform, sql, {}):
        raise AssertionError("nothing to fetch")
    assert text in str(caught.value)


def test_a_notebook_needs_only_the_project(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMRJOBS_PROJECT", str(platform.root))
    found = trino.fetch_arrow("SELECT name FROM reference.airlines WHERE carrier = {code}", {"code": "x' OR '1'='1"})
    assert (found.num_rows, found.column_names) == (0, ["name"])
    assert sum(batch.num_rows for batch in trino.fetch_batches("SELECT name FROM reference.airlines", batch_rows=5)) == 16


def test_a_query_becomes_a_parquet_file(emrjobs: Any, tmp_path: Path) -> None:
    file = tmp_path / "orders.parquet"
    done = emrjobs("query", "--engine", "trino", "--format", "parquet", "--output", str(file), "SELECT * FROM tpch.tiny.orders")
    assert (done.code, pq.read_metadata(file).num_rows) == (0, 15_000), done.err
    refused = emrjobs("query", "--format", "parquet", "--output", str(file), "SELECT 1 AS a")
    assert refused.code == 2
    assert "go together, with --engine trino" in refused.err
