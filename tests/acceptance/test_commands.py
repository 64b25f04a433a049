"""What commands print, word for word, on the project's own jobs and configuration; nothing is started.

One file per command in expected/. After a change that was meant: `pytest tests/acceptance --update-acceptance`, and read the diff.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from builders import Project

from framework.cli.main import main

PROJECT = Path(__file__).parents[2]
EXPECTED = Path(__file__).parent / "expected"

COMMANDS = {
    "help": "--help",
    "help-run": "run --help",
    "jobs": "jobs",
    "jobs-json": "jobs --json",
    "plan": "plan daily_etl",
    "plan-json": "plan carrier_scorecard --json",
    "plan-upstream": "plan carrier_scorecard --upstream -p date=2013-03-08",
    "lineage": "lineage carrier_360",
    "lineage-python": "lineage daily_etl",
    "lineage-column": "lineage marts.daily_performance --column cancelled",
    "lineage-json": "lineage weather_delays --column weather --json",
    "lineage-mermaid": "lineage airline_ops.public.flights --format mermaid",
    "lineage-openlineage": "lineage carrier_scorecard --format openlineage --account 123456789012",
    "iam": "iam daily_etl --account 123456789012",
    "iam-cluster": "iam cluster --account 123456789012",
    "help-submit": "submit --help",
    "config-embedded": "config show embedded",
    "config-prod-json": "config show prod --json",
    "config-environments": "config environments",
}

MISTAKES = {
    "command": "rnu daily_etl",
    "job": "run daily_elt",
    "parameter": "run daily_etl -p dat=2013-03-08",
    "parameter-value": "run daily_etl -p date=2013-02-30",
    "environment": "plan daily_etl --env prd",
    "environment-of-another-target": "run daily_etl --env prod",
    "submit-environment": "submit daily_etl --env embedded",
    "submit-job": "submit daily_elt --env prod",
    "lineage": "lineage marts.daily_performence",
    "lineage-column": "lineage carrier_360 --column canceled",
    "lineage-account": "lineage carrier_scorecard --format openlineage",
    "setting": "plan daily_etl --set catalog.warehous=s3://lake",
    "plain-password": "config show --set connections.airline_ops.password=hunter2",
}

BROKEN = {
    "import": ("jobs/daily_etl.py", "from framework import Table, job\n\nLIMIT = int('many')\n", "run daily_etl"),
    "sql": (
        "jobs/carrier_scorecard.sql",
        "/*\nengine: spark\noutput: marts.carrier_scorecard\n*/\nSELECT carrier,\n       sum(flights) AS\nFROM marts.daily_performance\n",
        "plan carrier_scorecard",
    ),
    "output-twice": ("jobs/another.sql", "/*\nengine: spark\noutput: lake.weather\n*/\nSELECT 1 AS one\n", "jobs"),
    "yaml": ("configs/env/embedded.yaml", "target: embedded\naws: {region: us-east-1\nlocal: {}\n", "plan daily_etl"),
    "suite": (
        "configs/checks/weather.yaml",
        "expectations:\n  - expect_column_values_to_be_not_null: {column: origin}\n",
        "plan ingest_weather",
    ),
}


@pytest.fixture
def copy(project: Project) -> Project:
    for name in ("jobs", "configs"):
        shutil.copytree(PROJECT / name, project.root / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return project


class Commands:
    """Runs a command in this process and holds what it prints against the file of its name."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *, update: bool) -> None:
        self._root = root
        self._patch = monkeypatch
        self._capture = capfd
        self._update = update

    def check(self, name: str, command: str) -> None:
        code = self._run(command.split())
        captured = self._capture.readouterr()
        text = f"$ emrjobs {command}\n{captured.out}"
        if captured.err:
            text += f"--- stderr\n{captured.err}"
        text += f"--- exit {code}\n"
        text = re.sub(r'"eventTime": "[^"]+"', '"eventTime": "NOW"', text.replace(str(self._root), "PROJECT"))
        file = EXPECTED / f"{name}.txt"
        if self._update:
            file.write_text(text, encoding="utf-8")
        assert file.is_file(), "run with --update-acceptance, and read what it wrote"
        assert text == file.read_text(encoding="utf-8")

    def _run(self, arguments: Sequence[str]) -> int:
        self._patch.setattr(sys, "argv", ["emrjobs", *arguments])
        try:
            main()
        except SystemExit as exc:
            return int(exc.code or 0)
        return 0


@pytest.fixture
def commands(copy: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Commands:
    variables: Mapping[str, str] = {"EMRJOBS_PROJECT": str(copy.root), "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    for name in [name for name in os.environ if name.startswith(("EMRJOBS", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(copy.root)
    return Commands(copy.root, monkeypatch, capfd, update=request.config.getoption("--update-acceptance"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_what_it_always_did(name: str, commands: Commands) -> None:
    commands.check(name, COMMANDS[name])


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_as_always(name: str, commands: Commands) -> None:
    commands.check(f"mistake-{name}", MISTAKES[name])


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_as_always(name: str, commands: Commands, copy: Project) -> None:
    file, text, command = BROKEN[name]
    (copy.root / file).write_text(text, encoding="utf-8")
    commands.check(f"broken-{name}", command)


def test_no_expectation_is_left_over() -> None:
    names = {*COMMANDS, *(f"mistake-{name}" for name in MISTAKES), *(f"broken-{name}" for name in BROKEN)}
    assert {file.stem for file in EXPECTED.glob("*.txt")} == names
