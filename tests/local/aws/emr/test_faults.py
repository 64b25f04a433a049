"""Faults on demand."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError

from .conftest import Emr, wait
from .test_rules import fleet, fleets


def named(emr: Emr, name: str) -> list[str]:
    pages = emr.api.get_paginator("list_clusters").paginate()
    return [item["Id"] for page in pages for item in page["Clusters"] if item["Name"] == name]


def test_calls_throttle_as_often_as_the_rule_says(emr: Emr) -> None:
    assert emr.faults("PUT", [{"kind": "throttle", "operation": "List*", "count": 2, "skip": 1}])[0] == 200
    emr.api.list_clusters()
    for _ in range(2):
        with pytest.raises(ClientError, match="ThrottlingException"):
            emr.api.list_clusters()
    emr.api.list_clusters()
    assert emr.faults("GET")[1][0]["happened"] == 2


@pytest.mark.parametrize(
    ("kind", "error", "acted"),
    [
        ("throttle", ClientError, 0),
        ("throttle-after-acting", ClientError, 1),
        ("drop-before-acting", ConnectionClosedError, 0),
        ("drop-after-acting", ConnectionClosedError, 1),
    ],
)
def test_a_doubtful_answer(emr: Emr, kind: str, error: type[Exception], acted: int) -> None:
    emr.faults("PUT", [{"kind": kind, "operation": "RunJobFlow", "contains": f"{kind}-cluster", "count": 1}])
    with pytest.raises(error):
        emr.run(Name=f"{kind}-cluster")
    assert len(named(emr, f"{kind}-cluster")) == acted


def test_a_call_times_out_after_acting(emr: Emr) -> None:
    emr.faults("PUT", [{"kind": "timeout-after-acting", "operation": "AddTags", "seconds": 1.0, "count": 1}])
    cluster = emr.run()
    impatient = emr.client(read_timeout=0.2)
    with pytest.raises((ReadTimeoutError, HTTPClientError)):
        impatient.add_tags(ResourceId=cluster, Tags=[{"Key": "a", "Value": "b"}])
    impatient.close()
    assert emr.cluster(cluster)["Tags"] == [{"Key": "a", "Value": "b"}]


def test_a_header_asks_for_a_fault_of_one_call(emr: Emr) -> None:
    client = emr.client()
    client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header("x-emrjobs-fault", "throttle"))
    with pytest.raises(ClientError, match="ThrottlingException"):
        client.list_clusters()
    client.close()
    emr.api.list_clusters()


def draws(emr: Emr, seed: int) -> list[bool]:
    emr.faults("PUT", [{"kind": "throttle", "operation": "ListClusters", "probability": 0.5, "seed": seed}])
    result = []
    for _ in range(12):
        try:
            emr.api.list_clusters()
            result.append(True)
        except ClientError:
            result.append(False)
    return result


def test_the_same_seed_meets_the_same_faults(emr: Emr) -> None:
    assert draws(emr, 7) == draws(emr, 7)
    assert draws(emr, 7) != draws(emr, 8)


@pytest.mark.parametrize(
    "rule", [{"kind": "fire"}, {"kind": "throttle", "often": 1}, {"kind": "throttle", "count": "two"}, "throttle", {"operation": "x"}]
)
def test_a_rule_that_makes_no_sense_is_refused(emr: Emr, rule: Any) -> None:
    status, answer = emr.faults("PUT", [rule])
    assert status == 400
    assert "fault" in answer["error"]
    assert emr.faults("GET")[1] == []


def spot_fleets(action: str, target: int = 4) -> dict[str, Any]:
    specification = {"SpotSpecification": {"TimeoutDurationMinutes": 5, "TimeoutAction": action}}
    return fleets(fleet("MASTER"), fleet("TASK", 0, target, LaunchSpecifications=specification))


def task_fleet(emr: Emr, cluster: str) -> dict[str, Any]:
    listed = emr.api.list_instance_fleets(ClusterId=cluster)["InstanceFleets"]
    return next(item for item in listed if item["InstanceFleetType"] == "TASK")


def test_a_fleet_that_is_short_of_spot_switches_to_on_demand(emr: Emr) -> None:
    emr.faults("PUT", [{"kind": "spot-shortage", "cluster": "short-switch", "units": 1, "seconds": 0.5}])
    cluster = emr.run(Name="short-switch", instances=spot_fleets("SWITCH_TO_ON_DEMAND"))
    emr.reach(cluster, "WAITING")
    found = task_fleet(emr, cluster)
    assert (found["ProvisionedSpotCapacity"], found["ProvisionedOnDemandCapacity"]) == (1, 3)


def test_a_fleet_that_is_short_of_spot_ends_the_cluster(emr: Emr) -> None:
    emr.faults("PUT", [{"kind": "spot-shortage", "cluster": "short-end", "seconds": 0.2}])
    cluster = emr.run("ok", Name="short-end", instances=spot_fleets("TERMINATE_CLUSTER"))
    assert emr.reach(cluster, "TERMINATED_WITH_ERRORS")["StateChangeReason"]["Code"] == "INSTANCE_FLEET_TIMEOUT"
    assert emr.step_states(cluster) == ["CANCELLED"]


def test_an_interrupted_spot_instance_is_replaced(emr: Emr) -> None:
    cluster = emr.run(Name="interrupted", instances=spot_fleets("SWITCH_TO_ON_DEMAND", 2))
    emr.reach(cluster, "WAITING")
    assert emr.faults("POST", {"kind": "spot-interruption", "cluster": "interrupted"})[0] == 200
    ended = emr.api.list_instances(ClusterId=cluster, InstanceStates=["TERMINATED"])["Instances"]
    assert [item["Status"]["StateChangeReason"]["Code"] for item in ended] == ["INSTANCE_FAILURE"]
    wait(lambda: task_fleet(emr, cluster)["ProvisionedSpotCapacity"] == 2)
    status, answer = emr.faults("POST", {"kind": "spot-interruption", "cluster": "nobody"})
    assert status == 400
    assert "No TASK Spot instance runs" in answer["error"]


@pytest.mark.parametrize(("action", "ending"), [(1, "bootstrap action 1 returned a non-zero return code"), (9, "Hadoop failed to launch")])
def test_a_bootstrap_fails_on_demand(emr: Emr, action: int, ending: str) -> None:
    emr.faults("PUT", [{"kind": "bootstrap-failure", "cluster": "boot", "action": action, "count": 1}])
    cluster = emr.run(Name="boot", BootstrapActions=[{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://code/ok"}}])
    reason = emr.reach(cluster, "TERMINATED_WITH_ERRORS")["StateChangeReason"]
    assert reason["Code"] == "BOOTSTRAP_FAILURE"
    assert reason["Message"].endswith(ending)
