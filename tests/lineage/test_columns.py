"""Columns of SQL jobs, read off the statement alone."""

from __future__ import annotations

import pytest
from builders import Project

from framework.config.loader import load
from framework.errors import UserError
from framework.lineage import columns, graph, trace
from framework.lineage.columns import Columns
from framework.lineage.graph import Graph


def of(project: Project, statement: str, header: str = "engine: trino\noutput: db.out") -> dict[str, list[str]]:
    """Each output column with `table.column how` of what it is computed from."""
    project.sql("one", statement, header=header)
    found = columns.of_job(project.jobs().get("one"), {})
    assert found.unknown is None
    return {name: [f"{source} {how.label}" for source, how in sources.items()] for name, sources in found.sources.items()}


def test_a_column_is_unchanged_computed_or_aggregated(project: Project) -> None:
    statement = (
        "SELECT a.x, a.y + 1 AS y, count(*) AS n, sum(b.z) / {d} AS z FROM db.a AS a JOIN ops.public.b AS b ON a.k = b.k GROUP BY 1, 2"
    )
    assert of(project, statement, "engine: trino\noutput: db.out\nparams: {d: int}") == {
        "x": ["db.a.x unchanged"],
        "y": ["db.a.y computed"],
        "n": [],
        "z": ["ops.public.b.z aggregated"],
    }


def test_common_table_expressions_subqueries_and_unions_are_looked_through(project: Project) -> None:
    statement = """
        WITH best AS (SELECT k, max(v) AS top FROM db.a GROUP BY k),
             all_of AS (SELECT k, top FROM best UNION ALL SELECT k, lower(v) FROM db.b)
        SELECT k, top, (SELECT min(c.w) FROM db.c) AS least FROM (SELECT * FROM all_of) AS t"""
    assert of(project, statement) == {
        "k": ["db.a.k unchanged", "db.b.k unchanged"],
        "top": ["db.a.v aggregated", "db.b.v computed"],
        "least": ["db.c.w aggregated"],
    }


def test_a_table_without_an_alias_and_one_that_is_read_twice_are_told_apart(project: Project) -> None:
    statement = "SELECT daily.x, o.x AS other FROM marts.daily JOIN marts.daily AS o ON o.k = daily.k"
    assert of(project, statement) == {"x": ["marts.daily.x unchanged"], "other": ["marts.daily.x unchanged"]}


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        ("presto", "SELECT approx_distinct(f.dest) AS n FROM ops.public.flights AS f"),
        ("hive", "SELECT count(DISTINCT `f`.`dest`) AS n FROM ops.public.flights `f`"),
        ("athena", 'SELECT arbitrary(f."dest") AS n FROM ops.public.flights f'),
    ],
)
def test_other_dialects_are_read_as_they_are_written(dialect: str, statement: str, project: Project) -> None:
    header = f"engine: trino\ndialect: {dialect}\noutput: db.out"
    assert of(project, statement, header) == {"n": ["ops.public.flights.dest aggregated"]}


def test_a_column_that_several_tables_could_have_is_not_guessed(project: Project) -> None:
    assert of(project, "SELECT x FROM db.a JOIN db.b ON a.k = b.k") == {"x": ["?.x unchanged"]}


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("SELECT (SELECT min(w) FROM db.c) AS least FROM db.a", "w"),  # the outer table's, or the inner one's
        ("SELECT x + 1 AS y, y * 2 AS z FROM db.a", "y"),  # Spark: the table's, or the column beside it
    ],
)
def test_a_column_that_could_mean_two_things_is_asked_for_with_its_table(statement: str, column: str, project: Project) -> None:
    project.sql("one", statement)
    found = columns.of_job(project.jobs().get("one"), {})
    assert found.unknown == f"one cannot be traced: Cannot resolve '{column}' due to missing source schemas; name the table of each column"


def test_select_all_of_a_table_that_nobody_describes_stays_a_star(project: Project) -> None:
    assert of(project, "SELECT * FROM db.a") == {"*": ["db.a.* unchanged"]}


@pytest.fixture
def chain(project: Project) -> tuple[Graph, dict[str, Columns]]:
    """files -> raw (Python) -> clean -> report, and clean -> copy."""
    project.write(
        "jobs/raw.py",
        """\
        from framework import Path, Table, job

        @job(inputs={"files": Path("{raw}/f/")}, output=Table("lake.raw"))
        def raw(files):
            return files
        """,
    )
    project.sql("clean", "SELECT id, trim(name) AS name FROM lake.raw", header="engine: spark\noutput: lake.clean")
    project.sql("copy", "SELECT * FROM lake.clean", header="engine: trino\noutput: lake.copy")
    project.sql("report", "SELECT count(DISTINCT name) AS names FROM lake.copy", header="engine: trino\noutput: lake.report")
    found = project.jobs()
    made = graph.of_jobs(found, load(project.root, "embedded", variables={}).settings)
    return made, columns.of_jobs(found, made)


def test_select_all_is_spelled_out_by_the_job_that_writes_the_table(chain: tuple[Graph, dict[str, Columns]]) -> None:
    assert list(chain[1]["copy"].sources) == ["id", "name"]


def test_a_column_is_followed_through_jobs_of_both_engines_up_to_a_python_job(chain: tuple[Graph, dict[str, Columns]]) -> None:
    made, by_job = chain
    traced = trace.column(made, by_job, made.find("report"), "NAMES")
    (copy,) = traced.upstream
    (clean,) = copy.further
    (raw,) = clean.further
    assert [str(step.column) for step in (copy, clean, raw)] == ["lake.copy.name", "lake.clean.name", "lake.raw.name"]
    assert raw.further == ()
    assert traced.gaps == ("raw is a Python job: its declaration names the datasets that it reads, not their columns",)


def test_a_column_is_followed_downstream(chain: tuple[Graph, dict[str, Columns]]) -> None:
    made, by_job = chain
    (clean,) = trace.column(made, by_job, made.find("raw"), "name").downstream
    (copy,) = clean.further
    assert [(str(step.column), step.how.label) for step in copy.further] == [("lake.report.names", "aggregated")]


@pytest.mark.parametrize("job", ["clean", "raw"])
def test_a_column_that_no_statement_names_is_told_with_the_nearest(job: str, chain: tuple[Graph, dict[str, Columns]]) -> None:
    with pytest.raises(UserError, match="did you mean 'name'"):
        trace.column(*chain, chain[0].find(job), "nam")
