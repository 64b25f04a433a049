"""A submit happens once, whatever the network and the machine do meanwhile."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from clusters import PROJECT
from emr_faults import FAULTS, Faulty, Killed, MemoryStore, Plane, TestClock, client_error

from framework.config.loader import load
from framework.discovery import discover
from framework.emr import records, submission
from framework.emr.api import EmrApi
from framework.emr.plans import Planned, SubmitPlan, with_trino
from framework.emr.records import Claim, Submits
from framework.emr.step import JobRun, step_name
from framework.emr.submission import Order, Submitted
from framework.errors import AccessRefused, DatasetNotFound, EmrjobsError, ServiceUnavailable, UserError

SCHEDULES = 1000


def order(jobs: Sequence[str] = ("daily_etl",), existing: str | None = None) -> Order:
    def steps(runs: Sequence[JobRun], submit_id: str) -> list[dict[str, Any]]:
        return [{"Name": step_name(run)} for run in runs]

    def request(submit_id: str, made: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"Name": f"emrjobs {','.join(jobs)} {submit_id}", "Steps": list(made)}

    listed = [(job, {"date": "2013-01-15"}, tuple(jobs[:index][-1:])) for index, job in enumerate(jobs)]
    key = records.wish({job: params for job, params, _ in listed}, "prod", existing or "small")
    return Order(key, listed, "prod", "small", request, steps, existing)


class World:
    """A plane, a store and a clock; submits of any number of processes."""

    def __init__(self, lag: float = 0.0) -> None:
        self.clock = TestClock()
        self.plane = Plane(self.clock, lag)
        self.store = MemoryStore()
        self.submits = Submits(self.store)
        self.told: list[str] = []

    def api(self, client: Any = None) -> EmrApi:
        return EmrApi(client or self.plane, client or self.plane, clock=self.clock)

    def submit(self, what: Order | None = None, client: Any = None, store: Any = None) -> Submitted:
        return submission.start(what or order(), self.api(client), Submits(store) if store else self.submits, self.told.append)

    def processes_end(self) -> None:
        """What a killed process holds is held by nobody: here, by an owner whose process number does not exist."""
        for key, found in list(self.store.objects.items()):
            if key.startswith("submits/claims/"):
                owner = Claim(**json.loads(found.data)).owner
                self.store.put(key, found.data.replace(owner.encode(), b"elsewhere:1:x"))
        self.clock.sleep(records.LEASE_SECONDS)


@pytest.fixture
def world() -> World:
    return World()


def test_a_submit_starts_one_cluster_with_its_step(world: World) -> None:
    done = world.submit()
    assert list(world.plane.made) == [done.record.cluster_id]
    assert list(done.record.steps) == [run.run_id for run in done.record.runs]
    assert (done.attached, done.resumed) == (False, False)
    assert world.submits.of_run("latest") == done.record


def test_the_same_submit_attaches_while_the_first_has_not_ended(world: World) -> None:
    first = world.submit()
    again = world.submit()
    assert again.attached
    assert again.record == first.record
    assert len(world.plane.made) == 1


def test_after_its_end_the_same_submit_is_a_new_run(world: World) -> None:
    first = world.submit()
    world.plane.end(first.record.cluster_id or "")
    again = world.submit()
    assert again.record.submit_id != first.record.submit_id
    assert world.plane.active() == [again.record.cluster_id]


def test_other_parameters_are_another_run(world: World) -> None:
    world.submit()
    other = order(("carrier_scorecard",))
    assert not world.submit(other).attached
    assert len(world.plane.active()) == 2


def test_several_jobs_are_steps_of_one_cluster_in_order(world: World) -> None:
    done = world.submit(order(("ingest_weather", "daily_etl", "carrier_scorecard")))
    assert len(world.plane.made) == 1
    names = [one["Name"].split()[0] for one in world.plane.steps[done.record.cluster_id or ""]]
    assert names == ["ingest_weather", "daily_etl", "carrier_scorecard"]
    assert [run.after for run in done.record.runs] == [(), (done.record.runs[0].run_id,), (done.record.runs[1].run_id,)]
    assert world.submits.of_run(done.record.runs[0].run_id) == done.record


def running_cluster(world: World, waiting: int = 0) -> str:
    made = world.plane.run_job_flow(Name="shared", Steps=[])["JobFlowId"]
    for number in range(waiting):
        world.plane.add_job_flow_steps(made, [{"Name": f"other {number}"}])
    return str(made)


def test_an_existing_cluster_gets_the_step_and_stays(world: World) -> None:
    cluster = running_cluster(world)
    done = world.submit(order(existing=cluster))
    assert (done.record.cluster_id, done.record.owned) == (cluster, False)
    assert len(world.plane.steps[cluster]) == 1
    assert world.submit(order(existing=cluster)).attached


@pytest.mark.parametrize("state", ["TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"])
def test_a_cluster_that_ends_takes_no_steps(world: World, state: str) -> None:
    cluster = running_cluster(world)
    world.plane.made[cluster]["Status"]["State"] = state
    with pytest.raises(UserError, match=f"takes no steps: it is {state}"):
        world.submit(order(existing=cluster))


def test_a_cluster_without_spark_is_refused(world: World) -> None:
    cluster = running_cluster(world)
    world.plane.made[cluster]["Applications"] = [{"Name": "Trino"}]
    with pytest.raises(UserError, match="has no Spark, only Trino"):
        world.submit(order(existing=cluster))


def test_a_full_cluster_is_waited_for(world: World) -> None:
    cluster = running_cluster(world, waiting=256)
    asleep = world.clock.sleep

    def sleep(seconds: float) -> None:
        asleep(seconds)
        if len(world.plane.steps[cluster]) == 256 and world.clock.now() > 1_700_000_060:
            world.plane.steps[cluster][0]["Status"]["State"] = "COMPLETED"

    world.clock.sleep = sleep  # type: ignore[method-assign]
    done = world.submit(order(existing=cluster))
    assert len(world.plane.steps[cluster]) == 257
    assert done.record.complete()
    assert any("256 steps waiting" in line for line in world.told)


MANY = tuple(f"job_{number}" for number in range(300))


def work(world: World, steps: int = 100) -> None:
    """Whenever somebody sleeps, so many of the waiting steps of every cluster are done."""
    asleep = world.clock.sleep

    def sleep(seconds: float) -> None:
        asleep(seconds)
        for made in world.plane.steps.values():
            for one in [one for one in made if one["Status"]["State"] == "PENDING"][:steps]:
                one["Status"]["State"] = "COMPLETED"

    world.clock.sleep = sleep  # type: ignore[method-assign]


@pytest.mark.parametrize("shared", [False, True])
def test_more_steps_than_a_cluster_may_have_are_queued_here(shared: bool, world: World) -> None:
    cluster = running_cluster(world) if shared else None
    work(world)
    done = world.submit(order(MANY, existing=cluster))
    names = [one["Name"].split()[0] for one in world.plane.steps[done.record.cluster_id or ""]]
    assert names == list(MANY)
    assert done.record.complete()
    assert len(world.plane.made) == 1


def test_a_cluster_that_ends_before_it_had_all_its_steps_does_not_stand_in_the_way_of_the_next_submit(world: World) -> None:
    asleep = world.clock.sleep

    def fail(seconds: float) -> None:
        asleep(seconds)
        for cluster in world.plane.active():
            world.plane.end(cluster, "FAILED")

    world.clock.sleep = fail  # type: ignore[method-assign]
    with pytest.raises(UserError, match="takes no steps: it is TERMINATED"):
        world.submit(order(MANY))
    world.processes_end()
    world.clock.sleep = asleep  # type: ignore[method-assign]
    work(world)
    done = world.submit(order(MANY))
    assert not done.resumed
    assert done.record.complete()
    assert world.plane.active() == [done.record.cluster_id]


def test_a_step_that_was_added_twice_is_cancelled_once(world: World) -> None:
    cluster = running_cluster(world)
    done = world.submit(order(existing=cluster))
    world.plane.add_job_flow_steps(cluster, [{"Name": step_name(done.record.runs[0])}])
    mine = Claim("", "", 0)
    bringing = submission._Bringing(order(existing=cluster), done.record, mine, world.api(), world.submits, world.told.append, doubt=False)
    assert bringing._own_steps(cluster) == done.record.steps
    assert [one["Status"]["State"] for one in world.plane.steps[cluster]] == ["PENDING", "CANCELLED"]


class Once:
    """A client whose first call of one operation fails after its effect, or before it."""

    def __init__(self, plane: Plane, operation: str, error: BaseException, *, effect: bool) -> None:
        self._plane, self._operation, self._error, self._effect = plane, operation, error, effect
        self._done = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._plane, name)
        if name != self._operation or self._done:
            return method

        def fail(**arguments: Any) -> Any:
            self._done = True
            if self._effect:
                method(**arguments)
            raise self._error

        return fail


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("kind", sorted(set(FAULTS) - {"killed"}))
def test_a_doubtful_answer_makes_no_second_cluster(kind: str, effect: bool) -> None:
    world = World(lag=5.0)
    done = world.submit(client=Once(world.plane, "run_job_flow", FAULTS[kind](), effect=effect))
    assert world.plane.active() == [done.record.cluster_id]
    assert any("looking whether the cluster was created" in line for line in world.told)


@pytest.mark.parametrize("effect", [True, False])
def test_a_doubtful_answer_makes_no_second_step(effect: bool) -> None:
    world = World(lag=5.0)
    cluster = running_cluster(world)
    world.clock.sleep(6)
    world.submit(order(existing=cluster), client=Once(world.plane, "add_job_flow_steps", FAULTS["timed out"](), effect=effect))
    assert len(world.plane.steps[cluster]) == 1


def test_a_call_that_had_its_effect_very_late_is_cleaned_up(world: World) -> None:
    world.plane.lag = 2 * submission.SETTLE_SECONDS
    late = Once(world.plane, "run_job_flow", FAULTS["timed out"](), effect=True)
    with pytest.raises(ServiceUnavailable):
        world.submit(client=late)
    world.clock.sleep(world.plane.lag)
    done = world.submit()
    assert world.plane.active() == [done.record.cluster_id]


def test_what_is_refused_is_said_and_nothing_is_created(world: World) -> None:
    message = "User: arn:aws:iam::1:user/me is not authorized to perform: elasticmapreduce:RunJobFlow on resource: *"
    denied = Once(world.plane, "run_job_flow", client_error("AccessDeniedException", message), effect=False)
    with pytest.raises(AccessRefused, match=r"the permission elasticmapreduce:RunJobFlow on \* is missing"):
        world.submit(client=denied)
    refused = Once(world.plane, "run_job_flow", client_error("ValidationException", "The subnet does not belong to you"), effect=False)
    with pytest.raises(UserError, match="EMR refused it: The subnet does not belong to you"):
        world.submit(client=refused)
    assert not world.plane.made
    with pytest.raises(DatasetNotFound, match="nothing was submitted yet"):
        world.submits.of_run("latest")

    # The same process may try again at once, and looks for nothing that was not created.
    before = world.clock.now()
    done = world.submit()
    assert world.clock.now() == before
    assert not done.resumed
    assert world.plane.active() == [done.record.cluster_id]


def test_a_process_that_gave_up_without_an_answer_may_try_again_at_once(world: World) -> None:
    down = Faulty(world.plane, random.Random(0), 1.0, ["timed out"], [])
    with pytest.raises(ServiceUnavailable):
        world.submit(client=down)
    done = world.submit()
    assert done.resumed
    assert not any("is being submitted by" in line for line in world.told)


def test_a_submit_after_a_crash_goes_on_with_the_same_run(world: World) -> None:
    killer = Once(world.plane, "run_job_flow", Killed(), effect=True)
    with pytest.raises(Killed):
        world.submit(client=killer)
    world.processes_end()
    done = world.submit()
    assert done.resumed
    assert list(world.plane.made) == [done.record.cluster_id]


def test_a_submit_beside_another_waits_for_it_and_attaches(world: World) -> None:
    first = world.submit()
    record = first.record
    # As if the first were still at work: its record is not complete yet.
    world.submits.write(records.replace(record, cluster_id=None, steps={}))
    asleep = world.clock.sleep

    def sleep(seconds: float) -> None:
        asleep(seconds)
        world.submits.write(record)

    world.clock.sleep = sleep  # type: ignore[method-assign]
    second = world.submit()
    assert second.attached
    assert any("is being submitted by" in line for line in world.told)


def schedule(seed: int) -> tuple[World, list[str], Submitted]:
    """One random life of a submit: faults at every call, kills, resubmits by whoever comes next."""
    rng = random.Random(seed)
    world = World(lag=rng.choice([0.0, 0.0, 2.0, 10.0]))
    what = order(("ingest_weather", "daily_etl")[: rng.choice([1, 2])])
    cluster = None
    if rng.random() < 0.4:
        cluster = running_cluster(world)
        world.clock.sleep(world.plane.lag)
        what = order([job for job, _, _ in what.jobs], existing=cluster)
    log: list[str] = []
    for life in range(30):
        rate = rng.choice([0.1, 0.3, 0.5]) if life < 29 else 0.0
        client = Faulty(world.plane, rng, rate, FAULTS, log)
        store = Faulty(world.store, rng, rate / 4, ["killed"], log)
        try:
            return world, log, world.submit(what, client, store)
        except (Killed, EmrjobsError) as exc:
            log.append(f"life {life}: {type(exc).__name__}")
            world.processes_end()
    raise AssertionError(log)


@pytest.mark.parametrize("block", range(10))
def test_random_schedules_end_with_exactly_one_cluster_and_one_step_per_run(block: int) -> None:
    for seed in range(block * SCHEDULES // 10, (block + 1) * SCHEDULES // 10):
        world, log, done = schedule(seed)
        cluster = done.record.cluster_id or ""
        live = [one["Name"] for one in world.plane.steps[cluster] if one["Status"]["State"] != "CANCELLED"]
        assert world.plane.active() == [cluster], (seed, log)
        assert sorted(live) == sorted(step_name(run) for run in done.record.runs), (seed, log)
        assert world.submit(order([run.job for run in done.record.runs], None if done.record.owned else cluster)).attached, seed
        world.plane.end(cluster)
        assert world.plane.active() == [], (seed, log)


def test_a_trino_job_on_the_local_endpoint_is_told_where_this_machines_trino_is() -> None:
    asked: list[object] = []

    class Platform:
        loaded = load(PROJECT, "local_emr", variables={})
        settings = loaded.settings

        def trino_url(self, connections: object) -> str:
            asked.append(connections)
            return "http://127.0.0.1:8080"

    jobs = [discover(PROJECT).get(name) for name in ("daily_etl", "carrier_360", "export_scorecard")]
    made = [SubmitPlan((Planned(job, {}, ()),), *([None] * 10), ("a=b",)) for job in jobs]  # type: ignore[arg-type]
    overrides = [with_trino(Platform(), one).overrides for one in made]  # type: ignore[arg-type]
    told = ("a=b", "trino.url=http://127.0.0.1:8080")
    assert overrides == [("a=b",), told, told]
    assert asked == [{"airline_ops", "search"}, {"airline_ops"}]  # of the last it is the output's
