"""Applications and job runs move through their states, and keep what a call writes while a pass goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from emr_executor import FakeExecutor, NoRoles
from local.aws.conftest import wait_until

from framework.local.aws.answers import ApiError
from framework.local.aws.database import Database
from framework.local.aws.emr.contract import TIMED_OUT, ClusterSpec, Roles, Work
from framework.local.aws.emr_serverless import store
from framework.local.aws.emr_serverless.mover import Mover
from framework.local.aws.emr_serverless.operations import OPERATIONS, Serverless
from framework.local.aws.emr_serverless.store import Application, JobRun

ROLE = "arn:aws:iam::123456789012:role/job"


@dataclass
class Service:
    """EMR Serverless without its protocol; the executor is a fake, whose work ends when a test says so."""

    database: Database
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    roles: Roles = field(default_factory=NoRoles)

    def start(self) -> None:
        self.mover = Mover(self.database, self.executor, self.roles)
        self.mover.start({"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "own"})

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        context = Serverless(self.database, "us-east-1", "root", "", self.mover.poke, self.executor.release)
        return dict(OPERATIONS[operation](context, request))

    def application(self, **more: Any) -> str:
        request = {"releaseLabel": "emr-7.12.0", "type": "SPARK", "clientToken": str(time.monotonic_ns()), **more}
        made = str(self.call("CreateApplication", **request)["applicationId"])
        wait_until(lambda: self.state(made) == "CREATED")
        return made

    def run(self, application: str, **more: Any) -> str:
        request = {
            "applicationId": application,
            "clientToken": str(time.monotonic_ns()),
            "executionRoleArn": ROLE,
            "jobDriver": {"sparkSubmit": {"entryPoint": "s3://b/a.py"}},
            **more,
        }
        return str(self.call("StartJobRun", **request)["jobRunId"])

    def job_run(self, application: str, run: str) -> dict[str, Any]:
        return dict(self.call("GetJobRun", applicationId=application, jobRunId=run)["jobRun"])

    def state(self, application: str, run: str | None = None) -> str:
        if run:
            return str(self.job_run(application, run)["state"])
        return str(self.call("GetApplication", applicationId=application)["application"]["state"])

    def reach(self, state: str, application: str, run: str | None = None) -> None:
        wait_until(lambda: self.state(application, run) == state)

    def finish(self, application: str, work: str, code: int = 0) -> None:
        wait_until(lambda: any(one.id == work for one in self.executor.started))
        self.executor.finish(application, work, code)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    one = Service(Database(tmp_path / "serverless.sqlite", store.SCHEMA, store.VERSION))
    one.start()
    yield one
    one.mover.close()
    one.database.close()


def test_a_run_starts_its_application_and_succeeds(service: Service) -> None:
    application = service.application()
    run = service.run(application)
    service.reach("RUNNING", application, run)
    assert service.state(application) == "STARTED"
    service.finish(application, run)
    service.reach("SUCCESS", application, run)
    assert service.job_run(application, run)["endedAt"] >= service.job_run(application, run)["startedAt"]


def test_a_run_is_tried_again_as_often_as_its_retry_policy_says(service: Service) -> None:
    application = service.application()
    run = service.run(application, retryPolicy={"maxAttempts": 3})
    service.finish(application, run, 1)
    service.finish(application, f"{run}.2", 1)
    service.finish(application, f"{run}.3", 1)
    service.reach("FAILED", application, run)
    found = service.job_run(application, run)
    assert found["attempt"] == 3
    assert "ExitCode: 1. Last few exceptions: it broke" in found["stateDetails"]
    attempts = service.call("ListJobRunAttempts", applicationId=application, jobRunId=run)["jobRunAttempts"]
    assert [(one["attempt"], one["state"]) for one in attempts] == [(3, "FAILED"), (2, "FAILED"), (1, "FAILED")]
    assert [work.id for work in service.executor.started] == [run, f"{run}.2", f"{run}.3"]


def test_a_run_that_succeeds_at_a_later_attempt_is_a_success(service: Service) -> None:
    application = service.application()
    run = service.run(application, retryPolicy={"maxAttempts": 5})
    service.finish(application, run, 1)
    service.finish(application, f"{run}.2")
    service.reach("SUCCESS", application, run)
    assert service.job_run(application, run)["attempt"] == 2


def test_without_a_retry_policy_a_run_is_tried_once(service: Service) -> None:
    application = service.application()
    run = service.run(application)
    service.finish(application, run, 1)
    service.reach("FAILED", application, run)
    assert len(service.executor.started) == 1


def test_runs_over_the_limit_are_queued_and_follow_in_their_order(service: Service) -> None:
    application = service.application(schedulerConfiguration={"maxConcurrentRuns": 1})
    first, second, third = (service.run(application) for _ in range(3))
    service.reach("QUEUED", application, third)
    assert [service.state(application, run) for run in (first, second)] == ["RUNNING", "QUEUED"]
    service.finish(application, first)
    service.reach("RUNNING", application, second)
    assert service.state(application, third) == "QUEUED"
    service.call("CancelJobRun", applicationId=application, jobRunId=third)
    service.reach("CANCELLED", application, third)
    service.finish(application, second)
    service.reach("SUCCESS", application, second)
    assert [work.id for work in service.executor.started] == [first, second]


def test_a_run_that_waits_longer_than_the_queue_allows_is_cancelled(service: Service) -> None:
    application = service.application(schedulerConfiguration={"maxConcurrentRuns": 1})
    with service.database.write() as connection:  # the API's least is a quarter of an hour
        found = store.application(connection, application)
        assert found is not None
        found.document["schedulerConfiguration"]["queueTimeoutMinutes"] = 0.005
        found.save(connection)
    first, second = service.run(application), service.run(application)
    service.reach("CANCELLED", application, second)
    assert service.job_run(application, second)["stateDetails"] == "Job run timed out in the queue"
    assert service.job_run(application, second)["queuedDurationMilliseconds"] >= 300
    assert service.state(application, first) == "RUNNING"


@pytest.mark.parametrize("wrong", [{"maxConcurrentRuns": 0}, {"queueTimeoutMinutes": 721}])
def test_a_scheduler_outside_the_apis_ranges_is_refused(service: Service, wrong: dict[str, int]) -> None:
    with pytest.raises(ApiError, match="must be between"):
        service.call("CreateApplication", releaseLabel="emr-7.12.0", type="SPARK", clientToken="t", schedulerConfiguration=wrong)


def test_a_run_that_takes_too_long_is_cancelled_and_not_tried_again(service: Service) -> None:
    application = service.application()
    run = service.run(application, retryPolicy={"maxAttempts": 3}, executionTimeoutMinutes=1)
    service.reach("RUNNING", application, run)
    assert service.executor.started[0].timeout == 60
    service.executor.finish(application, run, -15, reason=TIMED_OUT)
    service.reach("CANCELLED", application, run)
    assert len(service.executor.started) == 1


def test_a_running_run_is_cancelled_and_not_tried_again(service: Service) -> None:
    application = service.application()
    run = service.run(application, retryPolicy={"maxAttempts": 3})
    service.reach("RUNNING", application, run)
    service.call("CancelJobRun", applicationId=application, jobRunId=run)
    service.reach("CANCELLED", application, run)
    assert service.executor.cancelled == [(run, False)]
    assert len(service.executor.started) == 1


def test_an_idle_application_stops_and_the_next_run_starts_it_again(service: Service) -> None:
    # The API's least is a minute.
    application = service.application(autoStopConfiguration={"enabled": True, "idleTimeoutMinutes": 0.005})
    run = service.run(application)
    service.finish(application, run)
    service.reach("STOPPED", application)
    assert service.state(application, run) == "SUCCESS"
    again = service.run(application)
    service.reach("RUNNING", application, again)
    assert service.state(application) == "STARTED"


def test_an_application_does_not_stop_while_it_runs_something_or_when_it_shall_not(service: Service) -> None:
    busy = service.application(autoStopConfiguration={"enabled": True, "idleTimeoutMinutes": 0.005})
    lasting = service.application(autoStopConfiguration={"enabled": False})
    idle = service.application(autoStopConfiguration={"enabled": True, "idleTimeoutMinutes": 0.005})
    run = service.run(busy)
    for application in (lasting, idle):
        service.call("StartApplication", applicationId=application)
    service.reach("RUNNING", busy, run)
    service.reach("STOPPED", idle)  # as long as that took, the others had time to stop too
    assert (service.state(busy), service.state(lasting)) == ("STARTED", "STARTED")


def test_a_hive_run_executes_its_query_with_its_own_settings(service: Service) -> None:
    application = service.application(type="HIVE")
    overrides = {"applicationConfiguration": [{"classification": "hive-site", "properties": {"hive.a": "1"}}]}
    driver = {"hive": {"query": "s3://b/q.sql", "parameters": "--hiveconf hive.a=2"}}
    run = service.run(application, jobDriver=driver, configurationOverrides=overrides)
    service.finish(application, run)
    service.reach("SUCCESS", application, run)
    (work,) = service.executor.started
    assert work.args == ["hive", "--hiveconf", "hive.a=1", "--hiveconf", "hive.a=2", "-f", "s3://b/q.sql"]
    assert service.executor.prepared[0].applications == ["Hive"]


class OneRole(NoRoles):
    """Knows one role."""

    def of_role(self, role: str, session: str) -> Mapping[str, str]:
        return {"AWS_ACCESS_KEY_ID": f"of {role} for {session}", "AWS_SESSION_TOKEN": "token"} if role == ROLE else {}


def test_a_run_has_the_keys_of_its_execution_role(service: Service) -> None:
    service.mover.close()
    service.roles = OneRole()
    service.start()
    application = service.application()
    known, unknown = service.run(application), service.run(application, executionRoleArn=f"{ROLE}-2")
    for run in (known, unknown):
        service.finish(application, run)
        service.reach("SUCCESS", application, run)
    environments = service.executor.environments
    assert environments[known]["AWS_ACCESS_KEY_ID"] == f"of {ROLE} for {known}"
    assert environments[known]["AWS_SESSION_TOKEN"] == "token"
    assert environments[unknown] == {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "own"}


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
    database = Database(tmp_path / "tagged.sqlite", store.SCHEMA, store.VERSION)
    now = time.time()
    shown: dict[str, Any] = {"name": "a", "type": "SPARK", "releaseLabel": "emr-7.12.0", "createdAt": now, "updatedAt": now}
    driver = {"sparkSubmit": {"entryPoint": "s3://b/a.py"}}
    with database.write() as connection:
        Application("00app", "us-east-1", {**shown, "arn": "arn", "state": "CREATING", "tags": {"team": "data"}}).save(connection)
        run = {
            "executionRole": ROLE,
            "jobDriver": driver,
            "state": "SUBMITTED",
            "createdAt": now,
            "updatedAt": now,
            "tags": {"team": "data"},
        }
        JobRun("00run", "00app", run, {"attempt": 1}).save(connection)
    yield database
    database.close()


def test_tags_given_while_a_pass_goes_on_are_kept(database: Database) -> None:
    executor = TaggedMeanwhile(database)
    mover = Mover(database, executor, NoRoles())
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
