"""Jobs and datasets: one name for one thing, whichever engine reads it."""

from __future__ import annotations

import pytest
from builders import Project

from framework.config.loader import load
from framework.errors import JobDefinitionError, UserError
from framework.lineage import graph, mermaid
from framework.lineage.graph import Dataset, Graph

FLIGHTS = Dataset("ops.public.flights", "postgresql")


@pytest.fixture
def found(project: Project) -> Graph:
    project.write(
        "jobs/daily.py",
        """\
        import datetime as dt
        from framework import Jdbc, Param, Path, Table, job

        @job(
            params={"date": Param(dt.date)},
            inputs={
                "flights": Jdbc("ops", "flights", where="day = {date}"),
                "weather": Path("{raw}/weather/date={date:%Y-%m}/", format="json", schema="origin string"),
            },
            output=Table("marts.daily"),
        )
        def daily(flights, weather):
            return flights
        """,
    )
    project.sql("scores", "SELECT carrier FROM Marts.Daily", header="engine: spark\noutput: marts.scores")
    project.sql(
        "both",
        "SELECT f.carrier FROM ops.public.flights f JOIN marts.daily d ON d.carrier = f.carrier JOIN marts.scores s ON true",
        header="engine: trino\noutput: marts.both",
    )
    return graph.of_jobs(project.jobs(), load(project.root, "embedded", variables={}).settings)


def test_a_table_of_a_connection_is_one_dataset_for_spark_and_for_trino(found: Graph) -> None:
    assert [job.name for job in found.readers(FLIGHTS)] == ["both", "daily"]


def test_a_table_of_a_database_that_a_job_publishes_to_leads_on_to_its_readers(project: Project) -> None:
    project.sql("copy", "SELECT n FROM db.a", header="engine: spark\noutput: copies\nconnection: ops")
    project.sql("read", "SELECT c.n FROM ops.public.copies AS c", header="engine: trino\noutput: db.b")
    made = graph.of_jobs(project.jobs(), load(project.root, "embedded", variables={}).settings)
    assert made.find("copy") == Dataset("ops.public.copies", "postgresql")
    assert [job.name for job in made.downstream(Dataset("db.a", "table"))] == ["copy", "read"]


def test_a_folder_is_named_without_what_differs_between_runs(found: Graph) -> None:
    assert Dataset("s3://raw/weather", "path") in found.jobs["daily"].inputs
    assert found.find("s3://raw/weather/") == Dataset("s3://raw/weather", "path")


def test_upstream_and_downstream_pass_through_every_engine(found: Graph) -> None:
    assert [job.name for job in found.upstream(found.find("both"))] == ["both", "daily", "scores"]
    assert [job.name for job in found.downstream(FLIGHTS)] == ["both", "daily", "scores"]
    assert found.downstream(found.find("marts.both")) == []
    assert found.upstream(FLIGHTS) == []


def test_a_job_stands_for_what_it_writes(found: Graph) -> None:
    assert found.find("scores") == found.find("MARTS.scores") == Dataset("marts.scores", "table")


def test_an_unknown_name_is_told_with_the_nearest(found: Graph) -> None:
    with pytest.raises(UserError, match=r"did you mean 'marts\.scores'"):
        found.find("marts.score")


def test_a_job_that_cannot_be_read_may_be_the_one_in_between(project: Project) -> None:
    project.sql("broken", "SELECT FROM")
    with pytest.raises(JobDefinitionError, match="does not parse"):
        graph.of_jobs(project.jobs(), load(project.root, "embedded", variables={}).settings)


def test_a_chart_has_an_arrow_for_each_read_and_write(found: Graph) -> None:
    subject = found.find("scores")
    lines = mermaid.flowchart(found.only(found.upstream(subject)), subject).splitlines()
    assert lines[0] == "flowchart LR"
    assert [line.strip() for line in lines if "-->" in line] == ["d3 --> j1", "d4 --> j1", "j1 --> d1", "d1 --> j2", "j2 --> d2"]
    assert '  d3[("ops.public.flights")]' in lines
    assert lines[-1] == "  style d2 stroke-width:4px"
