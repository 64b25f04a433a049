"""The parts of a read: together every row once, whatever the keys are; checked in a database (SQLite)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.sources import splits
from framework.sources.splits import Key, TableFacts

NUMBERS = st.lists(st.none() | st.integers(-5, 5) | st.integers(-(2**62), 2**62), max_size=40)
TEXTS = st.lists(st.none() | st.text(alphabet="aB'\\ %é", max_size=3), max_size=40)


def parts_of(kind: str, values: Sequence[int | str | None], parts: int, database_kind: str = "postgresql") -> list[list[int]]:
    """Row numbers of each part of a table with one key column."""
    with sqlite3.connect(":memory:") as database:
        database.execute(f"create table t (row integer, k {kind})")
        database.executemany("insert into t values (?, ?)", list(enumerate(values)))
        key = Key("k", kind == "integer")
        query = splits.quantile_query("t", key, len(values), parts, database_kind)
        bounds = [row[0] for row in database.execute(query)]
        predicates = splits.key_predicates(key, bounds, database_kind) or ["true"]
        return [[row for (row,) in database.execute(f"select row from t where {predicate}")] for predicate in predicates]


@given(NUMBERS, st.integers(2, 8))
def test_every_row_is_in_exactly_one_part_of_a_number_key(values: list[int | None], parts: int) -> None:
    found = parts_of("integer", values, parts)
    assert sorted(row for part in found for row in part) == list(range(len(values)))
    assert len(found) <= parts


@given(TEXTS, st.integers(2, 8))
def test_every_row_is_in_exactly_one_part_of_a_text_key(values: list[str | None], parts: int) -> None:
    assert sorted(row for part in parts_of("text", values, parts) for row in part) == list(range(len(values)))


def test_a_skewed_key_gives_parts_of_about_one_size() -> None:
    values = [int(1000 / (rank + 1)) for rank in range(1000)]  # few large values, hundreds of small ones
    sizes = [len(part) for part in parts_of("integer", values, 3)]
    assert max(sizes) < 600  # equal widths would put 997 of 1,000 rows into the first part


def test_pages_are_cut_into_ranges_without_an_end() -> None:
    assert splits.page_predicates(90, 3) == [
        "ctid < '(30,0)'::tid",
        "ctid >= '(30,0)'::tid AND ctid < '(60,0)'::tid",
        "ctid >= '(60,0)'::tid",
    ]
    assert splits.page_predicates(1, 4) == []


def test_a_text_of_mysql_is_quoted_as_mysql_quotes() -> None:
    assert splits.key_predicates(Key("k"), ["a\\'b"], "mysql") == ["`k` < 'a\\\\''b' OR `k` IS NULL", "`k` >= 'a\\\\''b'"]
    assert splits.key_predicates(Key("k", True), ["7"], "mysql") == ["`k` < 7 OR `k` IS NULL", "`k` >= 7"]


@pytest.mark.parametrize(
    ("facts", "pages"),
    [
        (TableFacts(10**6, pages=1000), True),
        (TableFacts(10**6, pages=1000, share=0.5, key=Key("id")), False),  # the half may lie at one end
        (TableFacts(10**6, pages=1000, share=0.5), True),
        (TableFacts(10**6, pages=None), False),
    ],
)
def test_a_whole_table_is_cut_by_pages_and_a_part_of_one_by_its_key(facts: TableFacts, pages: bool) -> None:
    assert splits.by_page(facts) is pages


def test_a_small_read_is_not_split() -> None:
    assert [splits.count(rows, 8) for rows in (0, 1000, splits.MIN_ROWS * 3, 10**9)] == [1, 1, 3, 8]
