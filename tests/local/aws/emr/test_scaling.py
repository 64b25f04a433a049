"""Scaling policies are carried out: what running steps ask for becomes the size of groups and fleets, within the limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from framework.local.aws.emr.delays import Delays
from framework.local.aws.emr.scaler import Part, containers, spread

from .conftest import PROVISIONING, Emr, group, wait
from .test_rules import fleet, fleets


@pytest.fixture(scope="module")
def emr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emr]:
    """Capacity that is too large goes at once, and a period of five minutes lasts 50 ms."""
    one = Emr(tmp_path_factory.mktemp("scaling") / "state", delays=Delays(PROVISIONING, scale_in=0.0, metric_period=0.05))
    one.start()
    yield one
    one.stop()


def limits(least: int, most: int, **more: Any) -> dict[str, Any]:
    return {"UnitType": "Instances", "MinimumCapacityUnits": least, "MaximumCapacityUnits": most, **more}


def managed(least: int, most: int, **more: Any) -> dict[str, Any]:
    return {"ManagedScalingPolicy": {"ComputeLimits": limits(least, most, **more)}}


def spark(executors: int) -> dict[str, Any]:
    """A step that runs until a test ends it."""
    args = ["spark-submit", "--num-executors", str(executors), "s3://code/job.py"]
    return {"Name": "load", "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "hold", "Args": args}}


def groups(*items: dict[str, Any]) -> dict[str, Any]:
    return {"InstanceGroups": [group("MASTER"), *items], "KeepJobFlowAliveWhenNoSteps": True}


def sizes(emr: Emr, cluster: str) -> dict[str, int]:
    """Running instances by role and market, once nothing is being resized."""
    listed = emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    if any(one["Status"]["State"] != "RUNNING" or one["RequestedInstanceCount"] != one["RunningInstanceCount"] for one in listed):
        return {}
    return {
        f"{one['InstanceGroupType']} {one['Market']}": one["RunningInstanceCount"] for one in listed if one["InstanceGroupType"] != "MASTER"
    }


def reach(emr: Emr, cluster: str, **wanted: int) -> None:
    expected = {name.replace("_", " ", 1): count for name, count in wanted.items()}
    wait(lambda: sizes(emr, cluster) == expected)


# ------------------------------------------------------------------------------------------------- what a step asks for


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["spark-submit", "--num-executors", "7", "a.py"], 7),
        (["spark-submit", "--num-executors=4", "a.py"], 4),
        (["spark-submit", "--conf", "spark.executor.instances=3", "a.py"], 3),
        (["spark-submit", "--conf", "spark.executor.instances=3", "--conf", "spark.x=9", "a.py"], 3),
        (["spark-submit", "a.py"], 2),
        (["bash", "-c", "true"], 2),
    ],
)
def test_a_step_asks_for_the_executors_that_it_names_or_the_clusters_default(args: list[str], expected: int) -> None:
    assert containers(args, {"spark.executor.instances": "2"}) == expected


def test_a_step_that_names_none_asks_for_one() -> None:
    assert containers(["hadoop-streaming"], {}) == 1


# ------------------------------------------------------------------------------------------------------ where it is put


@pytest.mark.parametrize(
    ("before", "wanted", "more", "after"),
    [
        # The scenarios of the Management Guide, "Understanding node allocation strategy": core before task, On-Demand before Spot.
        ((2, 0, 0), 6, {}, (6, 0, 0)),
        ((2, 0, 0), 6, {"MaximumCoreCapacityUnits": 3}, (3, 3, 0)),
        ((2, 0, 0), 9, {"MaximumCoreCapacityUnits": 3, "MaximumOnDemandCapacityUnits": 5}, (3, 2, 4)),
        ((2, 0, 0), 30, {"MaximumCoreCapacityUnits": 3, "MaximumOnDemandCapacityUnits": 5}, (3, 2, 5)),
        ((2, 0, 0), 6, {"MaximumOnDemandCapacityUnits": 2}, (2, 0, 4)),
        # Away from task before core, from Spot before On-Demand, and never below the minimum.
        ((3, 2, 4), 8, {}, (3, 2, 3)),
        ((3, 2, 4), 4, {}, (3, 1, 0)),
        ((3, 2, 4), 0, {}, (2, 0, 0)),
    ],
)
def test_capacity_is_added_and_taken_away_in_emrs_order(
    before: tuple[int, ...], wanted: int, more: dict[str, int], after: tuple[int, ...]
) -> None:
    kinds = [("CORE", "ON_DEMAND"), ("TASK", "ON_DEMAND"), ("TASK", "SPOT")]
    parts = [Part(role, market, units) for (role, market), units in zip(kinds, before, strict=True)]
    spread(parts, limits(2, 10, **more), wanted)
    assert tuple(part.units for part in parts) == after


def test_in_vcpu_only_whole_instances_are_added() -> None:
    parts = [Part("CORE", "ON_DEMAND", 8, 4), Part("TASK", "SPOT", 0, 16)]
    spread(parts, limits(8, 30, MaximumCoreCapacityUnits=12), 30)
    assert [part.units for part in parts] == [12, 16]


# ----------------------------------------------------------------------------------------------------- managed scaling


def test_a_cluster_grows_with_its_running_steps_and_shrinks_after_them(emr: Emr) -> None:
    instances = groups(group("CORE", 1), group("TASK", 0, Market="SPOT"))
    cluster = emr.run(instances=instances, Steps=[], **managed(2, 6, MaximumCoreCapacityUnits=3))
    reach(emr, cluster, CORE_ON_DEMAND=2, TASK_SPOT=0)
    emr.api.add_job_flow_steps(JobFlowId=cluster, Steps=[spark(5)])
    reach(emr, cluster, CORE_ON_DEMAND=3, TASK_SPOT=2)
    emr.executor.finish(cluster, emr.steps(cluster)[0]["Id"])
    reach(emr, cluster, CORE_ON_DEMAND=2, TASK_SPOT=0)
    ended = emr.api.list_instances(ClusterId=cluster, InstanceStates=["TERMINATED"])["Instances"]
    assert len(ended) == 3
    assert all(item["Status"]["Timeline"]["EndDateTime"] >= item["Status"]["Timeline"]["ReadyDateTime"] for item in ended)


def test_a_group_is_resizing_until_its_new_instances_run(emr: Emr, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = emr.run(instances=groups(group("CORE", 1)), **managed(1, 4))
    reach(emr, cluster, CORE_ON_DEMAND=1)
    monkeypatch.setattr(emr.delays, "provisioning", 0.5)
    emr.api.add_job_flow_steps(JobFlowId=cluster, Steps=[spark(3)])

    def core() -> dict[str, Any]:
        return dict(emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"][1])

    wait(lambda: core()["Status"]["State"] == "RESIZING")
    assert (core()["RequestedInstanceCount"], core()["RunningInstanceCount"]) == (3, 1)
    states = [item["Status"]["State"] for item in emr.api.list_instances(ClusterId=cluster, InstanceGroupTypes=["CORE"])["Instances"]]
    assert sorted(states) == ["PROVISIONING", "PROVISIONING", "RUNNING"]
    reach(emr, cluster, CORE_ON_DEMAND=3)


def test_steps_that_wait_for_their_turn_ask_for_nothing(emr: Emr) -> None:
    cluster = emr.run(instances=groups(group("CORE", 1)), Steps=[spark(2), spark(9)], **managed(1, 10))
    reach(emr, cluster, CORE_ON_DEMAND=2)
    emr.executor.finish(cluster, emr.steps(cluster)[0]["Id"])
    reach(emr, cluster, CORE_ON_DEMAND=9)


def test_a_policy_that_is_put_or_changed_bounds_a_waiting_cluster_at_once(emr: Emr) -> None:
    cluster = emr.run(instances=groups(group("CORE", 5)))
    reach(emr, cluster, CORE_ON_DEMAND=5)
    emr.api.put_managed_scaling_policy(ClusterId=cluster, **managed(1, 3))
    wait(lambda: sizes(emr, cluster).get("CORE ON_DEMAND", 9) <= 3)
    emr.api.put_managed_scaling_policy(ClusterId=cluster, **managed(4, 8))
    reach(emr, cluster, CORE_ON_DEMAND=4)
    emr.api.remove_managed_scaling_policy(ClusterId=cluster)
    emr.api.add_job_flow_steps(JobFlowId=cluster, Steps=[spark(8)])
    emr.reach_steps(cluster, "RUNNING")
    reach(emr, cluster, CORE_ON_DEMAND=4)


def test_limits_in_vcpu_count_those_of_the_groups_instance_type(emr: Emr) -> None:
    wanted = managed(4, 15)
    wanted["ManagedScalingPolicy"]["ComputeLimits"]["UnitType"] = "VCPU"
    cluster = emr.run(instances=groups(group("CORE", 1, kind="m5.xlarge")), Steps=[spark(9)], **wanted)
    reach(emr, cluster, CORE_ON_DEMAND=3)


def test_fleets_are_scaled_in_units_and_spot_takes_what_is_over_the_on_demand_limit(emr: Emr) -> None:
    wanted = managed(1, 8, MaximumCoreCapacityUnits=2, MaximumOnDemandCapacityUnits=3)
    wanted["ManagedScalingPolicy"]["ComputeLimits"]["UnitType"] = "InstanceFleetUnits"
    cluster = emr.run(instances=fleets(fleet("MASTER"), fleet("CORE"), fleet("TASK", 0, 1)), Steps=[spark(7)], **wanted)

    def provisioned() -> dict[str, tuple[int, int]]:
        listed = emr.api.list_instance_fleets(ClusterId=cluster)["InstanceFleets"]
        return {one["InstanceFleetType"]: (one["ProvisionedOnDemandCapacity"], one["ProvisionedSpotCapacity"]) for one in listed}

    wait(lambda: provisioned() == {"MASTER": (1, 0), "CORE": (2, 0), "TASK": (1, 4)})


def test_a_scaled_cluster_is_found_as_it_was_after_a_restart(tmp_path: Path) -> None:
    emr = Emr(tmp_path / "state", delays=Delays(PROVISIONING, scale_in=0.0))
    emr.start()
    cluster = emr.run(instances=groups(group("CORE", 1)), Steps=[spark(3)], **managed(1, 4))
    reach(emr, cluster, CORE_ON_DEMAND=3)
    emr.stop()
    emr.executor.finish(cluster, next(work.id for work in emr.executor.started))
    emr.start()
    try:
        reach(emr, cluster, CORE_ON_DEMAND=1)
    finally:
        emr.stop()


# --------------------------------------------------------------------------------------------------- automatic scaling


def policy(least: int, most: int, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"Constraints": {"MinCapacity": least, "MaxCapacity": most}, "Rules": [*rules]}


def rule(
    name: str, metric: str, comparison: str, threshold: float, by: int, kind: str = "CHANGE_IN_CAPACITY", **alarm: Any
) -> dict[str, Any]:
    definition = {"ComparisonOperator": comparison, "MetricName": metric, "Period": 300, "Threshold": threshold, **alarm}
    action = {"AdjustmentType": kind, "ScalingAdjustment": by, "CoolDown": 300}
    return {
        "Name": name,
        "Action": {"SimpleScalingPolicyConfiguration": action},
        "Trigger": {"CloudWatchAlarmDefinition": definition},
    }


# The default policy of EMR's console: out when memory is short or containers wait, in when there is much memory.
OUT = rule("out", "YARNMemoryAvailablePercentage", "LESS_THAN", 15.0, 1)
IN = rule("in", "YARNMemoryAvailablePercentage", "GREATER_THAN", 75.0, -1)


def scaled(emr: Emr, count: int, wanted: dict[str, Any], *steps: dict[str, Any]) -> str:
    task = group("TASK", count, AutoScalingPolicy=wanted)
    return emr.run(instances=groups(group("CORE", 1), task), Steps=[*steps], AutoScalingRole="EMR_AutoScaling_DefaultRole")


def test_rules_scale_a_group_out_under_load_and_in_without_it(emr: Emr) -> None:
    cluster = scaled(emr, 1, policy(1, 4, OUT, IN), spark(20))
    reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=4)
    emr.executor.finish(cluster, emr.steps(cluster)[0]["Id"])
    reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=1)


def test_a_rule_fires_only_after_all_its_periods_and_its_cooldown(emr: Emr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emr.delays, "metric_period", 600.0)
    cluster = scaled(emr, 1, policy(1, 4, rule("out", "ContainerPending", "GREATER_THAN", 0, 1, EvaluationPeriods=2)), spark(20))
    emr.reach_steps(cluster, "RUNNING")
    reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=1)
    monkeypatch.setattr(emr.delays, "metric_period", 0.05)
    emr.api.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=1)  # has the controller look
    reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=4)


@pytest.mark.parametrize(
    ("kind", "by", "after"), [("PERCENT_CHANGE_IN_CAPACITY", 60, 9), ("EXACT_CAPACITY", 7, 7), ("CHANGE_IN_CAPACITY", 30, 9)]
)
def test_adjustments_of_each_type_stay_within_the_constraints(emr: Emr, kind: str, by: int, after: int) -> None:
    cluster = scaled(emr, 2, policy(1, 9, rule("out", "ContainerPendingRatio", "GREATER_THAN_OR_EQUAL", 0.75, by, kind)), spark(90))
    reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=after)


def test_a_group_outside_the_constraints_is_brought_inside_when_its_policy_is_attached(emr: Emr) -> None:
    cluster = emr.run(instances=groups(group("CORE", 1), group("TASK", 1)), AutoScalingRole="EMR_AutoScaling_DefaultRole")
    reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=1)
    task = emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"][2]["Id"]
    for bounds, expected in (((3, 5), 3), ((1, 2), 2)):
        answer = emr.api.put_auto_scaling_policy(ClusterId=cluster, InstanceGroupId=task, AutoScalingPolicy=policy(*bounds, OUT))
        assert answer["AutoScalingPolicy"]["Status"]["State"] == "PENDING"
        reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=expected)
    assert emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"][2]["AutoScalingPolicy"]["Status"]["State"] == "ATTACHED"


def test_a_policy_that_was_removed_scales_nothing(emr: Emr) -> None:
    cluster = scaled(emr, 1, policy(1, 4, OUT))
    reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=1)
    task = emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"][2]["Id"]
    emr.api.remove_auto_scaling_policy(ClusterId=cluster, InstanceGroupId=task)
    emr.api.add_job_flow_steps(JobFlowId=cluster, Steps=[spark(20)])
    emr.reach_steps(cluster, "RUNNING")
    reach(emr, cluster, CORE_ON_DEMAND=1, TASK_ON_DEMAND=1)


def test_a_cluster_has_one_kind_of_scaling(emr: Emr) -> None:
    cluster = scaled(emr, 1, policy(1, 4, OUT))
    with pytest.raises(ClientError, match="not both"):
        emr.api.put_managed_scaling_policy(ClusterId=cluster, **managed(1, 3))
    with pytest.raises(ClientError, match="not both"):
        emr.run(instances=groups(group("CORE", 1, AutoScalingPolicy=policy(1, 4, OUT))), AutoScalingRole="r", **managed(1, 3))
    with pytest.raises(ClientError, match="unique"):
        scaled(emr, 1, policy(1, 4, OUT, OUT))
