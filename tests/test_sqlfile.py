"""SQL jobs: a header, one query, inputs read off the query."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from builders import SQL_JOB, Project, attempt, mutated
from hypothesis import given, settings

from framework import sqlfile
from framework.errors import JobDefinitionError
from framework.jobs import EngineKind, Jdbc, Job, Sql


def load(project: Project, text: str, name: str = "scores") -> Job:
    return sqlfile.load(project.write(f"jobs/{name}.sql", text), project.root)


def refused(project: Project, text: str) -> JobDefinitionError:
    with pytest.raises(JobDefinitionError) as caught:
        load(project, text)
    return caught.value


def with_body(statement: str, header: str = "engine: spark\noutput: db.out") -> str:
    return f"/*\n{header}\n*/\n{statement}\n"


def test_the_inputs_are_read_off_the_statement(project: Project) -> None:
    one = load(project, SQL_JOB)
    assert one.engine is EngineKind.SPARK_SQL
    assert one.reads() == ["marts.daily"]
    assert (one.name, one.output.name, one.description) == ("scores", "marts.scores", "Scores")
    assert one.bind({}) == {"least": 1}


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("WITH a AS (SELECT * FROM db.x) SELECT * FROM a JOIN db.y USING (id)", ["db.x", "db.y"]),
        ("SELECT * FROM db.x WHERE id IN (SELECT id FROM DB.Y) AND EXISTS (SELECT 1 FROM db.z)", ["db.x", "db.y", "db.z"]),
        ("SELECT (SELECT max(n) FROM db.x) AS n FROM db.y UNION ALL SELECT n FROM db.z", ["db.x", "db.y", "db.z"]),
        ("SELECT * FROM db.x LATERAL VIEW explode(tags) t AS tag", ["db.x"]),
        ("SELECT * FROM db.x, LATERAL (SELECT * FROM db.y WHERE y.id = x.id)", ["db.x", "db.y"]),
        ("SELECT `from` FROM `db`.`x` -- FROM db.comment", ["db.x"]),
        ("SELECT 'FROM db.text' AS a FROM spark_catalog.db.x", ["db.x"]),
        ("SELECT 1 AS one", []),
        ("SELECT * FROM range(10)", []),
        ("SELECT * FROM VALUES (1), (2) AS t(n)", []),
    ],
)
def test_every_table_and_no_other_name_is_an_input(project: Project, statement: str, tables: list[str]) -> None:
    assert load(project, with_body(statement)).reads() == tables


def test_a_file_without_a_header_is_refused(project: Project) -> None:
    error = refused(project, "SELECT 1")
    assert error.where == "jobs/scores.sql:1"
    assert "starts with a header" in error.message


def test_a_byte_order_mark_is_no_obstacle(project: Project) -> None:
    assert load(project, "\ufeff" + SQL_JOB).name == "scores"


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("engine: spark\noutptu: db.out", 3, "outptu: unknown key"),
        ("engine: spark", 1, "the header has no output"),
        ("engine: spork\noutput: db.out", 2, "unknown engine 'spork'"),
        ("engine: spark\noutput: out", 3, r"named database\.table"),
        ("engine: spark\noutput: db.out\nformat: parkuet", 4, "unknown format 'parkuet'"),
        ("engine: spark\noutput: db.out\nmode: [append]", 4, "must be a text"),
        ("engine: spark\noutput: db.out\nparams: {a: float}", 4, "type must be date, int, str"),
        ("engine: spark\noutput: db.out\nparams: {a: {typ: int}}", 4, "must be a type, or"),
        ("engine: spark\noutput: db.out\nparams: {a: {type: int, default: x}}", 4, "'x' is not an int"),
        ("engine: spark\noutput: db.out\nparams: {a: {type: ['']}}", 4, "must be texts"),
        ("engine: spark\noutput: db.out\nparams: [a]", 4, "`name: type` pairs"),
        ("engine: spark\noutput: db.out\npartitioned_by: day", 4, "must be a list of columns"),
        ("engine: spark\noutput: db.out\nwhere: {db.y: a = 1}", 4, r"does not read db\.y"),
        ("engine: spark\n  output: db.out", 3, "is not valid YAML"),
        ("engine: spark\nengine: spark\noutput: db.out", 3, "is given twice"),
        ("- engine", 2, "key: value pairs"),
        ("engine: spark\nconnection: ops\noutput: t\nformat: parquet", 5, "format is of tables of the lake"),
        ("engine: spark\nconnection: ops\noutput: t\nmode: merge", 4, "mode merge and keys go together"),
    ],
)
def test_a_wrong_header_is_told_with_its_line(project: Project, header: str, line: int, message: str) -> None:
    error = refused(project, with_body("SELECT * FROM db.x", header))
    assert error.where == f"jobs/scores.sql:{line}"
    assert re.search(message, error.message)


def test_with_a_connection_the_output_is_a_table_of_that_database(project: Project) -> None:
    one = load(project, with_body("SELECT * FROM db.x", "engine: trino\nconnection: ops\noutput: public.scores\nkeys: [carrier]"))
    assert one.output == Jdbc("ops", "public.scores", keys=["carrier"])
    assert one.output.write_mode == "merge"


def test_a_statement_that_does_not_parse_shows_the_line_and_a_caret(project: Project) -> None:
    error = refused(project, with_body("SELECT carrier,\n  sum(flights AS n\nFROM db.x"))
    assert error.where == "jobs/scores.sql:6"
    assert "does not parse as spark SQL" in error.message
    source, caret = error.details
    assert source == "  sum(flights AS n"
    assert caret.strip() == "^"
    assert source[: len(caret)].strip()


@pytest.mark.parametrize(
    "statement", ["SELECT 'never closed FROM db.x", "SELECT 1 FROM db.x /* open", "SELECT (((((", "SELECT 1 FROM", "?? !"]
)
def test_broken_statements_are_refused(project: Project, statement: str) -> None:
    assert refused(project, with_body(statement)).where.startswith("jobs/scores.sql")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("INSERT INTO db.y SELECT * FROM db.x", "a SQL job is a query, this is INSERT"),
        ("DROP TABLE db.x", "a SQL job is a query, this is DROP"),
        ("CREATE TABLE db.y AS SELECT * FROM db.x", "this is CREATE"),
        ("MERGE INTO db.y USING db.x ON y.id = x.id WHEN MATCHED THEN DELETE", "this is MERGE"),
        ("SELECT 1; SELECT 2", "one statement, this file has 2"),
        ("SELECT 1; DROP TABLE db.x", "one statement, this file has 2"),
        ("-- nothing", "one statement, this file has 0"),
        ("SELECT * FROM x", "table x has no database"),
        ("SELECT * FROM lake.db.x", r"lake\.db\.x is not the name of a table"),
        ("SELECT * FROM db.x.snapshots", r"db\.x\.snapshots is not the name of a table"),
        ("SELECT * FROM parquet.`s3://b/x`", "is not the name of a table"),
    ],
)
def test_a_job_is_one_query_over_tables_with_databases(project: Project, statement: str, message: str) -> None:
    error = refused(project, with_body(statement))
    assert error.where == "jobs/scores.sql"
    assert re.search(message, error.message)


def test_one_statement_may_end_in_a_semicolon(project: Project) -> None:
    assert load(project, with_body("SELECT * FROM db.x;\n-- done")).reads() == ["db.x"]


def test_a_placeholder_that_is_no_parameter_is_told_with_its_line(project: Project) -> None:
    header = "engine: spark\noutput: db.out\nparams: {date: date}"
    error = refused(project, with_body("SELECT *\nFROM db.x\nWHERE d = {dat}", header))
    assert (error.where, error.fix) == ("jobs/scores.sql:8", "did you mean 'date'?")


def test_without_parameters_the_fix_is_the_line_to_add(project: Project) -> None:
    assert refused(project, with_body("SELECT * FROM db.x WHERE d = {day}")).fix == "add `params: {day: str}` to the header"


def test_a_placeholder_in_quotes_is_refused_with_its_line(project: Project) -> None:
    header = "engine: spark\noutput: db.out\nparams: {date: date}"
    error = refused(project, with_body("SELECT *\nFROM db.x WHERE d = '{date}'", header))
    assert error.where == "jobs/scores.sql:7"
    assert "stands inside quotes" in error.message


def test_placeholders_in_comments_are_nobodys_business(project: Project) -> None:
    assert load(project, with_body("SELECT * FROM db.x -- {later}")).params == {}


def test_a_choice_of_values_is_a_parameter(project: Project) -> None:
    one = load(project, with_body("SELECT * FROM db.x WHERE m = {m}", "engine: spark\noutput: db.out\nparams: {m: {type: [full, delta]}}"))
    assert one.bind({"m": "full"}) == {"m": "full"}
    assert one.params["m"].type_name == "full|delta"


def test_what_was_parsed_is_remembered(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project.write("jobs/scores.sql", SQL_JOB)
    first = sqlfile.load(file, project.root, tmp_path / "cache")

    def never(*args: object) -> list[str]:
        raise AssertionError("parsed again")

    monkeypatch.setattr(sqlfile, "parse_tables", never)
    assert sqlfile.load(file, project.root, tmp_path / "cache") == first
    file.write_text(SQL_JOB.replace("marts.daily", "marts.other"), encoding="utf-8")
    with pytest.raises(AssertionError, match="parsed again"):
        sqlfile.load(file, project.root, tmp_path / "cache")


def test_a_spoilt_memory_is_parsed_again(project: Project, tmp_path: Path) -> None:
    file = project.write("jobs/scores.sql", SQL_JOB)
    sqlfile.load(file, project.root, tmp_path)
    for remembered in tmp_path.glob("sql-*.json"):
        remembered.write_text('["marts.dai', encoding="utf-8")
    assert sqlfile.load(file, project.root, tmp_path).reads() == ["marts.daily"]


def test_a_cache_that_cannot_be_written_is_done_without(project: Project, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be", encoding="utf-8")
    assert sqlfile.load(project.write("jobs/scores.sql", SQL_JOB), project.root, tmp_path / "cache").reads() == ["marts.daily"]


PIECES = [
    "/*",
    "*/",
    "'",
    '"',
    "`",
    "{least}",
    "{",
    "}",
    "--",
    ";",
    "(",
    ")",
    ":",
    "- ",
    "\n",
    "\t",
    "SELECT",
    "FROM",
    "\x00",
    "&a ",
    "*a",
    "!!int ",
]


@settings(deadline=None, max_examples=150)
@given(text=mutated(SQL_JOB, PIECES, longest=40))
def test_a_mutated_file_is_a_job_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.getbasetemp() / "mutated"
    root.mkdir(exist_ok=True)
    file = root / "scores.sql"
    file.write_text(text, encoding="utf-8", newline="")
    outcome = attempt(lambda: sqlfile.load(file, root))
    assert isinstance(outcome, Job) or str(outcome.where).startswith("scores.sql")


TRINO = "engine: trino\noutput: db.out"


def test_a_trino_job_reads_the_lake_and_connections_and_its_ctes_are_neither(project: Project) -> None:
    statement = """WITH c AS (SELECT 1 AS one)
        SELECT * FROM marts.daily CROSS JOIN ops.public.flights CROSS JOIN hive.raw.events CROSS JOIN tpch.tiny.region CROSS JOIN c"""
    project.sql("wide", statement, header=TRINO)
    inputs = project.jobs().get("wide").inputs
    assert {name: one.describe() for name, one in inputs.items()} == {
        "marts.daily": "marts.daily",
        "raw.events": "raw.events",
        "ops.public.flights": "ops.public.flights",
    }


def test_a_dialect_is_one_of_the_engines(project: Project) -> None:
    project.sql("a", "SELECT 1 AS one", header=f"{TRINO}\ndialect: preto")
    assert project.problem("a") == "jobs/a.sql:4: dialect: unknown dialect 'preto'\n  fix: did you mean 'presto'?"


PRESTO = "engine: presto\noutput: db.out\nformat: parquet"


def test_a_presto_job_reads_the_lake_and_connections_in_its_own_sql(project: Project) -> None:
    project.sql("wide", "SELECT * FROM marts.daily CROSS JOIN ops.public.flights", header=f"{PRESTO}\nsession: {{a: b}}")
    job = project.jobs().get("wide")
    assert isinstance(job.body, Sql)
    assert (job.engine.label, job.body.dialect, sorted(job.inputs)) == ("Presto", "presto", ["marts.daily", "ops.public.flights"])


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("engine: presto\noutput: db.out", "jobs/a.sql:3: format: a Presto job publishes tables in the Hive layout, not iceberg"),
        ("engine: presto\noutput: db.out\nformat: csv", "jobs/a.sql:4: format: a Presto job publishes tables in the Hive layout, not csv"),
        (f"{PRESTO}\nmode: merge\nkeys: [id]", "jobs/a.sql:5: mode: only Iceberg tables can be merged into"),
        (f"{PRESTO}\nlocation: hdfs:///t", "jobs/a.sql:5: location: a Presto job publishes below the warehouse"),
        (f"{PRESTO}\nconnection: ops", "jobs/a.sql:5: connection: a Presto job does not publish to a database"),
        (f"{PRESTO}\ndialect: trino", "jobs/a.sql:5: dialect: unknown dialect 'trino'"),
        (f"{PRESTO}\nwhere: {{db.t: a > 1}}", "jobs/a.sql:5: where: Presto finds the partitions by itself"),
    ],
)
def test_what_presto_cannot_do_is_said_when_the_file_is_read(header: str, problem: str, project: Project) -> None:
    project.sql("a", "SELECT 1 AS one FROM db.t", header=header)
    assert project.problem("a").startswith(problem)


def test_session_properties_are_trinos(project: Project) -> None:
    project.sql("a", "SELECT 1 AS one", header=f"{TRINO}\nsession: {{join_distribution_type: BROADCAST, spill_enabled: true}}")
    body = project.jobs().get("a").body
    assert isinstance(body, Sql)
    assert body.session == {"join_distribution_type": "BROADCAST", "spill_enabled": "true"}
    project.sql("b", "SELECT 1 AS one", header="engine: spark\noutput: db.other\nsession: {a: b}")
    assert "only Trino and Presto have session properties" in project.problem("b")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("SELECT * FROM marts.daily AS d JOIN ops.public.flights AS f ON f.d = d.d", {"ops"}),
        ('SELECT * FROM "Ops".public."airports: +kennedy"', {"ops"}),
        ("SELECT * FROM TABLE(search.system.raw_query(schema => 'default', index => 'airports', query => '{}'))", {"search"}),
        ("SHOW TABLES FROM ops.public", {"ops"}),
        ("SHOW SCHEMAS FROM ops", {"ops"}),
        ("EXPLAIN SELECT * FROM search.default.airports", {"search"}),
        ("/* reads ops.public.flights */ SELECT 'search.default.x' AS ops, t.search FROM marts.t AS t WHERE day = {day}", set()),
        ("SELECT 'not closed", {"ops", "search"}),
    ],
)
def test_the_connections_that_a_statement_names_are_found_whatever_it_does(statement: str, named: set[str]) -> None:
    assert sqlfile.connections(statement, "trino", ["ops", "search"]) == named
