"""Parameters inside SQL: whatever a value holds, it stays a value."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlglot
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from framework.errors import JobDefinitionError, ParameterError
from framework.predicates import literal, markers, render

DIALECTS = ("postgres", "mysql", "spark", "trino")
ATTACKS = (
    "x' OR '1'='1",
    "x'; DROP TABLE flights; --",
    "\\' OR 1=1 --",
    "\\",
    "\\\\'",
    "' || (SELECT password FROM users) || '",
    "\u2019 OR 1=1",
    "\uff07 OR 1=1",
    '" OR ""="',
    "`",
    "*/ OR 1=1 /*",
    "{other}",
    ":other",
    "${spark.app.name}",
    "$$",
    "a\nb -- c",
    "",
)

quotes = st.text(alphabet=st.sampled_from("'\\\"`;-/*{}$:%_ \n\t\u2019\u02bcab0"), max_size=12)
texts = st.one_of(quotes, st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30))


def unescaped(text: str, dialect: str) -> str:
    """What the database makes of a quoted literal, by its own manual's rules (an independent reading of `literal`)."""
    assert text[0] == text[-1] == "'"
    body, out, position = text[1:-1], [], 0
    while position < len(body):
        here, following = body[position], body[position + 1 : position + 2]
        if here == "\\" and dialect in ("spark", "mysql"):
            assert following in ("\\", "'"), "an escape that is not one of ours"
            out.append(following)
            position += 2
        elif here == "'":
            assert following == "'", "the string ends early"
            assert dialect != "spark", "Spark reads '' as two strings side by side"
            out.append("'")
            position += 2
        else:
            out.append(here)
            position += 1
    return "".join(out)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(deadline=None, max_examples=100)
@given(value=texts)
@example(value="x' OR '1'='1")
@example(value="\\' OR 1=1 --")
def test_a_text_is_one_string_with_exactly_its_value(dialect: str, value: str) -> None:
    assert unescaped(literal(value, dialect), dialect) == value


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(deadline=None, max_examples=40)
@given(value=texts)
def test_a_parser_finds_one_string_and_nothing_else(dialect: str, value: str) -> None:
    tree = sqlglot.parse(f"SELECT 1 FROM t WHERE a = {literal(value, dialect)}", read=dialect)
    assert len(tree) == 1
    condition = tree[0].args["where"].this
    assert isinstance(condition, exp.EQ)
    assert isinstance(condition.right, exp.Literal)
    assert condition.right.is_string


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("value", ATTACKS)
def test_an_attack_stays_inside_its_string(dialect: str, value: str) -> None:
    sql = render("carrier = {carrier} AND deleted = 0", {"carrier": value}, dialect, where="jobs/a.py:1")
    condition = sqlglot.parse_one(sql, read=dialect)
    assert isinstance(condition, exp.And)
    assert isinstance(condition.left.right, exp.Literal)
    assert len(list(condition.find_all(exp.EQ))) == 2
    assert not list(condition.find_all(exp.Or, exp.Subquery))


def test_dates_and_numbers_are_literals_of_their_type() -> None:
    sql = render("d = {day} AND n = {n} - {m}", {"day": dt.date(2013, 3, 8), "n": 7, "m": -5}, "postgres", where="a")
    assert sql == "d = DATE '2013-03-08' AND n = 7 - (-5)"


def test_a_zero_byte_is_refused() -> None:
    with pytest.raises(ParameterError, match="zero byte"):
        literal("a\x00b", "postgres")


@pytest.mark.parametrize(
    ("sql", "dialect"),
    [
        ("d = '{date}'", "postgres"),
        ('d = "{date}"', "spark"),
        ("d = `{date}`", "mysql"),
        ("d = 'it\\'s {date}'", "spark"),
        ("d = 'it\\'s {date}'", "mysql"),
        ("d = E'it\\'s {date}'", "postgres"),
        ("d = $$ {date} $$", "postgres"),
        ("d = $q$ ' {date} $q$", "postgres"),
        ("d = 'it''s {date}'", "trino"),
        ("d = r'\\' OR e = '{date}'", "spark"),
    ],
)
def test_a_placeholder_inside_quotes_is_refused(sql: str, dialect: str) -> None:
    with pytest.raises(JobDefinitionError, match=r"\{date\} stands inside quotes") as caught:
        render(sql, {"date": "x"}, dialect, where="jobs/a.py:3")
    assert "remove the quotes" in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "dialect", "expected"),
    [
        ("a = 'it\\'s' AND d = {x} AND b = 'y'", "spark", "a = 'it\\'s' AND d = 1 AND b = 'y'"),
        ("a = 'it\\'s' AND d = {x} AND b = 'y'", "mysql", "a = 'it\\'s' AND d = 1 AND b = 'y'"),
        ("a = 'c:\\' AND d = {x}", "postgres", "a = 'c:\\' AND d = 1"),
        ("a = r'c:\\' AND d = {x}", "spark", "a = r'c:\\' AND d = 1"),
        ("d = {x} -- don't\n AND e = {x}", "postgres", "d = 1 -- don't\n AND e = 1"),
        ("d = {x} # don't\n AND e = {x}", "mysql", "d = 1 # don't\n AND e = 1"),
        ("/* isn't {x} */ d = {x}", "trino", "/* isn't {x} */ d = 1"),
        ("a rlike 'x{2}' AND d = {x}", "spark", "a rlike 'x{2}' AND d = 1"),
        ("a = $1 AND b = '$' AND d = {x} AND c = '$'", "postgres", "a = $1 AND b = '$' AND d = 1 AND c = '$'"),
    ],
)
def test_what_only_looks_quoted_is_filled_in(sql: str, dialect: str, expected: str) -> None:
    assert render(sql, {"x": 1}, dialect, where="a") == expected


@pytest.mark.parametrize("sql", ["name = 'O'Brien' AND d = {x}", "a = {x} /* never closed", 'a = "b AND c = {x}'])
def test_a_quote_that_is_not_closed_is_refused(sql: str) -> None:
    with pytest.raises(JobDefinitionError, match="opened and not closed"):
        render(sql, {"x": "y"}, "trino", where="a")


def test_a_format_is_refused_in_sql() -> None:
    with pytest.raises(JobDefinitionError, match=r"\{date:%Y\}: a format has no meaning in SQL"):
        render("d = {date:%Y}", {"date": dt.date(2013, 1, 1)}, "spark", where="a")


def test_an_unknown_placeholder_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"\{dat\} is not a parameter"):
        render("d = {dat}", {"date": 1}, "spark", where="a")


def test_markers_are_what_spark_binds() -> None:
    assert markers("a = {x} AND b = 'y' -- {x}", where="a") == "a = :x AND b = 'y' -- {x}"


def test_the_line_of_a_quoted_placeholder_in_a_sql_file_is_told() -> None:
    with pytest.raises(JobDefinitionError) as caught:
        markers("SELECT 1\nFROM t\nWHERE a = '{x}'", where="jobs/a.sql")
    assert caught.value.where == "jobs/a.sql:3"
