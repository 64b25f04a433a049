"""What EMR documents about requests, beyond their shapes."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Emr, group, step


def instances(*groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"InstanceGroups": [*groups] or [group("MASTER")], "KeepJobFlowAliveWhenNoSteps": True, **more}


def fleet(role: str, on_demand: int = 1, spot: int = 0, types: int = 1, **more: Any) -> dict[str, Any]:
    kinds = ["m5.xlarge", "m5.2xlarge", "m5.4xlarge", "m5.8xlarge", "m5a.xlarge", "m5a.2xlarge", "m5a.4xlarge"]
    return {
        "InstanceFleetType": role,
        "TargetOnDemandCapacity": on_demand,
        "TargetSpotCapacity": spot,
        "InstanceTypeConfigs": [{"InstanceType": kind} for kind in kinds[:types]],
        **more,
    }


def fleets(*items: dict[str, Any]) -> dict[str, Any]:
    return {"InstanceFleets": [*items], "KeepJobFlowAliveWhenNoSteps": True}


def spot(timeout: int) -> dict[str, Any]:
    return {"SpotSpecification": {"TimeoutDurationMinutes": timeout, "TimeoutAction": "TERMINATE_CLUSTER"}}


STRATEGY = {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}}
LIMITS = {"UnitType": "Instances", "MinimumCapacityUnits": 2, "MaximumCapacityUnits": 5}
SCALING_RULE = {
    "Name": "out",
    "Action": {"SimpleScalingPolicyConfiguration": {"ScalingAdjustment": 1}},
    "Trigger": {
        "CloudWatchAlarmDefinition": {
            "ComparisonOperator": "LESS_THAN",
            "MetricName": "YARNMemoryAvailablePercentage",
            "Period": 300,
            "Threshold": 15.0,
        }
    },
}


def auto_scaling(least: int, most: int) -> dict[str, Any]:
    return {"Constraints": {"MinCapacity": least, "MaxCapacity": most}, "Rules": [SCALING_RULE]}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"ReleaseLabel": "emr-9.9.9"}, "The supplied release label is invalid: emr-9.9.9."),
    ({"AmiVersion": "3.11"}, "Only one AMI version and release label may be specified"),
    ({"Applications": [{"Name": "Sparc"}]}, "application Sparc"),
    ({"Applications": [{"Name": "Trino"}, {"Name": "Presto"}]}, "Trino and Presto"),
    ({"ReleaseLabel": "emr-spark-8.0.0", "Applications": [{"Name": "Trino"}]}, "application Trino"),
    ({"ServiceRole": ""}, "ServiceRole is required for creating cluster."),
    ({"JobFlowRole": ""}, "InstanceProfile is required for creating cluster."),
    ({"LogUri": "logs/here"}, "LogUri"),
    ({"LogUri": "s3:///logs"}, "LogUri"),
    ({"SecurityConfiguration": "nope"}, "'nope' does not exist"),
    ({"StepConcurrencyLevel": 0}, "step concurrency level 0"),
    ({"StepConcurrencyLevel": 257}, "step concurrency level 257"),
    ({"StepConcurrencyLevel": 2, "Steps": [step("ok", "TERMINATE_CLUSTER")]}, "ActionOnFailure TERMINATE_CLUSTER is not valid"),
    ({"StepConcurrencyLevel": 2, "Steps": [step("ok", "CANCEL_AND_WAIT")]}, "ActionOnFailure CANCEL_AND_WAIT is not valid"),
    ({"Steps": [step("ok")] * 257}, "Maximum number of active steps"),
    ({"Steps": [step("x" * 10239, name="long")]}, "10240 characters"),
    ({"AutoTerminationPolicy": {"IdleTimeout": 59}}, "between 60 and 604800"),
    ({"AutoTerminationPolicy": {"IdleTimeout": 604801}}, "between 60 and 604800"),
    ({"Configurations": [{"Classification": "spark-default"}]}, "classification 'spark-default'"),
    ({"Configurations": [{"Classification": "spark-env"}] * 2}, "more than once"),
    ({"BootstrapActions": [{"Name": "b", "ScriptBootstrapAction": {"Path": "http://x/b.sh"}}]}, "bootstrap action b"),
    ({"BootstrapActions": [{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://x/b.sh"}}] * 17}, "at most 16"),
    ({"Tags": [{"Key": "aws:x", "Value": "y"}]}, "tag 'aws:x'"),
    ({"Tags": [{"Key": str(number), "Value": ""} for number in range(51)]}, "at most 50 tags"),
    ({"ManagedScalingPolicy": {"ComputeLimits": {**LIMITS, "MinimumCapacityUnits": 6}}}, "MinimumCapacityUnits"),
    ({"ManagedScalingPolicy": {"ComputeLimits": {**LIMITS, "MaximumCoreCapacityUnits": 6}}}, "MaximumCoreCapacityUnits"),
    ({"ManagedScalingPolicy": {"ComputeLimits": {**LIMITS, "UnitType": "InstanceFleetUnits"}}}, "InstanceFleetUnits"),
    ({"instances": instances(group("CORE"))}, "exactly one MASTER"),
    ({"instances": instances(group("MASTER"), group("MASTER"))}, "exactly one MASTER"),
    ({"instances": instances(group("MASTER"), group("CORE"), group("CORE"))}, "at most one CORE"),
    ({"instances": instances(group("MASTER", 2))}, "exactly 3 instances"),
    ({"instances": instances(group("MASTER", kind="m5.tiny"))}, "Instance type 'm5.tiny' is not supported."),
    ({"instances": instances(Ec2SubnetId="net-1")}, "subnet ID 'net-1'"),
    ({"instances": instances(Ec2SubnetIds=["subnet-0123abcd", "subnet-0123abce"])}, "several subnets"),
    ({"instances": instances(EmrManagedMasterSecurityGroup="sg-1")}, "EmrManagedSlaveSecurityGroup"),
    ({"instances": {**instances(), **fleets(fleet("MASTER"))}}, "mutually exclusive"),
    ({"instances": fleets(fleet("CORE"))}, "exactly one MASTER instance fleet"),
    ({"instances": fleets(fleet("MASTER", 2))}, "target capacity of 1"),
    ({"instances": fleets(fleet("MASTER"), fleet("CORE", 0))}, "should be greater than 0"),
    ({"instances": fleets(fleet("MASTER"), fleet("TASK"), fleet("TASK"))}, "at most one TASK"),
    ({"instances": fleets(fleet("MASTER"), fleet("CORE", types=6))}, "between 1 and 5 instance types"),
    ({"instances": fleets(fleet("MASTER"), fleet("CORE", spot=1, LaunchSpecifications=spot(4)))}, "between 5 and 1440"),
    (
        {"instances": instances(group("MASTER"), group("CORE", AutoScalingPolicy=auto_scaling(1, 3)))},
        "AutoScalingRole",
    ),
    (
        {"AutoScalingRole": "r", "instances": instances(group("MASTER"), group("CORE", AutoScalingPolicy=auto_scaling(3, 1)))},
        "MinCapacity",
    ),
]


@pytest.mark.parametrize(("request_", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_cluster_that_emr_would_not_start_is_refused(emr: Emr, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError) as refused:
        emr.run(**request_)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert message in refused.value.response["Error"]["Message"]


def test_a_refused_cluster_leaves_nothing_behind(emr: Emr) -> None:
    with pytest.raises(ClientError):
        emr.run(Name="refused", SecurityConfiguration="nope")
    assert not [item for item in emr.api.list_clusters()["Clusters"] if item["Name"] == "refused"]


def test_what_emr_allows_is_accepted(emr: Emr) -> None:
    emr.api.create_security_configuration(Name="sec", SecurityConfiguration="{}")
    catalog = {"Classification": "trino-connector-postgresql", "Properties": {"connection-url": "jdbc:postgresql://h/d"}}
    export = {"Classification": "spark-env", "Configurations": [{"Classification": "export", "Properties": {"A": "b"}}]}
    cluster = emr.run(
        instances=fleets(fleet("MASTER"), fleet("CORE", 2, types=7, LaunchSpecifications=STRATEGY), fleet("TASK", 0, 4)),
        SecurityConfiguration="sec",
        Applications=[{"Name": "Trino"}, {"Name": "Spark"}],
        Configurations=[catalog, export],
        ManagedScalingPolicy={"ComputeLimits": {**LIMITS, "UnitType": "InstanceFleetUnits"}},
        AutoTerminationPolicy={"IdleTimeout": 3600},
    )
    described = emr.cluster(cluster)
    assert [(item["Name"], item["Version"]) for item in described["Applications"]] == [("Trino", "476-amzn-1"), ("Spark", "3.5.6-amzn-1")]
    assert described["InstanceCollectionType"] == "INSTANCE_FLEET"


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("describe_cluster", {"ClusterId": "j-NONE"}),
        ("list_steps", {"ClusterId": "j-NONE"}),
        ("describe_step", {"ClusterId": "j-NONE", "StepId": "s-1"}),
        ("list_instances", {"ClusterId": "j-NONE"}),
        ("list_instance_groups", {"ClusterId": "j-NONE"}),
        ("cancel_steps", {"ClusterId": "j-NONE", "StepIds": ["s-1"]}),
        ("add_tags", {"ResourceId": "j-NONE", "Tags": []}),
        ("modify_cluster", {"ClusterId": "j-NONE"}),
    ],
)
def test_an_unknown_cluster_is_an_invalid_request(emr: Emr, operation: str, request_: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(emr.api, operation)(**request_)
    error = refused.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("InvalidRequestException", "Cluster id 'j-NONE' is not valid.")


@pytest.mark.parametrize("operation", ["terminate_job_flows", "set_termination_protection", "add_job_flow_steps"])
def test_an_unknown_job_flow_is_a_validation_error(emr: Emr, operation: str) -> None:
    request: dict[str, Any] = {"JobFlowIds": ["j-NONE"]}
    if operation == "set_termination_protection":
        request["TerminationProtected"] = True
    if operation == "add_job_flow_steps":
        request = {"JobFlowId": "j-NONE", "Steps": [step("ok")]}
    with pytest.raises(ClientError, match=r"ValidationException.*Specified job flow ID does not exist."):
        getattr(emr.api, operation)(**request)


def test_an_unknown_step_is_an_invalid_request(emr: Emr) -> None:
    with pytest.raises(ClientError, match=r"InvalidRequestException.*Step id 's-NONE' is not valid."):
        emr.api.describe_step(ClusterId=emr.run(), StepId="s-NONE")


def test_a_cluster_that_has_ended_takes_no_changes(emr: Emr) -> None:
    cluster = emr.run(keep_alive=False)
    emr.reach(cluster, "TERMINATED")
    with pytest.raises(ClientError, match="shutting down, terminating, or finished may not be modified"):
        emr.add(cluster, "ok")
    with pytest.raises(ClientError, match="may not be modified"):
        emr.api.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=True)
    with pytest.raises(ClientError, match="may not be modified"):
        emr.api.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=2)


def test_no_more_than_256_steps_wait_and_run(emr: Emr) -> None:
    cluster = emr.run("hold")
    emr.add(cluster, *["ok"] * 255)
    with pytest.raises(ClientError, match="Maximum number of active steps"):
        emr.add(cluster, "ok")
    emr.api.terminate_job_flows(JobFlowIds=[cluster])
