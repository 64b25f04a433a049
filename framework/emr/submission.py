"""Start runs on EMR, once: look before creating, look again after a doubtful answer, attach instead of starting another.

EMR has no idempotency token for RunJobFlow and AddJobFlowSteps, and a throttled RunJobFlow may still have created its cluster. So
every cluster's name ends with the submit's id and every step's with its run's, and what the lists show decides, not the answers.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from framework.emr.api import ACTIVE, ENDED, STEP_OPEN, Doubtful, EmrApi
from framework.emr.records import LEASE_SECONDS, Claim, SubmitRecord, Submits
from framework.emr.step import JobRun, run_id_of
from framework.errors import EmrjobsError, ServiceUnavailable, UserError
from framework.ledger import new_run_id

Tell = Callable[[str], None]

MAX_STEPS = 256  # pending and running ones of a cluster: Management Guide, Work with steps
SETTLE_SECONDS = 20.0
"""How long a cluster or step whose creation is in doubt may take to show up in the lists."""
_LOOK_BACK = 600.0  # clocks differ
_ATTEMPTS = 8
_ACTIVE = (*ACTIVE, "TERMINATING")


@dataclass(frozen=True)
class Order:
    """What is to be submitted.

    Attributes:
        wish: the key of the claim.
        jobs: (job, its parameters as texts, the jobs of this submit that must have succeeded before), in the order of their steps.
        existing: id of the cluster to use; None starts one with `request`.
        request: makes the RunJobFlow request from the submit's id and the steps.
        steps: makes the StepConfigs from the runs and the submit's id.
        record: fields of the submit record that are known before: code, artifacts, logs, request.
        runtime_role: that the steps run as.
    """

    wish: str
    jobs: Sequence[tuple[str, Mapping[str, str], Sequence[str]]]
    env: str
    preset: str
    request: Callable[[str, Sequence[Mapping[str, Any]]], dict[str, Any]]
    steps: Callable[[Sequence[JobRun], str], list[dict[str, Any]]]
    existing: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    runtime_role: str | None = None


@dataclass(frozen=True)
class Submitted:
    """What a submit came to.

    Attributes:
        attached: the same was submitted before and has not ended: nothing was created.
        resumed: an earlier submit had been cut off, and this one went on with its run ids.
    """

    record: SubmitRecord
    attached: bool = False
    resumed: bool = False


def start(order: Order, api: EmrApi, submits: Submits, tell: Tell = lambda text: None) -> Submitted:
    """Bring the order's runs onto a cluster, exactly once.

    Raises:
        UserError: EMR refused the request, or the cluster cannot take steps; nothing was created.
        ServiceUnavailable: EMR did not answer for long. Submitting the same again goes on where this one stopped.
    """
    owner = f"{socket.gethostname().replace(':', '-')}:{os.getpid()}:{secrets.token_hex(4)}"
    while True:
        seen = submits.claim(order.wish)
        record = submits.find(seen.submit_id) if seen else None
        resumed = False
        if record and record.complete():
            if not ended(api, record):
                return Submitted(record, attached=True)
            record = None
        elif seen and not seen.gone(api.clock.now()):
            tell(f"the same is being submitted by {seen.owner.rsplit(':', 1)[0]}; waiting for it")
            api.clock.sleep(1.0)
            continue
        elif record and (record.refused or _lost(api, record)):
            record = None
        elif record:
            resumed = True
        submit_id = seen.submit_id if seen and resumed else new_run_id(order.jobs[-1][0], _utc(api))
        mine = submits.take(order.wish, Claim(submit_id, owner, api.clock.now() + LEASE_SECONDS), seen)
        if mine is None:
            continue
        if record is None:
            record = _new_record(order, submit_id, api)
            submits.write(record)  # before anything is created: who finds the claim must find the run ids
        bringing = _Bringing(order, record, mine, api, submits, tell, doubt=resumed)
        try:
            return Submitted(bringing.bring(), resumed=resumed)
        except EmrjobsError as exc:
            with contextlib.suppress(EmrjobsError):
                bringing.give_up(exc)
            raise


def ended(api: EmrApi, record: SubmitRecord) -> bool:
    """Whether all runs of a complete submit have ended, however they did."""
    assert record.cluster_id is not None
    state = api.cluster(record.cluster_id)["Status"]["State"]
    if state in (*ENDED, "TERMINATING"):
        return True
    return all(api.step(record.cluster_id, step)["Status"]["State"] not in STEP_OPEN for step in record.steps.values())


def _lost(api: EmrApi, record: SubmitRecord) -> bool:
    """Whether a submit that was cut off can never be completed: its cluster has ended before it had all the steps."""
    if record.cluster_id is None or api.cluster(record.cluster_id)["Status"]["State"] not in (*ENDED, "TERMINATING"):
        return False
    there = {run_id_of(step["Name"]) for step in api.steps(record.cluster_id)}
    return any(run.run_id not in there for run in record.runs)


def _new_record(order: Order, submit_id: str, api: EmrApi) -> SubmitRecord:
    names = [job for job, _, _ in order.jobs]
    ids = {job: new_run_id(job, _utc(api)) for job in names[:-1]} | {names[-1]: submit_id}
    runs = tuple(JobRun(job, ids[job], dict(params), tuple(ids[one] for one in after)) for job, params, after in order.jobs)
    return SubmitRecord(
        submit_id, runs, order.env, order.preset, api.clock.now(), owned=order.existing is None, cluster_id=order.existing, **order.record
    )


def _utc(api: EmrApi) -> dt.datetime:
    return dt.datetime.fromtimestamp(api.clock.now(), dt.UTC)


@dataclass
class _Bringing:
    """One submit at work: its record grows until cluster and steps are known.

    Attributes:
        doubt: something may have been created already, and may show up late.
    """

    order: Order
    record: SubmitRecord
    mine: Claim
    api: EmrApi
    submits: Submits
    tell: Tell
    doubt: bool

    def bring(self) -> SubmitRecord:
        steps = self.order.steps(self.record.runs, self.record.submit_id)
        if self.order.existing is None:
            self._cluster(steps)
        else:
            self._on_existing(steps)
        return self.record

    def give_up(self, exc: EmrjobsError) -> None:
        """Leave the claim to whoever submits next; what was clearly refused leaves no run that could be gone on with."""
        if isinstance(exc, UserError) and not self.doubt:
            self._know(refused=True)
        self.submits.release(self.order.wish, self.mine)

    def _know(self, **known: Any) -> None:
        self.record = replace(self.record, **known)
        self.submits.write(self.record)

    def _still_mine(self) -> None:
        """Before every call that creates something: a submit that was stopped for long may have been taken over.

        Raises:
            ServiceUnavailable: it was; the other one goes on.
        """
        renewed = self.submits.renew(self.order.wish, self.mine, self.api.clock.now() + LEASE_SECONDS)
        if renewed is None:
            raise ServiceUnavailable("another submit of the same has taken over", fix="submit again: it attaches to the other")
        self.mine = renewed

    def _cluster(self, steps: list[dict[str, Any]]) -> None:
        found = self._look(self.doubt)
        for attempt in range(_ATTEMPTS):
            if found:
                break
            self._still_mine()
            self.tell("start a cluster" if attempt == 0 else "start a cluster, again")
            try:
                answer = self.api.create("run_job_flow", **self.order.request(self.record.submit_id, steps[:MAX_STEPS]))
                found = [answer["JobFlowId"]]
            except Doubtful as exc:
                self.doubt = True
                self.tell(f"{exc.message}; looking whether the cluster was created")
                self.api.clock.sleep(_pause(attempt))
                found = self._look(patient=True)
        if not found:
            raise ServiceUnavailable("EMR did not create a cluster", fix="submit again later: it goes on with the same run ids")
        self.doubt = True
        self._know(cluster_id=found[0])
        self._one_cluster()
        cluster_id = str(self.record.cluster_id)
        first = steps[:MAX_STEPS]
        known = self._steps_by_run(cluster_id, expect=len(first))
        if len(known) < len(steps):
            known = self._add(cluster_id, steps, known)
        self._know(steps=known)

    def _look(self, patient: bool) -> list[str]:
        """Ids of this submit's clusters, the oldest first; one that has ended counts, it was created."""
        for found in self._looking(patient, self._named):
            if found:
                return [one["Id"] for one in found]
        return []

    def _named(self) -> list[dict[str, Any]]:
        since = self.record.created - _LOOK_BACK
        mine = [one for one in self.api.clusters(since=since) if one["Name"].endswith(f" {self.record.submit_id}")]
        return sorted(mine, key=lambda one: (one["Status"]["Timeline"]["CreationDateTime"], one["Id"]))

    def _looking(self, patient: bool, look: Callable[[], Any]) -> Any:
        """Look once, or until something may be taken as not there."""
        end = self.api.clock.now() + (SETTLE_SECONDS if patient else 0.0)
        wait = 0.5
        while True:
            yield look()
            if self.api.clock.now() >= end:
                return
            self.api.clock.sleep(min(wait, max(0.0, end - self.api.clock.now()) + 0.01))
            wait *= 2

    def _one_cluster(self) -> None:
        """Terminate all of this submit's clusters but one: a call that seemed lost may have had its effect late."""
        found = self._named()
        active = [one for one in found if one["Status"]["State"] in _ACTIVE]
        kept = active[0]["Id"] if active else self.record.cluster_id
        for extra in active[1:]:
            self.tell(f"terminate {extra['Id']}: {kept} has the same runs")
            self.api.terminate(extra["Id"])
        if kept != self.record.cluster_id:
            self._know(cluster_id=kept)

    def _steps_by_run(self, cluster_id: str, *, expect: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for found in self._looking(True, lambda: self._own_steps(cluster_id)):
            if len(found) >= expect:
                return found
        raise ServiceUnavailable(f"cluster {cluster_id} shows {len(found)} of {expect} steps", fix="submit again: it attaches")

    def _own_steps(self, cluster_id: str) -> dict[str, str]:
        """Step id by run id, of this submit's runs; steps that are there twice are cancelled but for the oldest."""
        wanted = {run.run_id for run in self.record.runs}
        found: dict[str, str] = {}
        for step in reversed(list(self.api.steps(cluster_id))):  # the list is newest first
            run_id = run_id_of(step["Name"])
            if run_id not in wanted or run_id is None:
                continue
            if run_id not in found:
                found[run_id] = step["Id"]
            elif step["Status"]["State"] in STEP_OPEN:
                self.tell(f"cancel {step['Id']}: {found[run_id]} is the same run")
                self.api.cancel_step(cluster_id, step["Id"])
        return found

    def _on_existing(self, steps: list[dict[str, Any]]) -> None:
        cluster_id = self.order.existing
        assert cluster_id is not None
        found: dict[str, str] = {}
        for found in self._looking(self.doubt, lambda: self._own_steps(cluster_id)):
            if found:
                break
        known = self._add(cluster_id, steps, found)
        self._know(steps={**known, **self._own_steps(cluster_id)})  # and cancel what a call that seemed lost added late

    def _add(self, cluster_id: str, steps: list[dict[str, Any]], found: dict[str, str]) -> dict[str, str]:
        """Add the steps that are not there, as many at a time as the cluster has room for; all their ids by run id."""
        attempt = 0
        while missing := [step for step in steps if run_id_of(step["Name"]) not in found]:
            missing = missing[: self._wait_for_room(cluster_id, len(missing))]
            self._still_mine()
            self.tell(f"add {len(missing)} step{'s' if len(missing) > 1 else ''} to {cluster_id}")
            role = {"ExecutionRoleArn": self.order.runtime_role} if self.order.runtime_role else {}
            try:
                answer = self.api.create("add_job_flow_steps", JobFlowId=cluster_id, Steps=missing, **role)
                added = [str(run_id_of(step["Name"])) for step in missing]
                found = {**found, **dict(zip(added, answer["StepIds"], strict=True))}
                self.doubt = True
                continue
            except Doubtful as exc:
                self.doubt = True
                attempt += 1
                if attempt >= _ATTEMPTS:
                    raise
                self.tell(f"{exc.message}; looking whether the steps were added")
                self.api.clock.sleep(_pause(attempt))
            except UserError as exc:
                if str(MAX_STEPS) not in exc.message:
                    raise
                self.api.clock.sleep(_pause(3))  # somebody else took the room between the look and the call
                continue
            for seen in self._looking(True, lambda: self._own_steps(cluster_id)):
                found = {**found, **seen}
                if len(found) == len(steps):
                    break
        return found

    def _wait_for_room(self, cluster_id: str, wanted: int) -> int:
        """How many steps the cluster takes now: all that are wanted, or a full cluster's worth of them, or as many as there is room
        for where more than that are wanted."""
        told = False
        while True:
            check_usable(self.api.cluster(cluster_id))
            waiting = sum(1 for _ in self.api.steps(cluster_id, states=STEP_OPEN))
            room = MAX_STEPS - waiting
            if room >= wanted or (wanted > MAX_STEPS and room > 0):
                return min(room, wanted)
            if not told:
                self.tell(f"{cluster_id} has {waiting} steps waiting, of {MAX_STEPS} that EMR allows: waiting for room")
                told = True
            self._still_mine()
            self.api.clock.sleep(10.0)


def check_usable(cluster: Mapping[str, Any]) -> None:
    """Whether a cluster takes steps.

    Raises:
        UserError: it ends or has ended, or cannot run Spark.
    """
    state = cluster["Status"]["State"]
    if state not in ACTIVE:
        reason = cluster["Status"].get("StateChangeReason", {}).get("Message")
        raise UserError(
            f"cluster {cluster['Id']} takes no steps: it is {state}" + (f" ({reason})" if reason else ""),
            fix="use another cluster (`emrjobs clusters`), or none: a submit starts its own",
        )
    names = [one["Name"] for one in cluster.get("Applications", [])]
    if "Spark" not in names:
        raise UserError(f"cluster {cluster['Id']} has no Spark, only {', '.join(names) or 'Hadoop'}", fix="use a cluster with Spark")


def _pause(attempt: int) -> float:
    """Seconds before the next call that creates something: 1 to 30, with jitter."""
    ceiling = min(30.0, 2.0**attempt)
    return ceiling / 2 + secrets.randbelow(1000) / 1000 * ceiling / 2
