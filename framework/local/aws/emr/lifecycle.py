"""The controller: what turns a cluster's state, its steps' outcomes and the clock into the next state.

One thread, woken by changes (an API call, the end of a piece of work) and by deadlines. Each pass over a cluster is one
transaction; what it decides to start, cancel or release is done after the commit. All those acts are idempotent and are decided
again from what is on disk, so a kill -9 between commit and act loses nothing.
"""

from __future__ import annotations

import heapq
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from framework.local.aws.answers import ApiError
from framework.local.aws.database import Database
from framework.local.aws.emr import nodes, scaler, store, transitions
from framework.local.aws.emr.contract import ClusterSpec, Executor, Outcome, Roles, Work, WorkKind
from framework.local.aws.emr.delays import Delays
from framework.local.aws.emr.store import Cluster, Document, Step
from framework.local.aws.emr.transitions import ACTIVE, READY

_log = logging.getLogger(__name__)

_UNFINISHED = (*ACTIVE, "TERMINATING")
TERMINATE = ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW")
# What EMR's service role has to trust.
_PRINCIPAL = "elasticmapreduce.amazonaws.com"
# Of ClusterStateChangeReasonCode, those that are no error.
_REGULAR = (None, "USER_REQUEST", "ALL_STEPS_COMPLETED")
# Seconds until a cluster whose pass failed unexpectedly is looked at again.
_RETRY = 5.0

Act = Callable[[], None]


@dataclass
class _Pass:
    """One look at a cluster: what it decided to do after the commit, and when to look again."""

    connection: sqlite3.Connection
    cluster: Cluster
    now: float
    acts: list[Act] = field(default_factory=list)
    due: float | None = None

    def look_again(self, when: float) -> None:
        self.due = when if self.due is None else min(self.due, when)


