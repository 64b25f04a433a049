"""What a call writes while a pass of the mover goes on is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emr_executor import FakeExecutor
from local.aws.conftest import wait_until

from framework.local.aws.database import Database
from framework.local.aws.emr.contract import ClusterSpec, Work
from framework.local.aws.emr_serverless import store
from framework.local.aws.emr_serverless.mover import Mover
from framework.local.aws.emr_serverless.store import Application, JobRun


class TaggedMeanwhile(FakeExecutor):
    """Tags the application while it is prepared, and its run while that is started, as another thread's calls do."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def prepare(self, cluster: ClusterSpec) -> None:
        with self._database.write() as connection:
            application = store.application(connection, cluster.id)
            assert application is not None
            application.document["tags"] = {"cost": "1"}
            application.save(connection)

    def start(self, cluster: ClusterSpec, work: Work) -> None:
        super().start(cluster, work)
        with self._database.write() as connection:
            run = store.job_run(connection, "00app", "00run")
            assert run is not None
            run.document["tags"] = {"cost": "2"}
            run.save(connection)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "serverless.sqlite", store.SCHEMA, store.VERSION)
    now = time.time()
    shown: dict[str, Any] = {"name": "a", "type": "SPARK", "releaseLabel": "emr-7.12.0", "createdAt": now, "updatedAt": now}
    driver = {"sparkSubmit": {"entryPoint": "s3://b/a.py"}}
    with database.write() as connection:
        Application("00app", "us-east-1", {**shown, "state": "CREATING", "tags": {"team": "data"}}).save(connection)
        run = {"jobDriver": driver, "state": "SUBMITTED", "createdAt": now, "updatedAt": now, "tags": {"team": "data"}}
        JobRun("00run", "00app", run, {"attempt": 1}).save(connection)
    yield database
    database.close()


def test_tags_given_while_a_pass_goes_on_are_kept(database: Database) -> None:
    executor = TaggedMeanwhile(database)
    mover = Mover(database, executor)
    mover.start({})
    try:
        wait_until(lambda: _run(database).state == "RUNNING")
        executor.finish("00app", "00run")
        wait_until(lambda: _run(database).state == "SUCCESS")
    finally:
        mover.close()
    with database.read() as connection:
        application = store.application(connection, "00app")
    assert application is not None
    assert (application.state, application.document["tags"]) == ("STARTED", {"cost": "1"})
    assert _run(database).document["tags"] == {"cost": "2"}
    assert "endedAt" in _run(database).document


def _run(database: Database) -> JobRun:
    with database.read() as connection:
        run = store.job_run(connection, "00app", "00run")
    assert run is not None
    return run
