"""Moves applications and job runs from state to state: one thread, woken by calls and by the ends of job runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from framework.local.aws.answers import ApiError
from framework.local.aws.database import Database
from framework.local.aws.emr.contract import TIMED_OUT, Executor, Outcome, Roles
from framework.local.aws.emr_serverless import launches, store
from framework.local.aws.emr_serverless.store import Application, Document, JobRun

_log = logging.getLogger(__name__)

_DEFAULT_IDLE_MINUTES = 15
# Of an application with a scheduler configuration (API reference, SchedulerConfiguration).
_DEFAULT_CONCURRENT_RUNS, _DEFAULT_QUEUE_MINUTES = 15, 360
_PRINCIPAL = "emr-serverless.amazonaws.com"
_BETWEEN = {"CREATING": "CREATED", "STARTING": "STARTED", "STOPPING": "STOPPED"}


class Mover:
    """The lifecycle of everything that EMR Serverless keeps."""

    def __init__(self, database: Database, executor: Executor, roles: Roles) -> None:
        self._database, self._executor, self._roles = database, executor, roles
        self._runtime: Mapping[str, str] = {}
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="emr-serverless", daemon=True)
        executor.watch(lambda cluster_id, work_id: self.poke())

    def start(self, runtime: Mapping[str, str]) -> None:
        """Begin; `runtime`: environment variables of every process, never logged."""
        self._runtime = runtime
        self._wake.set()
        self._thread.start()

    def poke(self) -> None:
        """Look at once."""
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        wait: float | None = None
        while True:
            self._wake.wait(wait)
            self._wake.clear()
            if self._closed:
                return
            try:
                wait = self._pass()
            except Exception:  # the next pass may do better; without one everything would stand still
                _log.exception("a pass over the applications failed; trying again")
                wait = 5.0

    def _pass(self) -> float | None:
        """Move everything one step on; returns after how many seconds to look again."""
        with self._database.read() as connection:
            runs = store.active_runs(connection)
            known = store.applications(connection)
        by_application: dict[str, list[JobRun]] = {}
        for run in runs:
            by_application.setdefault(run.application, []).append(run)
        waits = [self._application(application, by_application.get(application.id, [])) for application in known]
        return min((wait for wait in waits if wait is not None), default=None)

    def _application(self, application: Application, runs: list[JobRun]) -> float | None:
        if application.state == "CREATING":
            try:
                self._executor.prepare(launches.cluster(application, self._runtime))
            except ApiError as exc:
                self._enter(application, "TERMINATED", exc.message)
                return None
        if application.state in _BETWEEN:
            self._enter(application, _BETWEEN[application.state])
        if application.state in ("CREATED", "STOPPED") and runs:
            self._enter(application, "STARTING", "Auto-starting application")
            self._enter(application, "STARTED")
        if application.state != "STARTED":
            return None
        scheduler = application.document.get("schedulerConfiguration")
        limit = None if scheduler is None else scheduler.get("maxConcurrentRuns", _DEFAULT_CONCURRENT_RUNS)
        running = sum(run.state not in ("SUBMITTED", "QUEUED") for run in runs)
        waits = []
        for run in runs:
            if run.state in ("SUBMITTED", "QUEUED"):
                if limit is not None and running >= limit:
                    waits.append(self._queue(run, (scheduler or {}).get("queueTimeoutMinutes", _DEFAULT_QUEUE_MINUTES)))
                    continue
                running += 1
            self._follow(application, run)
        waits.append(self._idle(application, runs))
        return min((wait for wait in waits if wait is not None), default=None)

    def _queue(self, run: JobRun, minutes: float) -> float | None:
        """Have a run wait for its turn; returns after how many seconds its time in the queue is over."""
        self._move(run, "QUEUED")
        left = float(run.work["queued_at"] + minutes * 60 - time.time())
        if left > 0:
            return left
        # User Guide, "Job concurrency and queuing": "If queue timeout is reached earlier, your job times out." Wording not confirmed.
        self._end(run, "CANCELLED", "Job run timed out in the queue", Outcome(None, cancelled=True, ended=time.time()))
        return None

    def _idle(self, application: Application, runs: list[JobRun]) -> float | None:
        """Stop an application that had nothing to do for as long as its configuration says."""
        stop = application.document.get("autoStopConfiguration", {})
        if not stop.get("enabled", True) or any(run.state not in store.ENDED for run in runs):
            return None
        with self._database.read() as connection:
            ended = max((run.document["updatedAt"] for run in store.job_runs(connection, application.id)), default=0.0)
        due = max(application.document["updatedAt"], ended) + stop.get("idleTimeoutMinutes", _DEFAULT_IDLE_MINUTES) * 60
        if due > time.time():
            return float(due - time.time())
        self._enter(application, "STOPPING", "Auto-stopping idle application")
        self._enter(application, "STOPPED", "Application was automatically stopped after being idle")
        return None

    def _follow(self, application: Application, run: JobRun) -> None:
        """Start a run, or see how it goes."""
        work = launches.work(run)
        if run.work.get("cancelled"):
            try:
                outcome = self._executor.outcome(application.id, work.id)
            except KeyError:  # it never began
                outcome = Outcome(None, cancelled=True, ended=time.time())
            if outcome is None:
                self._executor.cancel(application.id, work.id)
            else:
                self._end(run, "CANCELLED", "Job run was cancelled", outcome)
            return
        try:
            outcome = self._executor.outcome(application.id, work.id)
        except KeyError:
            role = self._roles.untrusting(run.document["executionRole"], _PRINCIPAL, application.document["arn"])
            if role is not None:
                # Seen by users of AWS, as the details of a job run that failed.
                details = (
                    f"Could not assume runtime role {role} because it doesn't exist or isn't setup with the required trust relationship."
                )
                self._end(run, "FAILED", details, Outcome(None, ended=time.time()))
                return
            # Nothing is waited for on this machine: the states between are passed at once.
            for state in ("PENDING", "SCHEDULED", "RUNNING"):
                self._move(run, state)
            runtime = {**self._runtime, **self._roles.of_role(run.document["executionRole"], run.id)}
            target = replace(launches.cluster(application, runtime), log_uri=launches.log_uri(application, run))
            self._executor.start(target, work)
            outcome = self._executor.outcome(application.id, work.id)
        if outcome is None:
            return
        if outcome.succeeded:
            self._end(run, "SUCCESS", "", outcome)
        elif outcome.reason == TIMED_OUT:
            # API reference, StartJobRun: "If the job run exceeds this duration, EMR Serverless cancels it". Wording not confirmed.
            self._end(run, "CANCELLED", "Job run timed out", outcome)
        elif run.work["attempt"] < run.document.get("retryPolicy", {}).get("maxAttempts", 1):
            self._move(run, "PENDING", attempt=run.work["attempt"] + 1)
            self.poke()
        else:
            self._end(run, "FAILED", _explained(outcome), outcome)

    def _end(self, run: JobRun, state: str, details: str, outcome: Outcome) -> None:
        changes: Document = {"endedAt": outcome.ended}
        if outcome.started is not None:
            changes["totalExecutionDurationSeconds"] = round(outcome.ended - outcome.started)
            # One worker of the default size (4 vCPU, 16 GB, 20 GB of disk) for the time that it ran; nothing is billed.
            hours = (outcome.ended - outcome.started) / 3600
            changes["totalResourceUtilization"] = {"vCPUHour": 4 * hours, "memoryGBHour": 16 * hours, "storageGBHour": 20 * hours}
        self._move(run, state, details, **changes)
        self._wake.set()  # there is room for the next one in the queue

    def _move(self, run: JobRun, state: str, details: str = "", **changes: Any) -> None:
        """Enter a state, on what the database holds now: a call may have tagged or cancelled the run since this pass read it."""
        if run.state == state:
            return
        with self._database.write() as connection:
            now = store.job_run(connection, run.application, run.id)
            if now is not None:
                run.document, run.work = now.document, now.work
            if run.work.get("cancelled") and state not in store.ENDED:
                self._wake.set()  # the next pass sees it
                return
            run.document |= changes
            if "attempt" in changes:
                run.work["attempt"] = changes["attempt"]
            if state == "RUNNING":
                run.document["startedAt"] = time.time()
            if state == "QUEUED":
                run.work["queued_at"] = time.time()
            elif run.state == "QUEUED":
                run.document["queuedDurationMilliseconds"] = round((time.time() - run.work["queued_at"]) * 1000)
            run.enter(state, details)
            run.save(connection)

    def _enter(self, application: Application, state: str, details: str | None = None) -> None:
        """Enter a state from the one that this pass saw, on what the database holds now."""
        with self._database.write() as connection:
            now = store.application(connection, application.id)
            if now is not None:
                seen, application.document = application.state, now.document
                if now.state != seen:  # a call was faster
                    return
            application.enter(state, details)
            application.save(connection)


def _explained(outcome: Outcome) -> str:
    """The wording of EMR Serverless, as others quote it."""
    code = "" if outcome.exit_code is None else f" ExitCode: {outcome.exit_code}."
    return f"Job failed, please check complete logs in configured logging destination.{code} Last few exceptions: {outcome.message}"
