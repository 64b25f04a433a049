"""Partition pruning never excludes a partition that holds matching rows."""

from __future__ import annotations

import datetime as dt
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.catalog import Column
from framework.catalog.pruning import expression
from framework.predicates import render

KEYS = (Column("d", "date"), Column("n", "int"), Column("s", "string"), Column("x", "double"))


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("d = DATE '2013-01-05'", "d = '2013-01-05'"),
        ("d = '2013-01-05' AND carrier = 'UA'", "d = '2013-01-05'"),
        ("DATE '2013-01-05' <= D", "d >= '2013-01-05'"),
        ("t.n IN (1, (-2)) AND s <> 'a'", "n IN (1, -2) AND s <> 'a'"),
        ("d BETWEEN DATE '2013-01-01' AND DATE '2013-01-31'", "(d >= '2013-01-01' AND d <= '2013-01-31')"),
        ("(n = 1 OR n = 2) AND (s = 'a' OR carrier = 'UA')", "(n = 1 OR n = 2)"),
        ("n = -(-5)", "n = 5"),
        ("(n = 1 AND carrier = 'UA') OR n = 2", "((n = 1) OR n = 2)"),
    ],
)
def test_what_the_keys_decide_is_kept(predicate: str, expected: str) -> None:
    assert expression(predicate, KEYS) == expected


@pytest.mark.parametrize(
    "predicate",
    [
        "carrier = 'UA'",
        "n = 1 OR carrier = 'UA'",
        "NOT (n = 1)",
        "n NOT IN (1)",
        "n IS NULL",
        "n <=> 1",
        "n + 1 = 2",
        "n = m",
        "abs(n) = 1",
        "n IN (SELECT n FROM db.x)",
        "n IN (1, NULL)",
        "s LIKE 'a%'",
        # Spark casts these before it compares; the texts differ: '03' = 3, '2013-1-5' = DATE '2013-01-05'.
        "s = 3",
        "s = DATE '2013-01-05'",
        "n = '3.7'",
        "n = CAST(3.5 AS INT)",
        "n < 3.5",
        "d = '2013-1-5'",
        "d = '2013-W01-1'",
        "d > '2013'",
        "d = TIMESTAMP '2013-01-05 00:00:00'",
        # Not in Glue's grammar.
        "x = 1",
        "s = 'O''Brien'",
        "s = 'a\\'b'",
        "s = 'a\nb'",
        # Not SQL at all: Spark will say so.
        "n =",
        "((((",
        "n = 1 AND AND",
    ],
)
def test_what_is_not_understood_is_left_out(predicate: str) -> None:
    assert expression(predicate, KEYS) is None


def test_a_negative_parameter_keeps_its_sign() -> None:
    assert expression(render("n = {n}", {"n": -5}, "spark", where="a"), KEYS) == "n = -5"


def test_more_than_glue_takes_is_left_out() -> None:
    long = "n IN (" + ", ".join(str(number) for number in range(1000)) + ")"
    assert expression(f"{long} AND s = 'a'", KEYS) == "s = 'a'"


NUMBERS = st.integers(-3, 3)
DAYS = st.integers(1, 4).map(lambda day: dt.date(2013, 1, day))
WORDS = st.sampled_from(["a", "b", "", "UA", "it's", "a b", "\u00fc", "%"])
OPERATORS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])


def sql(value: object) -> str:
    return render("{v}", {"v": value}, "spark", where="a")  # type: ignore[dict-item]


COMPARISONS = st.one_of(
    st.builds(lambda name, op, value: f"{name} {op} {sql(value)}", st.sampled_from(["n", "other"]), OPERATORS, NUMBERS),
    st.builds(lambda op, value: f"{sql(value)} {op} n", OPERATORS, NUMBERS),
    st.builds(lambda op, value: f"d {op} {sql(value)}", OPERATORS, DAYS),
    st.builds(lambda op, value: f"s {op} {sql(value)}", OPERATORS, WORDS),
    st.builds(lambda low, high: f"n BETWEEN {sql(low)} AND {sql(high)}", NUMBERS, NUMBERS),
    st.builds(lambda values: f"d IN ({', '.join(map(sql, values))})", st.lists(DAYS, min_size=1, max_size=3)),
    st.builds(lambda values: f"n IN ({', '.join(map(sql, values))})", st.lists(NUMBERS, min_size=1, max_size=3)),
    st.builds(lambda value: f"n + 1 = {sql(value)}", NUMBERS),
)
PREDICATES = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(lambda a, op, b: f"{a} {op} {b}", inner, st.sampled_from(["AND", "OR"]), inner),
        st.builds(lambda a: f"({a})", inner),
        st.builds(lambda a: f"NOT ({a})", inner),
    ),
    max_leaves=5,
)
ROWS = st.tuples(st.one_of(st.none(), NUMBERS), st.one_of(st.none(), DAYS), st.one_of(st.none(), WORDS), NUMBERS)


@settings(deadline=None, max_examples=150)
@given(predicate=PREDICATES, rows=st.lists(ROWS, min_size=1, max_size=30))
def test_the_partition_of_every_matching_row_is_matched(predicate: str, rows: list[tuple[object, ...]]) -> None:
    """SQLite judges both: the predicate on the rows, and the expression on their partitions."""
    pruned = expression(predicate, KEYS)
    if pruned is None:
        return
    # SQLite knows '' for a quote and plain texts for dates.
    plain = predicate.replace("DATE '", "'").replace("\\'", "''")
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE t (n INTEGER, d TEXT, s TEXT, other INTEGER)")
        database.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", [(n, str(d) if d else None, s, other) for n, d, s, other in rows])
        lost = database.execute(f"SELECT * FROM t WHERE ({plain}) AND ({pruned}) IS NOT TRUE").fetchall()
    database.close()
    assert lost == [], pruned
