"""How one read of a database is cut into parts that several connections read side by side.

The cuts come from the data: pages of the table (PostgreSQL), quantiles of a key, or a hash of the row. So a skewed key gives
parts of about one size, and no row is in two parts or in none: rows whose key is null lie in the first part.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

MIN_ROWS = 200_000
"""Rows of one part at least: below that a further connection costs more than it saves."""

_SAMPLE = 20_000  # rows of which the quantiles are taken
_WHOLE = 0.9  # a predicate that leaves more out may leave it out at one end of the table


@dataclass(frozen=True)
class Key:
    """A column to split by; `numeric` where it holds numbers."""

    column: str
    numeric: bool = False


@dataclass(frozen=True)
class TableFacts:
    """What a database says of a relation.

    Attributes:
        rows: estimate of the rows that the read gives.
        pages: of a plain PostgreSQL table whose rows can be addressed by page, else None.
        share: estimate of the part of the table's rows that the read gives.
        key: the column to split by, None when there is none that can be ordered.
        columns: of a table that may be split by a hash; empty for a view, which every part would compute anew.
    """

    rows: int
    pages: int | None = None
    share: float = 1.0
    key: Key | None = None
    columns: Sequence[str] = ()


def count(rows: int, most: int) -> int:
    """Number of parts for so many rows."""
    return max(1, min(most, rows // MIN_ROWS))


def by_page(facts: TableFacts) -> bool:
    """Pages are the best cut of a whole table: no key is looked at, and together the parts are one sequential scan."""
    return facts.pages is not None and facts.pages > 1 and (facts.share >= _WHOLE or facts.key is None)


def page_predicates(pages: int, parts: int) -> list[str]:
    """Predicates over PostgreSQL's `ctid`, which its Tid Range Scan answers with parts of one sequential scan (PostgreSQL 14 and later)."""
    bounds = sorted({pages * part // parts for part in range(1, parts)} - {0})
    return _ranges("ctid", [f"'({page},0)'::tid" for page in bounds], nulls=False)


def quantile_query(relation: str, key: Key, rows: int, parts: int, kind: str) -> str:
    """A query for the lower bounds of all parts but the first, one a row, as text: quantiles of a sample of the keys."""
    column, draw, as_text = quoted(key.column, kind), ("random()" if kind == "postgresql" else "rand()"), text_type(kind)
    share = min(1.0, _SAMPLE / max(1, rows))
    sampled = "" if share == 1.0 else f" AND {draw} < {share:.8f}"
    # Never the least key itself: nothing would lie below it, however many rows have it.
    return (
        f"SELECT CAST(min(CASE WHEN k > lowest THEN k END) AS {as_text}) FROM "
        f"(SELECT k, ntile({parts}) OVER (ORDER BY k) AS part, min(k) OVER () AS lowest FROM "
        f"(SELECT {column} AS k FROM {relation} WHERE {column} IS NOT NULL{sampled}) AS sampled) AS parts "
        "WHERE part > 1 GROUP BY part ORDER BY part"
    )


def key_predicates(key: Key, bounds: Sequence[str | None], kind: str) -> list[str]:
    """One predicate a part; a value that fills several quantiles stays in one part.

    Args:
        bounds: what `quantile_query` gave.
    """
    literals = [_literal(bound, key, kind) for bound in dict.fromkeys(bounds) if bound is not None]
    return _ranges(quoted(key.column, kind), literals, nulls=True)


def hash_predicates(columns: Sequence[str], parts: int, kind: str) -> list[str]:
    """One predicate a part over a hash of the whole row, for a relation without a key. Every part reads the whole relation."""
    if kind == "postgresql":
        row = "||'|'||".join(f"coalesce({quoted(column, kind)}::text, '')" for column in columns)
        number = f"abs(hashtext({row})::bigint)"
    else:
        number = f"crc32(concat_ws('|', {', '.join(quoted(column, kind) for column in columns)}))"
    return [f"mod({number}, {parts}) = {part}" for part in range(parts)]


def quoted(name: str, kind: str) -> str:
    """A column's name as an identifier."""
    mark = '"' if kind == "postgresql" else "`"
    return mark + name.replace(mark, mark * 2) + mark


def text(value: str, kind: str) -> str:
    """A literal without a type: the database gives it the one of the column that it is compared with."""
    if kind == "mysql":
        value = value.replace("\\", "\\\\")
    return "'" + value.replace("'", "''") + "'"


def _ranges(expression: str, bounds: Sequence[str], *, nulls: bool) -> list[str]:
    if not bounds:
        return []
    first = f"{expression} < {bounds[0]}" + (f" OR {expression} IS NULL" if nulls else "")
    middle = [f"{expression} >= {low} AND {expression} < {high}" for low, high in itertools.pairwise(bounds)]
    return [first, *middle, f"{expression} >= {bounds[-1]}"]


def _literal(bound: str, key: Key, kind: str) -> str:
    # MySQL would compare a text and a number as floating-point numbers.
    return bound if key.numeric and kind == "mysql" else text(bound, kind)


def text_type(kind: str) -> str:
    """What a value is cast to for its text."""
    return "text" if kind == "postgresql" else "char"
