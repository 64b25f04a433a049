from __future__ import annotations

import datetime as dt

import pytest

from framework.engines.trino import statement
from framework.errors import JobDefinitionError, UserError

DAY = dt.date(2013, 1, 15)


def test_parameters_become_typed_literals_and_an_injection_stays_one_string() -> None:
    found = statement.of(
        "SELECT 1 FROM t WHERE d = {day} AND n > {least} AND s = {text}",
        {"day": DAY, "least": -3, "text": "x' OR '1'='1'; DROP TABLE t --"},
        "trino",
        where="jobs/a.sql",
    )
    assert found.text == "SELECT 1 FROM t WHERE d = DATE '2013-01-15' AND n > (-3) AND s = 'x'' OR ''1''=''1''; DROP TABLE t --'"


def test_the_semicolon_that_ends_it_goes_and_those_in_strings_and_comments_stay() -> None:
    source = "SELECT ';' AS a, \";\" AS b -- one; two\nFROM t; -- the end;\n"
    assert statement.of(source, {}, "trino", where="jobs/a.sql").text == "SELECT ';' AS a, \";\" AS b -- one; two\nFROM t  -- the end;\n"


@pytest.mark.parametrize("word", ["carier", "more", "last"])
def test_a_position_behind_parameters_leads_back_to_the_users_file(word: str) -> None:
    source = "/* head */\nSELECT {day} AS d, carier, {day} AS e, more\nFROM t WHERE d = {day} AND last"
    found = statement.of(source, {"day": DAY}, "trino", where="jobs/a.sql")
    line, column = next((n, row.index(word) + 1) for n, row in enumerate(found.text.split("\n"), 1) if word in row)
    place = found.position(line, column)
    assert place is not None
    assert source.split("\n")[place[0] - 1][place[1] - 1 :].startswith(word)


def test_a_position_in_a_parameter_is_the_place_where_it_stands() -> None:
    found = statement.of("SELECT {day} + 1", {"day": DAY}, "trino", where="jobs/a.sql")
    assert found.position(1, 10) == (1, 8)


def test_presto_hive_and_athena_are_translated() -> None:
    presto, _ = statement.translate("SELECT approx_distinct(a) FROM t WHERE json_extract_scalar(b, '$.c') = 'x'", "presto", where="a.sql")
    hive, _ = statement.translate("SELECT date_add(d, 1), collect_list(x) FROM `db`.`t` GROUP BY d", "hive", where="a.sql")
    assert "APPROX_DISTINCT(a)" in presto
    assert "ARRAY_AGG(x)" in hive
    assert '"db"."t"' in hive


def test_what_does_not_parse_in_its_dialect_is_said_with_the_file() -> None:
    with pytest.raises(JobDefinitionError, match=r"jobs/a.sql: does not parse as presto SQL|does not parse as presto SQL"):
        statement.translate("SELECT FROM WHERE", "presto", where="jobs/a.sql")


def test_a_placeholder_survives_a_translation_and_what_looks_like_one_in_a_string_too() -> None:
    found, _ = statement.translate("SELECT ':day' AS a FROM t WHERE d = :day", "presto", where="a.sql")
    assert "':day' AS a" in found
    assert "d = {day}" in found


@pytest.mark.parametrize("sql", ["SELECT ';' AS a -- DROP", "WITH a AS (SELECT 1 AS b) SELECT * FROM a;", "(SELECT 1)", "TABLE db.t"])
def test_what_reads_is_a_query(sql: str) -> None:
    assert statement.query(sql, {}, where="query").text.rstrip() == sql.rstrip(";")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DROP TABLE db.t", "a query reads, this is DROP"),
        ("/* SELECT */ delete from db.t", "a query reads, this is DELETE"),
        ("SELECT 1; DROP TABLE db.t", "a query is one statement, this has more"),
        ("EXPLAIN ANALYZE INSERT INTO db.t SELECT 1", "a query reads, this is EXPLAIN"),
        ("  ", "a query reads, this is empty"),
        ("SELECT {dya} AS a", "{dya} has no value"),
    ],
)
def test_what_does_anything_else_is_refused(sql: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        statement.query(sql, {"day": DAY}, where="query", looks=True)
    assert problem in str(caught.value)


def test_looking_at_something_is_a_query_only_where_it_is_asked_for() -> None:
    assert statement.query("SHOW TABLES FROM db", {}, where="query", looks=True).text == "SHOW TABLES FROM db"
    with pytest.raises(UserError, match="this is SHOW"):
        statement.query("SHOW TABLES FROM db", {}, where="query")
