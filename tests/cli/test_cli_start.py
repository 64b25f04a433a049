"""The command as a process: what it imports, and that a closed pipe is no crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import PYTHON_JOB, SQL_JOB, Project

COMMAND = [sys.executable, "-c", "from framework.cli.main import main; main()"]
HEAVY = ("pyspark", "boto3", "botocore", "pandas", "great_expectations", "moto", "rich", "openlineage", "sqlglot.lineage")


@pytest.fixture
def ready(project: Project) -> Project:
    project.write("jobs/daily.py", PYTHON_JOB)
    project.write("jobs/scores.sql", SQL_JOB)
    return project


def environment(root: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMRJOBS")}
    return kept | {"EMRJOBS_PROJECT": str(root)}


@pytest.mark.parametrize("arguments", [["--help"], ["jobs"], ["plan", "daily"]], ids=" ".join)
def test_what_asks_nobody_imports_no_engine_and_no_client(ready: Project, arguments: list[str]) -> None:
    probe = f"""
import sys
from framework.cli.main import main
try:
    main()
except SystemExit as exc:
    assert not exc.code, exc.code
loaded = [name for name in {HEAVY} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments], env=environment(ready.root), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_error_is_an_exit_code_and_goes_to_standard_error(ready: Project) -> None:
    done = subprocess.run([*COMMAND, "plan", "dayly"], env=environment(ready.root), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no job 'dayly'\n  fix: did you mean 'daily'?\n"


def test_a_reader_that_has_gone_is_no_crash(ready: Project) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "jobs"], env=environment(ready.root), stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""
