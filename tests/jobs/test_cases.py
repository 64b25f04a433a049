"""The cases beside the sample jobs hold, and a job that is wrong is told row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Project

from framework.discovery import discover
from framework.errors import CaseError, ParameterError
from framework.testing import cases
from framework.testing.run import run_case

pytestmark = pytest.mark.spark

SQL = """\
/*
engine: spark
output: marts.scores
params: {least: {type: int, default: 1}}
*/
SELECT carrier, sum(flights) AS flights, max(day) AS last FROM marts.daily GROUP BY carrier HAVING sum(flights) >= {least}
"""
CASE = """\
scores:
  params: {least: 2}
  inputs:
    marts.daily:
      - {carrier: UA, flights: 2, day: 2013-01-01}
      - {carrier: UA, flights: 3, day: 2013-01-02}
      - {carrier: B6, flights: 1, day: 2013-01-02}
  expect:
    - {carrier: UA, flights: 5, last: 2013-01-02}
"""


@pytest.mark.parametrize("name", ["daily_etl", "carrier_scorecard"])
def test_the_cases_of_the_sample_jobs_hold(name: str, spark: Any, project: Path) -> None:
    job = discover(project).get(name)
    results = [run_case(spark, job, case, project) for case in cases.load(job, project)]
    assert results
    assert all(result.passed for result in results), results


@pytest.fixture
def scores(project_: Project, spark: Any) -> Any:
    def run(text: str = CASE, sql: str = SQL) -> Any:
        project_.write("jobs/scores.sql", sql)
        project_.write("jobs/scores.test.yaml", text)
        job = project_.jobs().get("scores")
        (case,) = cases.load(job, project_.root)
        return run_case(spark, job, case, project_.root)

    return run


@pytest.fixture
def project_(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.write("configs/base.yaml", "")
    return made


def test_a_sql_job_reads_its_tables_by_name_and_its_parameters_are_bound(scores: Any) -> None:
    assert scores().passed


def test_what_differs_is_told_row_by_row(scores: Any) -> None:
    result = scores(CASE.replace("flights: 5", "flights: 6"))
    assert not result.passed
    (one,) = result.differences
    assert (one.expected["flights"], one.got["flights"], one.columns) == (6, 5, ("flights",))


def test_a_job_that_raises_fails_its_case_with_the_line(scores: Any) -> None:
    result = scores(sql=SQL.replace("max(day)", "max(dya)"))
    assert not result.passed
    assert "jobs/scores.sql:6" in result.error
    assert "dya" in result.error


def test_an_expected_column_that_the_job_does_not_give_is_told(scores: Any) -> None:
    with pytest.raises(CaseError, match="expect has the column lst, the job gives carrier, flights, last"):
        scores(CASE.replace("last:", "lst:"))


def test_a_wrong_parameter_and_a_wrong_schema_are_told(scores: Any, project_: Project, spark: Any) -> None:
    with pytest.raises(ParameterError, match="has no parameter 'lest'"):
        scores(CASE.replace("least: 2", "lest: 2"))
    with pytest.raises(CaseError, match="the schema is not Spark SQL DDL"):
        scores(
            CASE.replace("marts.daily:\n", 'marts.daily:\n      schema: "carrier strng x"\n      rows:\n').replace(
                "      - {", "        - {"
            )
        )
    job = project_.jobs().get("scores")
    with pytest.raises(CaseError, match="cases run on Spark only"):
        run_case(spark, replace(job, engine="trino"), cases.Case("x", "here", {}, {}, cases.Rows((), ())), project_.root)  # type: ignore[arg-type]
