"""The embedded target on a copy of this project: its own services, its own data, stopped at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conformance import cells

from framework.config.loader import Loaded, load
from framework.discovery import discover
from framework.engines.spark import conf
from framework.engines.spark.databases import Databases
from framework.jobs import Jdbc, Job, Table
from framework.ledger import RunRecord
from framework.local.target import open_platform, supervisor
from framework.platform import Platform
from framework.publish import Published, open_area
from framework.runner import run_job
from framework.sources import jdbc

_OUTCOMES = pytest.StashKey[dict[cells.Cell, bool]]()

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    """A command that ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own with the sample jobs and configuration."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("jobs", "configs"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def loaded(root: Path) -> Loaded:
    return load(root, "embedded", variables={})


@pytest.fixture(scope="session")
def platform(loaded: Loaded) -> Iterator[Platform]:
    """The services are started, and the sample data loaded, once for all tests."""
    try:
        with open_platform(loaded, lambda event: None) as opened:
            yield opened
    finally:
        supervisor(loaded, lambda event: None).down()


@pytest.fixture(scope="session")
def run(platform: Platform) -> Callable[..., RunRecord]:
    """Run a sample job, or one that the test declares."""

    def one(job: str | Job, **params: Any) -> RunRecord:
        chosen = discover(platform.root).get(job) if isinstance(job, str) else job
        return run_job(chosen, params, platform)

    return one


@pytest.fixture(scope="module")
def spark(platform: Platform) -> Iterator[Any]:
    """A session that reads and writes the module's platform."""
    with platform.spark() as session:
        conf.prepare(session, platform.aws)
        yield session


@pytest.fixture
def table() -> str:
    """The name of a table that does not exist."""
    return f"conformance.t_{uuid.uuid4().hex[:10]}"


@pytest.fixture
def publish(spark: Any, platform: Platform) -> Callable[..., Published]:
    """Publish rows to a table as one run of a Spark job does."""

    def one(output: Table, rows: list[tuple[Any, ...]], schema: str) -> Published:
        area = open_area(spark, platform.catalog, output, f"20240101T000000-test-{uuid.uuid4().hex[:6]}")
        area.write(spark.createDataFrame(rows, schema))
        return area.publish()

    return one


@pytest.fixture
def read_of(platform: Platform, connection: str) -> Callable[..., jdbc.JdbcRead]:
    """A read of one table of the database that the module's own `connection` names."""

    def one(table: str, *, connections: int = 4, changes: dict[str, Any] | None = None, **how: Any) -> jdbc.JdbcRead:
        entry = platform.settings.connections[connection].model_copy(update={"max_connections": connections, **(changes or {})})
        return jdbc.resolve("rows", Jdbc(connection, table, **how), {}, {connection: entry}, platform.resolver, where="jobs/a.py:1")

    return one


@pytest.fixture
def rows(spark: Any, read_of: Callable[..., jdbc.JdbcRead]) -> Callable[..., list[tuple[Any, ...]]]:
    """What Spark gets by a read of that database."""

    def collected(table: str, **how: Any) -> list[tuple[Any, ...]]:
        read = read_of(table, **how)
        with Databases(spark, {"rows": read}) as databases:
            return [tuple(row) for row in databases.frame(read).collect()]

    return collected


@pytest.fixture(scope="session")
def emrjobs(platform: Platform) -> Callable[..., Finished]:
    """Run the command as a user does."""

    def command(*arguments: str, project: Path | None = None, **variables: str) -> Finished:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("EMRJOBS", "AWS_"))}
        environment |= {"EMRJOBS_PROJECT": str(project or platform.root), "NO_COLOR": "1", "COLUMNS": "200", **variables}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("emrjobs")), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return command


def _cells_of(item: pytest.Item) -> list[cells.Cell]:
    if not isinstance(item, pytest.Function):
        return []
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return cells.proven_by(item.path.stem, item.originalname, parameters.get("table_format"))


def _only(config: pytest.Config) -> str | None:
    """The engine with a run of its own that was asked for, by its marker."""
    return next((engine for engine in cells.APART if config.option.markexpr == engine), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    only = _only(config)
    apart = [item for item in items if any(item.get_closest_marker(engine) for engine in cells.APART if engine != only)]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in apart]
    if config.getoption("--conformance") and only is None:
        chosen = [item for item in items if _cells_of(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    outcomes = item.config.stash.setdefault(_OUTCOMES, {})
    if call.when == "call" or not report.passed:
        for cell in _cells_of(item):
            outcomes[cell] = outcomes.get(cell, True) and report.passed
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--conformance") and not session.config.option.collectonly and session.exitstatus == 0:
        _, wrong = cells.render(session.config.stash.get(_OUTCOMES, {}), _only(session.config))
        session.exitstatus = 1 if wrong else 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--conformance") and not config.option.collectonly:
        lines, wrong = cells.render(config.stash.get(_OUTCOMES, {}), _only(config))
        terminalreporter.section("conformance")
        for line in lines:
            terminalreporter.write_line(line)
        for line in wrong:
            terminalreporter.write_line(f"error: {line}", red=True)
