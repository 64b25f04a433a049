"""`emrjobs jobs`, `plan` and `config`: what is printed, and how mistakes look. Nothing is started."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import PYTHON_JOB, SQL_JOB, Project

from framework.cli.main import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Emrjobs = Callable[..., Done]


@pytest.fixture
def emrjobs(project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Emrjobs:
    """Runs the command in the project, as `emrjobs ...` does, in this process."""
    project.write("jobs/daily.py", PYTHON_JOB)
    project.write("jobs/scores.sql", SQL_JOB)
    for variable in [name for name in os.environ if name.startswith("EMRJOBS")]:
        monkeypatch.delenv(variable)
    # Set, so that what --project sets is undone afterwards.
    monkeypatch.setenv("EMRJOBS_PROJECT", str(project.root))
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.chdir(project.root)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["emrjobs", *arguments])
        code = 0
        try:
            main()
        except SystemExit as exc:
            code = int(exc.code or 0)
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        assert "\x1b[" not in captured.out + captured.err, "escape codes where there is no terminal"
        return Done(code, captured.out, captured.err)

    return run


class TestJobs:
    def test_each_job_is_a_line(self, emrjobs: Emrjobs) -> None:
        done = emrjobs("jobs")
        assert done.code == 0
        header, _, *rows = done.out.splitlines()
        assert header.split() == ["job", "engine", "reads", "writes", "parameters", "description"]
        assert [row.split()[:2] for row in rows] == [["daily", "spark"], ["scores", "spark_sql"]]
        assert "ops.flights, {raw}/weather/date={date}/, reference.airlines" in rows[0]
        assert rows[0].endswith("Delays of one day.")

    def test_as_json(self, emrjobs: Emrjobs) -> None:
        found = json.loads(emrjobs("jobs", "--json").out)
        assert [one["name"] for one in found["jobs"]] == ["daily", "scores"]
        assert found["jobs"][0]["params"] == {"date": {"type": "date", "default": "2013-01-15"}}
        assert found["problems"] == []

    def test_broken_jobs_are_told_below_the_others_and_end_in_2(self, emrjobs: Emrjobs, project: Project) -> None:
        project.write("jobs/bad.py", "import nowhere\n")
        project.write("jobs/worse.sql", "SELECT 1")
        done = emrjobs("jobs")
        assert done.code == 2
        assert "daily" in done.out
        assert "error: jobs/bad.py:1: raises on import: ModuleNotFoundError: No module named 'nowhere'" in done.err
        assert "error: jobs/worse.sql:1: a SQL job starts with a header" in done.err


class TestPlan:
    def test_it_shows_reads_checks_and_writes(self, emrjobs: Emrjobs) -> None:
        done = emrjobs("plan", "daily", "-p", "date=2013-03-08")
        assert done.code == 0
        assert done.out == (
            "job          daily  Delays of one day.\n"
            "source       jobs/daily.py:4\n"
            "environment  embedded (target embedded)\n"
            "engine       spark\n"
            "parameters   date = 2013-03-08\n"
            "reads        flights: jdbc ops.flights (postgresql) where flight_date = DATE '2013-03-08'\n"
            "             weather: path s3://raw/weather/date=2013-03-08/ (json)\n"
            "             airlines: table reference.airlines\n"
            "checks       none\n"
            "writes       marts.daily (iceberg, overwrite_partitions, partitioned by flight_date)\n"
        )

    def test_upstream_jobs_come_first_with_their_own_parameters(self, emrjobs: Emrjobs) -> None:
        done = emrjobs("plan", "scores", "--upstream", "--json", "-p", "date=2013-03-08", "-p", "least=7")
        assert [(one["job"], one["params"]) for one in json.loads(done.out)] == [
            ("daily", {"date": "2013-03-08"}),
            ("scores", {"least": "7"}),
        ]

    def test_settings_can_be_overridden(self, emrjobs: Emrjobs) -> None:
        assert "path s3://other/weather" in emrjobs("plan", "daily", "--set", "paths.raw=s3a://other").out

    @pytest.mark.parametrize(
        ("arguments", "first", "fix"),
        [
            (["dayly"], "there is no job 'dayly'", "did you mean 'daily'?"),
            (["daily", "-p", "dat=2013-01-01"], "jobs/daily.py:4: job daily has no parameter 'dat'", "did you mean 'date'?"),
            (["daily", "-p", "date=soon"], "parameter date: 'soon' is not a date like 2013-03-08", None),
            (["daily", "-p", "date"], "--param date: must be name=value", None),
            (["daily", "-p", "date=2013-01-01", "-p", "date=2013-01-02"], "--param date is given twice", None),
            (["daily", "--env", "embeded"], "configs/env/: there is no environment 'embeded'", "did you mean 'embedded'?"),
            (["daily", "--set", "spark.cors=2"], "--set: spark.cors: unknown key", "did you mean 'cores'?"),
            (["scores", "--upstream", "-p", "nope=1"], "jobs/daily.py:4: job daily has no parameter 'nope'", "known: date"),
        ],
    )
    def test_a_mistake_is_one_clear_message_and_exit_code_2(
        self, emrjobs: Emrjobs, arguments: list[str], first: str, fix: str | None
    ) -> None:
        done = emrjobs("plan", *arguments)
        assert (done.code, done.out) == (2, "")
        lines = done.err.splitlines()
        assert lines[0] == f"error: {first}"
        assert (lines[-1] == f"  fix: {fix}") if fix else len(lines) == 1

    def test_a_mistake_in_the_configuration_is_told_with_its_line(self, emrjobs: Emrjobs, project: Project) -> None:
        project.write("configs/env/embedded.yaml", "target: embedded\ncatlog:\n  kind: glue\n")
        done = emrjobs("plan", "daily")
        assert done.code == 2
        assert done.err == "error: configs/env/embedded.yaml:2: catlog: unknown key\n  fix: did you mean 'catalog'?\n"

    def test_sql_that_does_not_parse_is_shown_with_a_caret(self, emrjobs: Emrjobs, project: Project) -> None:
        project.sql("broken", "SELECT a,\n  sum(b\nFROM db.x")
        done = emrjobs("plan", "broken")
        assert done.code == 2
        first, _, caret = done.err.splitlines()
        assert first.startswith("error: jobs/broken.sql:")
        assert caret.strip() == "^"


class TestConfig:
    def test_every_value_says_where_it_came_from(self, emrjobs: Emrjobs) -> None:
        found = json.loads(emrjobs("config", "show", "--json", "--set", "aws.region=eu-west-1").out)
        assert found["aws.region"] == {"value": "eu-west-1", "from": "--set"}
        assert found["state"] == {"value": "s3://state", "from": "configs/base.yaml:1"}
        assert found["release"]["from"] == "default"

    def test_a_secret_is_shown_as_its_reference(self, emrjobs: Emrjobs, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPS_PASSWORD", "hunter2")
        done = emrjobs("config", "show")
        assert "${env:OPS_PASSWORD}" in done.out
        assert "hunter2" not in done.out

    def test_a_plain_password_is_refused_and_not_repeated(self, emrjobs: Emrjobs) -> None:
        done = emrjobs("config", "show", "--set", "connections.ops.password=hunter2")
        assert done.code == 2
        assert "a secret must be a reference" in done.err
        assert "hunter2" not in done.err

    def test_environments_are_listed(self, emrjobs: Emrjobs, project: Project) -> None:
        project.write("configs/env/prod.yaml", "")
        assert emrjobs("config", "environments").out.split() == ["embedded", "prod"]


class TestCommand:
    def test_help_names_every_command(self, emrjobs: Emrjobs) -> None:
        done = emrjobs("--help")
        assert done.code == 0
        for command in ("jobs", "plan", "run", "query", "tables", "show", "runs", "logs", "config", "local"):
            assert f"\n  {command} " in done.out

    def test_version(self, emrjobs: Emrjobs) -> None:
        name, number = emrjobs("--version").out.split()
        assert name == "emrjobs"
        assert number[0].isdigit()

    def test_an_unknown_command_gets_the_nearest(self, emrjobs: Emrjobs) -> None:
        done = emrjobs("pln")
        assert done.code == 2
        assert "Did you mean 'plan'?" in done.err

    def test_outside_a_project_the_fix_is_to_enter_one(self, emrjobs: Emrjobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("EMRJOBS_PROJECT")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        done = emrjobs("jobs")
        assert done.code == 2
        assert "error: this is not a project" in done.err
        assert "--project" in done.err

    def test_a_project_can_be_given(self, emrjobs: Emrjobs, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert emrjobs("--project", str(project.root), "jobs").code == 0
        done = emrjobs("--project", str(tmp_path), "jobs")
        assert done.code == 2
        assert "is not a project" in done.err

    def test_a_bug_is_one_line_and_a_traceback_in_a_file(self, emrjobs: Emrjobs, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*arguments: object, **options: object) -> None:
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr("framework.discovery.discover", broken)
        done = emrjobs("jobs")
        assert done.code == 1
        assert done.err.startswith("error: this is a bug in emrjobs: ZeroDivisionError: division by zero; the traceback is in ")
        assert "ZeroDivisionError" in (project.root / ".local" / "crash.txt").read_text(encoding="utf-8")
