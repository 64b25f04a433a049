"""Rows that came out against rows that were expected."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One row that is not as expected.

    Attributes:
        expected: None for a row that nobody expected.
        got: None for a row that did not come.
        columns: those in which the two differ.
    """

    expected: Row | None
    got: Row | None
    columns: tuple[str, ...] = ()


def compare(
    expected: Sequence[Row], got: Sequence[Row], columns: Sequence[str], *, key: Sequence[str] = (), ordered: bool = False
) -> list[Difference]:
    """The differences, empty when the rows are the same.

    Rows that are equal cancel each other out. Of the others, those with the same key belong together; without a key those
    that have most values in common do.

    Args:
        columns: what is compared.
        key: columns that tell which row is which.
        ordered: the first row belongs to the first row, and so on.
    """
    if ordered:
        pairs = itertools.zip_longest(expected, got)
        return [_difference(one, other, columns) for one, other in pairs if not (one and other and _equal(one, other, columns))]
    rest = list(got)
    missing = []
    for row in expected:
        match = next((index for index, other in enumerate(rest) if _equal(row, other, columns)), None)
        if match is None:
            missing.append(row)
        else:
            del rest[match]
    differences = []
    for row in missing:
        index = _nearest(row, rest, columns, key)
        differences.append(_difference(row, rest.pop(index) if index is not None else None, columns))
    return differences + [Difference(None, row) for row in rest]


def _nearest(row: Row, others: Sequence[Row], columns: Sequence[str], key: Sequence[str]) -> int | None:
    if key:
        return next((index for index, other in enumerate(others) if _equal(row, other, key)), None)
    shared = [sum(_same(row[column], other[column]) for column in columns) for other in others]
    best = max(shared, default=0)
    return shared.index(best) if best * 2 >= len(columns) and best else None


def _difference(expected: Row | None, got: Row | None, columns: Sequence[str]) -> Difference:
    if expected is None or got is None:
        return Difference(expected, got)
    return Difference(expected, got, tuple(column for column in columns if not _same(expected[column], got[column])))


def _equal(one: Row, other: Row, columns: Sequence[str]) -> bool:
    return all(_same(one[column], other[column]) for column in columns)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        # Sums of doubles depend on the order in which Spark adds them.
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
