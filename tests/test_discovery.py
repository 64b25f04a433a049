"""Finding jobs: one broken file spoils no other, and what is wrong is told with its file and line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import PYTHON_JOB, SQL_JOB, Project

from framework.discovery import discover
from framework.errors import JobDefinitionError, UnknownJob


def test_python_and_sql_jobs_are_found_below_jobs(project: Project) -> None:
    project.write("jobs/daily.py", PYTHON_JOB)
    project.write("jobs/deep/scores.sql", SQL_JOB)
    found = project.jobs()
    assert [(one.name, one.file, one.line) for one in found] == [("daily", "jobs/daily.py", 4), ("scores", "jobs/deep/scores.sql", 7)]
    assert not found.problems


def test_a_project_may_be_named_by_a_relative_path(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("jobs/daily.py", PYTHON_JOB)
    monkeypatch.chdir(project.root)
    assert discover(Path()).get("daily").file == "jobs/daily.py"


def test_helpers_and_hidden_files_are_no_jobs(project: Project) -> None:
    for name in ("_helper.py", ".hidden.py", "_old/daily.py", "__pycache__/daily.py", "notes.txt"):
        project.write(f"jobs/{name}", "raise RuntimeError('must not be imported')")
    assert not list(project.jobs())


def test_a_job_may_import_a_helper_beside_it(project: Project) -> None:
    project.write("jobs/_helper.py", "TABLE = 'db.out'")
    project.write(
        "jobs/a.py",
        "from framework import Table, job\nfrom jobs._helper import TABLE\n@job(inputs={}, output=Table(TABLE))\ndef a(): ...\n",
    )
    assert project.jobs().get("a").output.name == "db.out"


def test_a_job_that_another_file_imports_is_one_job(project: Project) -> None:
    project.job("a", writes="db.a", file="z_first")
    project.write("jobs/b.py", "from jobs.z_first import a\nalias = a\n")
    found = project.jobs()
    assert [one.name for one in found] == ["a"]
    assert not found.problems


def test_a_job_with_two_names_in_its_file_is_one_job(project: Project) -> None:
    project.job("a")
    with (project.root / "jobs/a.py").open("a") as file:
        file.write("\nalias = a\n")
    assert not project.jobs().problems


def test_an_unknown_job_gets_the_nearest_name(project: Project) -> None:
    project.job("daily_etl")
    with pytest.raises(UnknownJob, match="there is no job 'daly_etl'") as caught:
        project.jobs().get("daly_etl")
    assert caught.value.fix == "did you mean 'daily_etl'?"
    assert caught.value.exit_code == 2


def test_an_unknown_job_tells_which_files_were_not_read(project: Project) -> None:
    project.write("jobs/broken.py", "1 / 0")
    with pytest.raises(UnknownJob) as caught:
        project.jobs().get("daily_etl")
    assert caught.value.details == ("not read: jobs/broken.py:1: raises on import: ZeroDivisionError: division by zero",)


def test_a_project_without_jobs_says_so(project: Project) -> None:
    (project.root / "jobs").rmdir()
    with pytest.raises(JobDefinitionError, match="there is no folder jobs/"):
        project.jobs()


def test_a_broken_file_leaves_the_others_usable(project: Project) -> None:
    project.job("good")
    project.write("jobs/bad.py", "import nowhere_to_be_found\n")
    found = project.jobs()
    assert found.get("good").name == "good"
    with pytest.raises(JobDefinitionError, match="nowhere_to_be_found"):
        found.get("bad")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\nimport nowhere\n", "jobs/bad.py:2: raises on import: ModuleNotFoundError: No module named 'nowhere'"),
        ("def f():\n    return {}['k']\n\nf()\n", "jobs/bad.py:2: raises on import: KeyError: 'k'"),
        ("x = 1\nraise SystemExit(3)\n", "jobs/bad.py:2: raises on import: SystemExit: 3"),
        ("def f(:\n", "jobs/bad.py:1: does not parse: invalid syntax"),
        ("x = 1\n  y = 2\n", "jobs/bad.py:2: does not parse: unexpected indent"),
        ("x = '\x00'\n", "jobs/bad.py:1: does not parse: source code string cannot contain null bytes"),
        ("from framework import Param\n\nParam(float)\n", "jobs/bad.py:3: a parameter's type must be date, int, str or an Enum, not float"),
        ("from framework import Table\nTable('x')\n", "jobs/bad.py:2: Table('x'): a table is named database.table"),
        (
            "from framework import Table, job\n@job(inputs={}, output=Table('a.b'))\ndef Bad(): ...\n",
            "jobs/bad.py:2: 'Bad' is not a job name",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_with_its_line(project: Project, source: str, expected: str) -> None:
    project.write("jobs/bad.py", source)
    assert project.problem("bad").splitlines()[0] == expected


def test_a_helper_that_does_not_parse_is_the_one_that_is_named(project: Project) -> None:
    project.write("jobs/_helper.py", "x = 1\ny = (\n")
    project.write("jobs/a.py", "import jobs._helper\n")
    assert project.problem("a").startswith("jobs/_helper.py:2: does not parse")


def test_a_helper_that_raises_is_told_at_the_import(project: Project) -> None:
    project.write("jobs/_helper.py", "raise ValueError('no')")
    project.write("jobs/a.py", "x = 1\nimport jobs._helper\n")
    assert project.problem("a") == "jobs/a.py:2: raises on import: ValueError: no"


def test_two_jobs_of_one_name_are_both_named(project: Project) -> None:
    project.job("daily", writes="db.a", file="one")
    project.job("daily", writes="db.b", file="two")
    problem = project.problem("daily")
    assert "two jobs are named 'daily': jobs/one.py:4 and jobs/two.py:4" in problem
    with pytest.raises(JobDefinitionError):
        project.jobs().get("daily")


def test_one_output_of_two_jobs_is_refused_for_both(project: Project) -> None:
    project.job("first", writes="db.Same")
    project.job("second", writes="DB.same")
    project.job("other", writes="db.other")
    found = project.jobs()
    for name in ("first", "second"):
        with pytest.raises(JobDefinitionError, match=r"two jobs publish to db\.same: first .* and second"):
            found.get(name)
    assert [one.name for one in found] == ["other"]


def test_a_circle_is_told_in_the_direction_of_the_data(project: Project) -> None:
    project.job("a", reads="db.c", writes="db.a")
    project.job("b", reads="db.a", writes="db.b")
    project.job("c", reads="db.b", writes="db.c")
    project.job("outside", reads="db.a", writes="db.z")
    found = project.jobs()
    assert set(found.problems) == {"a", "b", "c"}
    text = found.problems["a"].message
    assert any(circle in text for circle in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c"))
    assert [one.name for one in found] == ["outside"]


def test_every_circle_is_found(project: Project) -> None:
    for one, other in (("a", "b"), ("c", "d")):
        project.job(one, reads=f"db.{other}", writes=f"db.{one}")
        project.job(other, reads=f"db.{one}", writes=f"db.{other}")
    assert set(project.jobs().problems) == {"a", "b", "c", "d"}


def test_a_job_may_read_its_own_output(project: Project) -> None:
    project.job("a", reads="db.a", writes="db.a")
    found = project.jobs()
    assert not found.problems
    assert [one.name for one in found.upstream(found.get("a"))] == ["a"]


def test_upstream_jobs_come_first_and_once(project: Project) -> None:
    project.job("base", writes="db.base")
    project.job("left", reads="db.base", writes="db.left")
    project.job("right", reads="DB.Base", writes="db.right")
    project.sql("top", "SELECT * FROM db.left JOIN db.right USING (id)", header="engine: spark\noutput: db.top")
    project.job("unrelated", writes="db.unrelated")
    found = project.jobs()
    order = [one.name for one in found.upstream(found.get("top"))]
    assert sorted(order) == ["base", "left", "right", "top"]
    assert order[0] == "base"
    assert order[-1] == "top"


def test_discovery_imports_no_engine_and_no_aws_client(project: Project) -> None:
    project.write("jobs/daily.py", PYTHON_JOB)
    project.write("jobs/scores.sql", SQL_JOB)
    code = (
        "import sys, pathlib; from framework.discovery import discover; "
        f"jobs = discover(pathlib.Path({str(project.root)!r})); assert len(list(jobs)) == 2, jobs.problems; "
        "heavy = {'pyspark', 'boto3', 'botocore', 'pandas', 'rich', 'great_expectations', 'moto'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
