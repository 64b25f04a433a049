"""A plan is made from declarations and settings alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import PYTHON_JOB, SQL_JOB, Project

from framework import planning
from framework.config import loader
from framework.errors import ConfigError, JobDefinitionError, ParameterError, SuiteError
from framework.planning import RunPlan


def plan(project: Project, name: str, **given: Any) -> RunPlan:
    return planning.plan(project.jobs().get(name), given, loader.load(project.root, "embedded", variables={}))


@pytest.fixture
def daily(project: Project) -> Project:
    project.write("jobs/daily.py", PYTHON_JOB)
    project.write("jobs/scores.sql", SQL_JOB)
    return project


def test_it_says_what_would_be_read_checked_and_written(daily: Project) -> None:
    found = plan(daily, "daily", date="2013-03-08")
    assert [(one.name, one.kind, one.dataset, one.predicate) for one in found.inputs] == [
        ("flights", "jdbc", "ops.flights", "flight_date = DATE '2013-03-08'"),
        ("weather", "path", "s3://raw/weather/date=2013-03-08/", None),
        ("airlines", "table", "reference.airlines", None),
    ]
    assert (found.output, found.format, found.mode, found.partitioned_by) == (
        "marts.daily",
        "iceberg",
        "overwrite_partitions",
        ("flight_date",),
    )
    assert (found.checks, found.suite) == ((), None)
    assert (found.params, found.source) == ({"date": "2013-03-08"}, "jobs/daily.py:4")


def test_it_is_plain_data(daily: Project) -> None:
    assert json.loads(json.dumps(plan(daily, "scores").as_dict()))["inputs"][0]["dataset"] == "marts.daily"


def test_it_needs_no_secret_and_no_server(daily: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPS_PASSWORD", raising=False)
    assert plan(daily, "daily").job == "daily"


def test_a_text_parameter_cannot_leave_its_string(project: Project) -> None:
    project.write(
        "jobs/one.py",
        """\
        from framework import Jdbc, Table, job
        @job(params={"who": str}, inputs={"t": Jdbc("ops", "t", where="carrier = {who}")}, output=Table("db.out"))
        def one(t): ...
        """,
    )
    assert plan(project, "one", who="x' OR '1'='1").inputs[0].predicate == "carrier = 'x'' OR ''1''=''1'"


def test_a_wrong_parameter_is_refused(daily: Project) -> None:
    with pytest.raises(ParameterError, match="'soon' is not a date"):
        plan(daily, "daily", date="soon")


def test_an_unknown_connection_is_told_at_the_job(project: Project) -> None:
    project.write("jobs/daily.py", PYTHON_JOB.replace('"ops"', '"opps"'))
    with pytest.raises(ConfigError, match="there is no connection 'opps'") as caught:
        plan(project, "daily")
    assert (caught.value.where, caught.value.fix) == ("jobs/daily.py:4", "did you mean 'ops'?")


def test_an_unknown_path_name_is_told_at_the_job(project: Project) -> None:
    project.write("jobs/daily.py", PYTHON_JOB.replace("{raw}", "{rew}"))
    with pytest.raises(ParameterError, match=r"input weather: \{rew\} is neither a parameter") as caught:
        plan(project, "daily")
    assert (caught.value.where, caught.value.fix) == ("jobs/daily.py:4", "did you mean 'raw'?")


def test_a_placeholder_in_quotes_is_told_at_the_job(project: Project) -> None:
    project.write("jobs/daily.py", PYTHON_JOB.replace("= {date}", "= '{date}'"))
    with pytest.raises(JobDefinitionError, match="stands inside quotes") as caught:
        plan(project, "daily")
    assert caught.value.where == "jobs/daily.py:4"


class TestChecks:
    def test_they_are_told_in_words(self, daily: Project) -> None:
        daily.write("jobs/daily.py", PYTHON_JOB.replace('"]),\n)', '"]),\n    checks="daily",\n)'))
        daily.write("configs/checks/daily.yaml", "expectations:\n  - expect_column_values_to_not_be_null: {column: carrier}\n")
        found = plan(daily, "daily")
        assert found.suite == "configs/checks/daily.yaml"
        assert found.checks == ("error: carrier must not be null",)

    def test_a_suite_that_is_not_there_is_told(self, daily: Project) -> None:
        daily.write("jobs/daily.py", PYTHON_JOB.replace('"]),\n)', '"]),\n    checks="daly",\n)'))
        with pytest.raises(SuiteError) as caught:
            plan(daily, "daily")
        assert "configs/checks/daly.yaml" in str(caught.value)


@pytest.mark.parametrize("location", ["hdfs:///scratch/out", "{scratch}/out"])
def test_it_warns_of_what_is_gone_with_the_cluster(location: str, project: Project) -> None:
    project.write("configs/env/embedded.yaml", "target: embedded\npaths: {scratch: 'hdfs:///scratch'}\n")
    project.write(
        "jobs/one.py",
        f"""\
        from framework import Path, Table, job
        @job(
            inputs={{"a": Path("{{scratch}}/a/"), "b": Path("{{raw}}/b/"), "c": Table("db.c")}},
            output=Table("db.out", format="orc", location="{location}"),
        )
        def one(a, b, c): ...
        """,
    )
    gone = "it is gone when its cluster ends, which a transient one does after its last step"
    assert plan(project, "one").warnings == (
        f"input a lies in HDFS ({{scratch}}/a/): {gone}",
        f"output db.out lies in HDFS (hdfs:///scratch/out): {gone}",
    )


def test_it_has_nothing_to_warn_of_where_all_lies_on_s3(daily: Project) -> None:
    assert plan(daily, "daily").warnings == ()


def test_a_presto_job_on_glue_is_refused_before_anything_is_started(project: Project) -> None:
    project.sql("a", "SELECT 1 AS one", header="engine: presto\noutput: db.out\nformat: parquet")
    with pytest.raises(ConfigError, match="engine presto reads the lake through a Hive metastore"):
        plan(project, "a")
