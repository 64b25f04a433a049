"""A new project and a new job are complete and right as they are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import Project

from framework import scaffold
from framework.config.loader import environments, load
from framework.discovery import discover
from framework.errors import JobDefinitionError, UserError
from framework.testing import cases


def test_a_new_project_has_healthy_jobs_settings_and_cases(tmp_path: Path) -> None:
    root = tmp_path / "Corner Shop"
    written = {path.relative_to(root).as_posix() for path in scaffold.init(root)}
    assert {"pyproject.toml", "Makefile", "README.md", ".gitignore", ".github/workflows/test.yml", "configs/base.yaml"} <= written
    found = discover(root)
    assert not found.problems
    assert [job.name for job in found] == ["daily_totals", "shop_ranking"]
    assert all(cases.load(job, root) for job in found)
    assert environments(root) == ["embedded", "prod"]
    for env in environments(root):
        assert load(root, env, variables={}).settings.catalog.warehouse.startswith("s3://corner-shop-")


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        scaffold.init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["---", "x" * 60])
def test_a_name_that_no_bucket_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be the name of a project"):
        scaffold.init(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("sql", [True, False])
def test_a_new_job_is_found_and_has_a_case(project: Project, sql: bool) -> None:
    scaffold.new_job(project.root, "hourly", sql=sql, database="lake")
    job = project.jobs().get("hourly")
    assert job.output.name == "lake.hourly"
    assert len(cases.load(job, project.root)) == 1
    with pytest.raises(JobDefinitionError, match="is there already"):
        scaffold.new_job(project.root, "hourly", sql=not sql)


def test_a_name_that_is_no_job_name_is_refused(project: Project) -> None:
    with pytest.raises(JobDefinitionError, match="'Hourly-Totals' is not a job name"):
        scaffold.new_job(project.root, "Hourly-Totals", sql=False)
    assert not list((project.root / "jobs").iterdir())


@pytest.mark.slow
@pytest.mark.services
def test_a_new_project_runs_and_passes_its_cases(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    scaffold.init(root)
    programs = Path(sys.executable).parent
    env = {name: value for name, value in os.environ.items() if not name.startswith(("EMRJOBS", "AWS_", "MAKE"))}
    try:
        done = subprocess.run(
            ["make", f"BIN={programs}", "run", "test"], cwd=root, env=env, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "published   sales.daily_totals: 2 rows in 1 partition" in done.stdout
        assert "2 passed, 0 failed" in done.stdout
    finally:
        subprocess.run([str(programs / "emrjobs"), "local", "down"], cwd=root, env=env, check=False, capture_output=True)
