"""Watching a submit: what changes is told once, an end is noticed soon, and a failure is explained."""

from __future__ import annotations

import datetime as dt
from typing import Any

from emr_faults import Plane, TestClock

from framework.emr import watch
from framework.emr.api import EmrApi
from framework.emr.records import SubmitRecord
from framework.emr.step import JobRun, step_name
from framework.emr.watch import ClusterChanged, RunEnded, StepChanged, Watch
from framework.ledger import RunRecord

RUN = "20260101T000000000-daily_etl-abcdef"


def followed(plane: Plane, clock: TestClock, record: RunRecord | None = None) -> Watch:
    run = JobRun("daily_etl", RUN, {})
    made = plane.run_job_flow(Name=f"emrjobs daily_etl {RUN}", Steps=[{"Name": step_name(run)}])["JobFlowId"]
    steps = {RUN: plane.steps[made][0]["Id"]}
    submitted = SubmitRecord(RUN, (run,), "prod", "small", clock.now(), cluster_id=made, steps=steps)
    return Watch(submitted, EmrApi(plane, plane, clock=clock), None, lambda run_id: record)


def script(plane: Plane, clock: TestClock, changes: dict[float, Any]) -> None:
    """Have things happen while somebody sleeps."""
    begun, asleep = clock.now(), clock.sleep

    def sleep(seconds: float) -> None:
        asleep(seconds)
        for at in [at for at in changes if clock.now() - begun >= at]:
            changes.pop(at)()

    clock.sleep = sleep  # type: ignore[method-assign]


def test_states_are_told_once_and_the_end_is_noticed_within_five_seconds() -> None:
    clock = TestClock()
    plane = Plane(clock)
    watched = followed(plane, clock)
    cluster = str(watched.record.cluster_id)
    step = plane.steps[cluster][0]

    def run() -> None:
        plane.made[cluster]["Status"]["State"] = "RUNNING"
        step["Status"] = {"State": "RUNNING", "Timeline": {"StartDateTime": dt.datetime.now(dt.UTC)}}

    ended: list[float] = []

    def complete() -> None:
        step["Status"]["State"] = "COMPLETED"
        ended.append(clock.now())

    script(plane, clock, {300.0: run, 900.0: complete})
    events = list(watched.events())
    assert [(type(event), getattr(event, "state", None)) for event in events] == [
        (ClusterChanged, "STARTING"),
        (StepChanged, "PENDING"),
        (ClusterChanged, "RUNNING"),
        (StepChanged, "RUNNING"),
        (StepChanged, "COMPLETED"),
        (RunEnded, "COMPLETED"),
    ]
    assert clock.now() - ended[0] <= watch.LONGEST <= 5.0


def test_a_failed_bootstrap_is_the_runs_reason() -> None:
    clock = TestClock()
    plane = Plane(clock)
    watched = followed(plane, clock)
    cluster = str(watched.record.cluster_id)

    def fail() -> None:
        plane.end(cluster, "CANCELLED")
        plane.made[cluster]["Status"]["State"] = "TERMINATED_WITH_ERRORS"
        plane.made[cluster]["Status"]["StateChangeReason"] = {
            "Code": "BOOTSTRAP_FAILURE",
            "Message": "On the master instance, bootstrap action 1 returned a non-zero return code",
        }

    script(plane, clock, {60.0: fail})
    end = list(watched.events())[-1]
    assert isinstance(end, RunEnded)
    assert (end.state, end.exit_code) == ("CANCELLED", 1)
    assert end.cause == ("On the master instance, bootstrap action 1 returned a non-zero return code",)


def test_the_runs_own_record_explains_best_and_gives_the_exit_code() -> None:
    clock = TestClock()
    plane = Plane(clock)
    error = {"type": "DatasetNotFound", "message": "there are no files at s3://raw/\n  fix: check the path", "exit_code": 2}
    record = RunRecord(RUN, "daily_etl", "prod", "emr", "spark", {}, "failed", "2026-01-01T00:00:00+00:00", error=error)
    watched = followed(plane, clock, record)
    plane.end(str(watched.record.cluster_id), "FAILED")
    end = list(watched.events())[-1]
    assert isinstance(end, RunEnded)
    assert (end.exit_code, end.cause[0]) == (2, "there are no files at s3://raw/")
