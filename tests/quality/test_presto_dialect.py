from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy

from framework.quality.presto_dialect import PrestoDialect, bound


class Cursor:
    text = ""

    def execute(self, statement: str) -> None:
        self.text = statement


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("it's ? ü", "'it''s ? ü'"),
        ("x' OR '1'='1", "'x'' OR ''1''=''1'"),
        ("back\\slash", "'back\\slash'"),
        (7, "7"),
        (-7, "-7"),
        (True, "TRUE"),
        (None, "NULL"),
        (0.1, "CAST('0.1' AS DOUBLE)"),
        (Decimal("1.10"), "1.10"),
        (dt.date(2024, 1, 2), "CAST('2024-01-02' AS DATE)"),
        (dt.datetime(2024, 1, 2, 3, 4, 5), "CAST('2024-01-02 03:04:05' AS TIMESTAMP)"),
    ],
)
def test_a_value_is_a_literal_of_its_type(value: Any, literal: str) -> None:
    assert bound("SELECT ? AS a", [value]) == f"SELECT {literal} AS a"


def test_a_question_mark_in_a_string_a_name_or_a_comment_is_no_marker() -> None:
    assert bound("""SELECT '?' AS "?", ? -- ?\n, ? /* ? */""", [1, "b"]) == """SELECT '?' AS "?", 1 -- ?\n, 'b' /* ? */"""


@pytest.mark.parametrize("values", [[], [1, 2]])
def test_values_and_markers_have_to_be_as_many(values: Sequence[Any]) -> None:
    with pytest.raises(ValueError, match="zip"):
        bound("SELECT ?", values)


def test_what_sqlalchemy_makes_is_one_statement_without_markers() -> None:
    table = sqlalchemy.table("t", sqlalchemy.column("day", sqlalchemy.Date), sqlalchemy.column("n"), schema="staged")
    query = sqlalchemy.select(table.c.n).where(table.c.day.in_([dt.date(2024, 1, 2)]), table.c.n > 0.5)
    dialect, cursor = PrestoDialect(paramstyle="qmark"), Cursor()
    compiled = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    dialect.do_execute(cursor, str(compiled), [compiled.params[name] for name in compiled.positiontup or ()])
    assert " ".join(cursor.text.replace("\n", " ").split()) == (
        "SELECT staged.t.n FROM staged.t WHERE staged.t.day IN (CAST('2024-01-02' AS DATE)) AND staged.t.n > CAST('0.5' AS DOUBLE)"
    )