class Controller:
    """Moves all clusters forward. `start` it once the executor is there; `poke` it after each change to a cluster."""

    def __init__(self, database: Database, executor: Executor, roles: Roles, delays: Delays) -> None:
        self._database = database
        self._executor = executor
        self._roles = roles
        self._runtime: Mapping[str, str] = {}
        self.delays = delays
        self._wake = threading.Condition()
        self._poked: set[str] = set()
        self._deadlines: list[tuple[float, str]] = []
        self._closed = False
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="emr-cluster")
        # What is under way in this process, by (act, cluster, step): each is begun once per process.
        self._under_way: set[tuple[str, ...]] = set()
        # Work that the executor could not even take.
        self._refused: dict[tuple[str, str], Outcome] = {}
        self._thread = threading.Thread(target=self._run, name="emr-controller", daemon=True)

    def start(self, runtime: Mapping[str, str]) -> None:
        """Take up all clusters that are not at their end, and go on. `runtime`: environment of all that runs on clusters."""
        self._runtime = runtime
        self._executor.watch(lambda cluster_id, work_id: self.poke(cluster_id))
        with self._database.read() as connection:
            self._poked.update(store.clusters_in(connection, _UNFINISHED))
        self._thread.start()

    def poke(self, cluster_id: str) -> None:
        """Look at a cluster at once."""
        with self._wake:
            self._poked.add(cluster_id)
            self._wake.notify()

    def close(self) -> None:
        """Stop deciding; what runs goes on."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while (ready := self._next()) is not None:
            for cluster_id in ready:
                try:
                    due = self._advance(cluster_id)
                except Exception:
                    if self._closed:
                        return
                    _log.exception("cluster %s could not be moved forward; trying again in %.0f s", cluster_id, _RETRY)
                    due = store.now() + _RETRY
                if due is not None:
                    heapq.heappush(self._deadlines, (due, cluster_id))

    def _next(self) -> set[str] | None:
        """Ids of the clusters to look at; waits until there are some. None when closed."""
        with self._wake:
            while not self._closed:
                now = store.now()
                while self._deadlines and self._deadlines[0][0] <= now:
                    self._poked.add(heapq.heappop(self._deadlines)[1])
                if self._poked:
                    ready, self._poked = self._poked, set()
                    return ready
                self._wake.wait(self._deadlines[0][0] - now if self._deadlines else None)
        return None

    def _advance(self, cluster_id: str) -> float | None:
        with self._database.write() as connection:
            cluster = store.cluster(connection, cluster_id)
            if cluster is None or cluster.state not in _UNFINISHED:
                return None
            look = _Pass(connection, cluster, store.now())
            # A state may be over at once (no bootstrap actions, no steps): go on until one lasts.
            while True:
                before = cluster.state
                self._decide(look)
                if cluster.state == before or (before in READY and cluster.state in READY):
                    break
            cluster.save(connection)
        for act in look.acts:
            act()
        return look.due

    def _decide(self, look: _Pass) -> None:
        state = look.cluster.state
        if state == "STARTING":
            self._starting(look)
        elif state == "BOOTSTRAPPING":
            self._bootstrapping(look)
        elif state in READY:
            self._ready(look)
        elif state == "TERMINATING":
            self._terminating(look)

    # STARTING: the instances are being had.

    def _starting(self, look: _Pass) -> None:
        document = look.cluster.document
        if role := self._roles.untrusting(document["ServiceRole"], _PRINCIPAL, document["ClusterArn"]):
            # As a user of AWS saw it: aws/aws-cdk, pull request 27736.
            transitions.terminate(look.connection, look.cluster, look.now, "VALIDATION_ERROR", f"EMR service role {role} is invalid")
            return
        waits = [look.cluster.work["provisioned_at"]]
        for collection in store.collections(look.connection, look.cluster.id):
            short = collection.work.get("short")
            if short is None:
                continue
            if look.now < short["until"]:
                waits.append(short["until"])
                continue
            del collection.work["short"]
            if short["action"] == "TERMINATE_CLUSTER":
                # The code is AWS's; the message could not be confirmed.
                message = f"The {collection.role} instance fleet timed out while waiting for Spot capacity."
                transitions.terminate(look.connection, look.cluster, look.now, "INSTANCE_FLEET_TIMEOUT", message)
                return
            document = collection.document
            document["TargetOnDemandCapacity"] += short["units"]
            document["TargetSpotCapacity"] -= short["units"]
            nodes.launch(look.connection, collection, look.now)
            collection.save(look.connection)
        if (due := max(waits)) > look.now:
            look.look_again(due)
            return
        for collection in store.collections(look.connection, look.cluster.id):
            nodes.advance(look.connection, collection, "BOOTSTRAPPING", look.now)
        transitions.enter(look.cluster, "BOOTSTRAPPING", None, "Running bootstrap actions")

    # BOOTSTRAPPING: the cluster's software is set up, then its bootstrap actions run one after the other.

    def _bootstrapping(self, look: _Pass) -> None:
        cluster, work = look.cluster, look.cluster.work
        if "refused" in work:
            transitions.terminate(look.connection, cluster, look.now, "VALIDATION_ERROR", work["refused"])
            return
        if not work.get("prepared"):
            look.acts.append(lambda: self._once(("prepare", cluster.id), self._prepare, spec(cluster, self._runtime)))
            return
        actions = work["bootstrap_actions"]
        master = _master_instance(look.connection, cluster)
        while (number := work["bootstrapped"] + 1) <= len(actions):
            outcome = self._outcome(look, self._bootstrap_work(cluster, actions[number - 1], number, master))
            if outcome is None:
                return
            if not outcome.succeeded or work.get("failing_bootstrap") == number:
                _bootstrap_failed(look, master, number, outcome)
                return
            work["bootstrapped"] = number
        if work.get("failing_bootstrap"):
            message = f"On the master instance ({master}), after bootstrap actions were run Hadoop failed to launch"
            transitions.terminate(look.connection, cluster, look.now, "BOOTSTRAP_FAILURE", message)
            return
        for collection in store.collections(look.connection, cluster.id):
            nodes.advance(look.connection, collection, "RUNNING", look.now)
        cluster.document["Status"]["Timeline"]["ReadyDateTime"] = look.now
        cluster.document["MasterPublicDnsName"] = "localhost"
        transitions.enter(cluster, "RUNNING", None, "Running step")

    def _bootstrap_work(self, cluster: Cluster, action: Document, number: int, master: str) -> Work:
        script = action["ScriptBootstrapAction"]
        key = f"{cluster.id}/node/{master}/bootstrap-actions/{number}"
        return Work(str(number), WorkKind.BOOTSTRAP, action["Name"], script["Path"], script.get("Args", ()), log_key=key)

    def _prepare(self, cluster: ClusterSpec) -> None:
        problem = None
        try:
            self._executor.prepare(cluster)
        except ApiError as error:
            problem = error.message
        with self._database.write() as connection:
            row = store.cluster(connection, cluster.id)
            if row is not None:
                row.work |= {"refused": problem} if problem else {"prepared": True}
                row.save(connection)
        self.poke(cluster.id)

    # RUNNING and WAITING: steps.

    def _ready(self, look: _Pass) -> None:
        cluster = look.cluster
        self._resizes(look)
        for step in store.active_steps(look.connection, cluster.id):
            if step.state != "PENDING":
                self._follow(look, step)
                if cluster.state == "TERMINATING":
                    return
        # Read again: a failed step may have cancelled those that wait.
        steps = store.active_steps(look.connection, cluster.id)
        running = sum(step.state != "PENDING" for step in steps)
        free = cluster.document["StepConcurrencyLevel"] - running
        for step in [step for step in steps if step.state == "PENDING"][: max(0, free)]:
            step.document["Status"] |= {"State": "RUNNING"}
            step.document["Status"]["Timeline"]["StartDateTime"] = look.now
            step.save(look.connection)
            look.acts.append(self._starter(look, step_work(step)))
        if steps:
            if cluster.state != "RUNNING":
                transitions.enter(cluster, "RUNNING", None, "Running step")
            cluster.work.pop("idle_since", None)
        else:
            self._idle(look)
        if cluster.state in READY:
            due = scaler.scale(look.connection, cluster, steps, look.now, self.delays)
            if due is not None:
                look.look_again(due)

    def _idle(self, look: _Pass) -> None:
        cluster, work = look.cluster, look.cluster.work
        last = work.get("last_step")
        if not work["keep_alive"]:
            # A reason code is not given after failed steps: seen on real clusters (snowplow/dataflow-runner, pull request 103).
            failed = work.get("failed_steps", 0) > 0
            message = "Steps completed with errors" if failed else "Steps completed"
            transitions.terminate(look.connection, cluster, look.now, None if failed else "ALL_STEPS_COMPLETED", message)
            return
        if cluster.state != "WAITING":
            ready = f"Cluster ready after last step {last.lower()}." if last else "Cluster ready to run steps."
            transitions.enter(cluster, "WAITING", None, ready)
            work["idle_since"] = look.now
        policy = work.get("auto_termination")
        if policy is None:
            return
        # A policy that is attached to an idle cluster counts from then on.
        since = max(work["idle_since"], policy["since"])
        if (due := since + policy["idle"]) > look.now:
            look.look_again(due)
        elif not cluster.document["TerminationProtected"]:
            # Code and message of an auto-termination could not be confirmed.
            transitions.terminate(
                look.connection, cluster, look.now, "ALL_STEPS_COMPLETED", "Cluster was auto-terminated after being idle."
            )

    def _follow(self, look: _Pass, step: Step) -> None:
        cluster = look.cluster
        outcome = self._outcome(look, step_work(step))
        if outcome is None:
            if step.state == "CANCEL_PENDING":
                force = step.work.get("force", False)
                # A second, harder cancellation is passed on too.
                key = ("cancel", cluster.id, step.id, "force" if force else "interrupt")
                if key not in self._under_way:
                    self._under_way.add(key)
                    look.acts.append(lambda: self._executor.cancel(cluster.id, step.id, force=force))
            return
        self._under_way -= {("cancel", cluster.id, step.id, how) for how in ("force", "interrupt")}
        transitions.finish(look.connection, step, outcome, look.now)
        cluster.work["last_step"] = step.state
        if step.state != "FAILED":
            return
        cluster.work["failed_steps"] = cluster.work.get("failed_steps", 0) + 1
        action = step.document["ActionOnFailure"]
        # With concurrent steps a step that fails neither cancels others nor ends the cluster (API reference, StepConfig).
        if action == "CONTINUE" or cluster.document["StepConcurrencyLevel"] > 1:
            return
        for other in store.active_steps(look.connection, cluster.id):
            if other.state == "PENDING":
                transitions.cancel_pending(look.connection, other, look.now, "Job terminated")
        # "If the cluster has termination protection enabled AND auto-terminate disabled, it will not terminate."
        # (Management Guide, "Using termination protection")
        protected = cluster.document["TerminationProtected"] and cluster.work["keep_alive"]
        if action in TERMINATE and not protected:
            transitions.terminate(look.connection, cluster, look.now, "STEP_FAILURE", "Shut down as step failed")

    def _resizes(self, look: _Pass) -> None:
        for collection in store.collections(look.connection, look.cluster.id):
            due = collection.work.get("due")
            if due is None:
                continue
            if due > look.now:
                look.look_again(due)
                continue
            del collection.work["due"]
            nodes.advance(look.connection, collection, "RUNNING", look.now)

    # TERMINATING: everything ends, the last logs are pushed.

    def _terminating(self, look: _Pass) -> None:
        cluster = look.cluster
        if ("prepare", cluster.id) in self._under_way:
            return
        if not cluster.work.get("released"):
            look.acts.append(lambda: self._once(("release", cluster.id), self._release, cluster.id))
            return
        nodes.end_all(look.connection, cluster.id, look.now, "TERMINATED")
        status = cluster.document["Status"]
        state = "TERMINATED" if status["StateChangeReason"].get("Code") in _REGULAR else "TERMINATED_WITH_ERRORS"
        status["State"] = state
        status["Timeline"]["EndDateTime"] = look.now

    def _release(self, cluster_id: str) -> None:
        with self._database.read() as connection:
            running = [step for step in store.active_steps(connection, cluster_id) if step.state != "PENDING"]
        outcomes = {step.id: self._ended(cluster_id, step.id) for step in running}
        self._executor.release(cluster_id)
        with self._database.write() as connection:
            cluster = store.cluster(connection, cluster_id)
            assert cluster is not None
            now = store.now()
            for step in store.active_steps(connection, cluster_id):
                outcome = outcomes.get(step.id)
                if outcome is not None:
                    transitions.finish(connection, step, outcome, now)
                elif step.state == "PENDING":
                    transitions.cancel_pending(connection, step, now, "Job terminated")
                else:
                    transitions.end_step(connection, step, "INTERRUPTED", now, "Job terminated")
            cluster.work["released"] = True
            cluster.save(connection)
        self.poke(cluster_id)

    # The executor.

    def _once(self, key: tuple[str, ...], act: Callable[..., None], *arguments: Any) -> None:
        """Run a slow act in the pool, unless it is under way already."""
        if key in self._under_way:
            return
        self._under_way.add(key)

        def run() -> None:
            try:
                act(*arguments)
            except Exception:
                if not self._closed:
                    _log.exception("%s of %s failed; trying again in %.0f s", key[0], key[1], _RETRY)
                    # Only a thread of the pool waits.
                    self._stopping.wait(_RETRY)
            finally:
                self._under_way.discard(key)
                self.poke(key[1])

        self._pool.submit(run)

    def _starter(self, look: _Pass, work: Work) -> Act:
        target = spec(look.cluster, self._runtime)
        profile = look.cluster.document["Ec2InstanceAttributes"]["IamInstanceProfile"]
        # On EC2 the sessions of a profile are named after the instance.
        instance = _master_instance(look.connection, look.cluster)

        def start() -> None:
            try:
                keys = self._roles.of_role(work.role, work.id) if work.role else self._roles.of_profile(profile, instance)
                self._executor.start(replace(target, runtime={**target.runtime, **keys}), work)
            except Exception as error:
                _log.exception("%s of %s could not be started", work.id, target.id)
                self._refused[target.id, work.id] = Outcome(None, "Unknown Error.", str(error), ended=store.now())
                self.poke(target.id)

        return start

    def _outcome(self, look: _Pass, work: Work) -> Outcome | None:
        """How a piece of work ended. What was decided but never started (the endpoint was killed in between) is started."""
        try:
            return self._refused.pop((look.cluster.id, work.id), None) or self._executor.outcome(look.cluster.id, work.id)
        except KeyError:
            look.acts.append(self._starter(look, work))
            return None

    def _ended(self, cluster_id: str, work_id: str) -> Outcome | None:
        try:
            return self._executor.outcome(cluster_id, work_id)
        except KeyError:
            return None


def spec(cluster: Cluster, runtime: Mapping[str, str]) -> ClusterSpec:
    """What the executor has to know of a cluster."""
    document = cluster.document
    return ClusterSpec(
        id=cluster.id,
        name=document["Name"],
        release=document.get("ReleaseLabel", ""),
        applications=[application["Name"] for application in document["Applications"]],
        configurations=cluster.work["configurations"],
        log_uri=document.get("LogUri"),
        region=cluster.region,
        tags={tag["Key"]: tag.get("Value", "") for tag in document["Tags"]},
        runtime=runtime,
    )


def step_work(step: Step) -> Work:
    """A step as the executor takes it."""
    config = step.document["Config"]
    return Work(
        id=step.id,
        kind=WorkKind.STEP,
        name=step.document["Name"],
        jar=config["Jar"],
        args=config.get("Args", ()),
        main_class=config.get("MainClass"),
        properties=config.get("Properties", {}),
        log_key=f"{step.cluster}/steps/{step.id}",
        role=step.document.get("ExecutionRoleArn"),
    )


def _bootstrap_failed(look: _Pass, master: str, number: int, outcome: Outcome) -> None:
    code = outcome.exit_code if outcome.exit_code else 1
    message = f"On the master instance ({master}), bootstrap action {number} returned a non-zero return code"
    data = {"primary-instance-id": master, "bootstrap-action": str(number), "return-code": str(code)}
    if outcome.log_file:
        data["amazon-s3-path"] = outcome.log_file
    # Management Guide, "BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE"; the keys of its data could not be confirmed.
    look.cluster.document["Status"]["ErrorDetails"] = [
        {"ErrorCode": "BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE", "ErrorData": [data], "ErrorMessage": outcome.message or message}
    ]
    transitions.terminate(look.connection, look.cluster, look.now, "BOOTSTRAP_FAILURE", message)


def _master_instance(connection: sqlite3.Connection, cluster: Cluster) -> str:
    return next(_masters(connection, cluster), "i-00000000000000000")


def _masters(connection: sqlite3.Connection, cluster: Cluster) -> Iterator[str]:
    for collection in store.collections(connection, cluster.id):
        if collection.role == "MASTER":
            for item in store.instances(connection, cluster.id, collection.id):
                yield item["Ec2InstanceId"]
