"""Every operation, as boto3 sees it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Emr, group, step, wait
from .test_rules import LIMITS, auto_scaling, fleet, fleets


def test_a_cluster_is_described_as_it_was_asked_for(emr: Emr) -> None:
    cluster = emr.run(
        instances={
            "InstanceGroups": [group("MASTER"), group("CORE", 2, Market="SPOT", BidPrice="0.1")],
            "Ec2KeyName": "key",
            "Ec2SubnetId": "subnet-0123abcd",
            "TerminationProtected": False,
        },
        Name="nightly",
        LogUri="s3://logs/emr",
        Steps=[step("hold")],
        Tags=[{"Key": "team", "Value": "data"}],
        ScaleDownBehavior="TERMINATE_AT_TASK_COMPLETION",
        EbsRootVolumeSize=32,
    )
    described = emr.cluster(cluster)
    assert described["Name"] == "nightly"
    assert described["LogUri"] == "s3://logs/emr/"
    assert described["AutoTerminate"] is True
    assert described["Tags"] == [{"Key": "team", "Value": "data"}]
    assert described["Ec2InstanceAttributes"]["Ec2SubnetId"] == "subnet-0123abcd"
    assert described["Ec2InstanceAttributes"]["IamInstanceProfile"] == "EMR_EC2_DefaultRole"
    assert described["EbsRootVolumeSize"] == 32
    assert described["ClusterArn"] == f"arn:aws:elasticmapreduce:us-east-1:123456789012:cluster/{cluster}"
    assert isinstance(described["Status"]["Timeline"]["CreationDateTime"], dt.datetime)
    emr.api.terminate_job_flows(JobFlowIds=[cluster])


def test_a_property_that_is_a_secret_is_shown_by_its_arn_and_handed_on_with_its_annotation(emr: Emr) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:own-AbCdEf"
    site = [{"Classification": "core-site", "Properties": {"EMR.secret@fs.key": arn, "a": "1"}}]
    instances = {"InstanceGroups": [group("MASTER", Configurations=site)], "KeepJobFlowAliveWhenNoSteps": True}
    cluster = emr.run(instances=instances, Configurations=site)
    emr.reach(cluster, "WAITING")
    shown = {"fs.key": arn, "a": "1"}
    assert emr.cluster(cluster)["Configurations"][0]["Properties"] == shown
    assert emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"][0]["Configurations"][0]["Properties"] == shown
    spec = next(one for one in emr.executor.prepared if one.id == cluster)
    assert spec.configurations[0]["Properties"] == {"EMR.secret@fs.key": arn, "a": "1"}


def test_clusters_are_listed_by_state_and_time_page_by_page(emr: Emr) -> None:
    before = dt.datetime.now(dt.UTC)
    made = [emr.run(Name=f"page {number}") for number in range(53)]
    first = emr.api.list_clusters(CreatedAfter=before)
    assert len(first["Clusters"]) == 50
    pages = emr.api.get_paginator("list_clusters").paginate(CreatedAfter=before)
    assert [item["Id"] for page in pages for item in page["Clusters"]] == made[::-1]
    assert emr.api.list_clusters(CreatedBefore=before - dt.timedelta(days=1))["Clusters"] == []
    for start in range(0, 50, 10):
        emr.api.terminate_job_flows(JobFlowIds=made[start : start + 10])
    emr.api.terminate_job_flows(JobFlowIds=made[50:])
    emr.reach(made[-1], "TERMINATED")
    ended = emr.api.list_clusters(ClusterStates=["TERMINATED"], CreatedAfter=before)["Clusters"]
    assert made[-1] in [item["Id"] for item in ended]
    with pytest.raises(ClientError, match=r"InvalidRequestException.*Marker"):
        emr.api.list_clusters(Marker="nonsense")


def test_regions_do_not_see_each_other(emr: Emr) -> None:
    import boto3

    other = boto3.client("emr", region_name="eu-west-1", endpoint_url=emr.url, aws_access_key_id="a", aws_secret_access_key="b")
    cluster = emr.run()
    assert other.list_clusters()["Clusters"] == []
    with pytest.raises(ClientError, match="is not valid"):
        other.describe_cluster(ClusterId=cluster)
    other.close()


def test_steps_are_listed_newest_first_unless_filtered(emr: Emr) -> None:
    cluster = emr.run("hold", *["ok"] * 59)
    pages = list(emr.api.get_paginator("list_steps").paginate(ClusterId=cluster))
    assert [len(page["Steps"]) for page in pages] == [50, 10]
    everything = [item["Id"] for page in pages for item in page["Steps"]]
    oldest = everything[::-1]
    pending = emr.api.list_steps(ClusterId=cluster, StepStates=["PENDING"])["Steps"]
    assert pending[0]["Id"] in oldest[:2]
    chosen = emr.api.list_steps(ClusterId=cluster, StepIds=[oldest[3], oldest[2]])["Steps"]
    assert [item["Id"] for item in chosen] == oldest[2:4]
    described = emr.api.describe_step(ClusterId=cluster, StepId=oldest[5])["Step"]
    assert described["Config"] == {"Jar": "ok", "Properties": {}, "Args": ["a", "b"]}
    with pytest.raises(ClientError, match="at most 10"):
        emr.api.list_steps(ClusterId=cluster, StepIds=oldest[:11])
    emr.api.terminate_job_flows(JobFlowIds=[cluster])


def test_flags_are_set(emr: Emr) -> None:
    cluster = emr.run()
    emr.api.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=True)
    emr.api.set_visible_to_all_users(JobFlowIds=[cluster], VisibleToAllUsers=False)
    emr.api.set_unhealthy_node_replacement(JobFlowIds=[cluster], UnhealthyNodeReplacement=True)
    described = emr.cluster(cluster)
    assert described["TerminationProtected"] is True
    assert described["VisibleToAllUsers"] is False
    assert described["UnhealthyNodeReplacement"] is True


def test_tags_are_added_replaced_and_removed(emr: Emr) -> None:
    cluster = emr.run(Tags=[{"Key": "a", "Value": "1"}])
    emr.api.add_tags(ResourceId=cluster, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b"}])
    assert emr.cluster(cluster)["Tags"] == [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]
    emr.api.remove_tags(ResourceId=emr.cluster(cluster)["ClusterArn"], TagKeys=["a"])
    assert emr.cluster(cluster)["Tags"] == [{"Key": "b", "Value": ""}]


def running(emr: Emr, cluster: str, role: str) -> int:
    listed = emr.api.list_instances(ClusterId=cluster, InstanceGroupTypes=[role], InstanceStates=["RUNNING"])["Instances"]
    return len(listed)


def test_groups_grow_shrink_and_are_added(emr: Emr) -> None:
    cluster = emr.run(instances={"InstanceGroups": [group("MASTER"), group("CORE", 2)], "KeepJobFlowAliveWhenNoSteps": True})
    emr.reach(cluster, "WAITING")
    core = next(item for item in emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"] if item["InstanceGroupType"] == "CORE")
    assert (core["RequestedInstanceCount"], core["RunningInstanceCount"], core["Status"]["State"]) == (2, 2, "RUNNING")

    emr.api.modify_instance_groups(ClusterId=cluster, InstanceGroups=[{"InstanceGroupId": core["Id"], "InstanceCount": 4}])
    wait(lambda: running(emr, cluster, "CORE") == 4)
    victim = emr.api.list_instances(ClusterId=cluster, InstanceGroupId=core["Id"])["Instances"][0]["Ec2InstanceId"]
    change = {"InstanceGroupId": core["Id"], "EC2InstanceIdsToTerminate": [victim]}
    emr.api.modify_instance_groups(ClusterId=cluster, InstanceGroups=[change])
    ended = emr.api.list_instances(ClusterId=cluster, InstanceStates=["TERMINATED"])["Instances"]
    assert [item["Ec2InstanceId"] for item in ended] == [victim]
    wait(lambda: running(emr, cluster, "CORE") == 3)

    added = emr.api.add_instance_groups(JobFlowId=cluster, InstanceGroups=[group("TASK", 1)])["InstanceGroupIds"]
    wait(lambda: running(emr, cluster, "TASK") == 1)
    assert len(added) == 1
    with pytest.raises(ClientError, match="Cannot add another CORE"):
        emr.api.add_instance_groups(JobFlowId=cluster, InstanceGroups=[group("CORE", 1)])
    with pytest.raises(emr.api.exceptions.InvalidRequestException, match="Use the ListInstanceGroups operation instead") as refused:
        emr.api.list_instance_fleets(ClusterId=cluster)
    assert refused.value.response["ErrorCode"] == "API_DOES_NOT_SUPPORT_INSTANCE_GROUP_CLUSTERS"


def test_an_unknown_cluster_has_awss_error_code_and_message(emr: Emr) -> None:
    with pytest.raises(emr.api.exceptions.InvalidRequestException) as refused:
        emr.api.describe_cluster(ClusterId="j-NONE")
    assert refused.value.response["ErrorCode"] == "NoSuchCluster"
    assert refused.value.response["Message"] == "Cluster id 'j-NONE' is not valid."


def test_a_group_is_reconfigured(emr: Emr) -> None:
    cluster = emr.run()
    (master,) = emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    for properties in ({"a": "1"}, {"b": "2"}):
        change = {
            "InstanceGroupId": master["Id"],
            "ReconfigurationType": "MERGE",
            "Configurations": [{"Classification": "spark-defaults", "Properties": properties}],
        }
        emr.api.modify_instance_groups(ClusterId=cluster, InstanceGroups=[change])
    (master,) = emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    assert master["ConfigurationsVersion"] == 2
    assert master["Configurations"][0]["Properties"] == {"a": "1", "b": "2"}


def test_fleets_are_fulfilled_by_weight_resized_and_added(emr: Emr) -> None:
    core = fleet("CORE", 5, 3, LaunchSpecifications={"OnDemandSpecification": {"AllocationStrategy": "prioritized"}})
    core["InstanceTypeConfigs"] = [
        {"InstanceType": "m5.xlarge", "WeightedCapacity": 1, "Priority": 2.0},
        {"InstanceType": "m5.2xlarge", "WeightedCapacity": 2, "Priority": 1.0},
    ]
    cluster = emr.run(instances=fleets(fleet("MASTER"), core))
    emr.reach(cluster, "WAITING")
    listed = emr.api.list_instance_fleets(ClusterId=cluster)["InstanceFleets"]
    found = next(item for item in listed if item["InstanceFleetType"] == "CORE")
    assert (found["ProvisionedOnDemandCapacity"], found["ProvisionedSpotCapacity"]) == (6, 3)
    present = emr.api.list_instances(ClusterId=cluster, InstanceFleetId=found["Id"])["Instances"]
    assert {item["InstanceType"] for item in present if item["Market"] == "ON_DEMAND"} == {"m5.2xlarge"}

    change = {"InstanceFleetId": found["Id"], "TargetOnDemandCapacity": 2, "TargetSpotCapacity": 4}
    emr.api.modify_instance_fleet(ClusterId=cluster, InstanceFleet=change)
    wait(lambda: capacity(emr, cluster, found["Id"]) == (2, 4))
    emr.api.add_instance_fleet(ClusterId=cluster, InstanceFleet=fleet("TASK", 0, 2))
    wait(lambda: len(emr.api.list_instances(ClusterId=cluster, InstanceFleetType="TASK", InstanceStates=["RUNNING"])["Instances"]) == 2)
    with pytest.raises(ClientError, match="Cannot add another TASK"):
        emr.api.add_instance_fleet(ClusterId=cluster, InstanceFleet=fleet("TASK"))


def capacity(emr: Emr, cluster: str, fleet_id: str) -> tuple[int, int]:
    found = next(item for item in emr.api.list_instance_fleets(ClusterId=cluster)["InstanceFleets"] if item["Id"] == fleet_id)
    return found["ProvisionedOnDemandCapacity"], found["ProvisionedSpotCapacity"]


def test_scaling_policies_are_put_shown_and_removed(emr: Emr) -> None:
    groups = [group("MASTER"), group("CORE", 1, AutoScalingPolicy=auto_scaling(1, 3))]
    cluster = emr.run(
        instances={"InstanceGroups": groups, "KeepJobFlowAliveWhenNoSteps": True}, AutoScalingRole="EMR_AutoScaling_DefaultRole"
    )
    emr.reach(cluster, "WAITING")
    master, core = emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    assert core["AutoScalingPolicy"]["Status"]["State"] == "ATTACHED"
    answer = emr.api.put_auto_scaling_policy(ClusterId=cluster, InstanceGroupId=core["Id"], AutoScalingPolicy=auto_scaling(2, 4))
    assert answer["AutoScalingPolicy"]["Constraints"] == {"MinCapacity": 2, "MaxCapacity": 4}
    with pytest.raises(ClientError, match="core and task"):
        emr.api.put_auto_scaling_policy(ClusterId=cluster, InstanceGroupId=master["Id"], AutoScalingPolicy=auto_scaling(1, 2))
    emr.api.remove_auto_scaling_policy(ClusterId=cluster, InstanceGroupId=core["Id"])
    detached = emr.api.list_instance_groups(ClusterId=cluster)["InstanceGroups"][1]["AutoScalingPolicy"]["Status"]
    assert (detached["State"], detached["StateChangeReason"]["Code"]) == ("DETACHED", "USER_REQUEST")

    emr.api.put_managed_scaling_policy(ClusterId=cluster, ManagedScalingPolicy={"ComputeLimits": LIMITS})
    assert emr.api.get_managed_scaling_policy(ClusterId=cluster)["ManagedScalingPolicy"] == {"ComputeLimits": LIMITS}
    with pytest.raises(ClientError, match="managed scaling"):
        emr.api.put_auto_scaling_policy(ClusterId=cluster, InstanceGroupId=core["Id"], AutoScalingPolicy=auto_scaling(2, 4))
    emr.api.remove_managed_scaling_policy(ClusterId=cluster)
    assert "ManagedScalingPolicy" not in emr.api.get_managed_scaling_policy(ClusterId=cluster)

    emr.api.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy={"IdleTimeout": 60})
    emr.api.remove_auto_termination_policy(ClusterId=cluster)
    assert "AutoTerminationPolicy" not in emr.api.get_auto_termination_policy(ClusterId=cluster)


def test_security_configurations_are_kept_by_name(emr: Emr) -> None:
    content = '{"EncryptionConfiguration": {"EnableInTransitEncryption": false}}'
    made = emr.api.create_security_configuration(Name="kept", SecurityConfiguration=content)
    assert made["Name"] == "kept"
    with pytest.raises(ClientError, match="already exists"):
        emr.api.create_security_configuration(Name="kept", SecurityConfiguration=content)
    assert emr.api.describe_security_configuration(Name="kept")["SecurityConfiguration"] == content
    assert "kept" in [item["Name"] for item in emr.api.list_security_configurations()["SecurityConfigurations"]]
    emr.api.delete_security_configuration(Name="kept")
    with pytest.raises(ClientError, match=r"InvalidRequestException.*'kept' does not exist"):
        emr.api.describe_security_configuration(Name="kept")
    with pytest.raises(ClientError, match="not a JSON object"):
        emr.api.create_security_configuration(Name="bad", SecurityConfiguration="[")


def test_block_public_access_is_on_until_it_is_changed(emr: Emr) -> None:
    before = emr.api.get_block_public_access_configuration()["BlockPublicAccessConfiguration"]
    assert before["BlockPublicSecurityGroupRules"] is True
    emr.api.put_block_public_access_configuration(BlockPublicAccessConfiguration={"BlockPublicSecurityGroupRules": False})
    after = emr.api.get_block_public_access_configuration()
    assert after["BlockPublicAccessConfiguration"]["BlockPublicSecurityGroupRules"] is False


def test_releases_and_instance_types_are_listed(emr: Emr) -> None:
    everything = emr.api.list_release_labels()["ReleaseLabels"]
    assert {"emr-7.12.0", "emr-6.15.0", "emr-5.36.2"} <= set(everything)
    assert emr.api.list_release_labels(Filters={"Prefix": "emr-spark-8.0"})["ReleaseLabels"] == ["emr-spark-8.0.0"]
    assert "emr-7.12.0" in emr.api.list_release_labels(Filters={"Application": "spark@3.5.6"})["ReleaseLabels"]
    first = emr.api.list_release_labels(MaxResults=2)
    assert emr.api.list_release_labels(MaxResults=2, NextToken=first["NextToken"])["ReleaseLabels"] == everything[2:4]
    found = emr.api.describe_release_label(ReleaseLabel="emr-7.12.0")["Applications"]
    assert {"Name": "Trino", "Version": "476-amzn-1"} in found
    pages, sizes = [], {}
    marker: dict[str, Any] = {}
    while True:
        page = emr.api.list_supported_instance_types(ReleaseLabel="emr-7.12.0", **marker)
        pages.extend(item["Type"] for item in page["SupportedInstanceTypes"])
        sizes |= {item["Type"]: (item["VCPU"], item["MemoryGB"], item["Architecture"]) for item in page["SupportedInstanceTypes"]}
        if "Marker" not in page:
            break
        marker = {"Marker": page["Marker"]}
    assert sizes["r6g.4xlarge"] == (16, 122.0, "AARCH64")
    assert len(set(pages)) == len(pages) > 200
    with pytest.raises(ClientError, match="InvalidRequestException"):
        emr.api.describe_release_label(ReleaseLabel="emr-0.0.1")


def test_job_flows_are_described_the_old_way(emr: Emr) -> None:
    cluster = emr.run("ok", keep_alive=False)
    emr.reach(cluster, "TERMINATED")
    (flow,) = emr.api.describe_job_flows(JobFlowIds=[cluster])["JobFlows"]
    assert flow["ExecutionStatusDetail"]["State"] == "COMPLETED"
    assert flow["ExecutionStatusDetail"]["LastStateChangeReason"] == "Steps completed"
    assert flow["Instances"]["InstanceGroups"][0]["InstanceRole"] == "MASTER"
    assert [item["ExecutionStatusDetail"]["State"] for item in flow["Steps"]] == ["COMPLETED"]
    assert cluster in [item["JobFlowId"] for item in emr.api.describe_job_flows(JobFlowStates=["COMPLETED"])["JobFlows"]]


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("list_studios", {}),
        ("list_notebook_executions", {}),
        ("get_cluster_session_credentials", {"ClusterId": "j-1"}),
        ("describe_persistent_app_ui", {"PersistentAppUIId": "p"}),
    ],
)
def test_what_is_not_there_is_refused_without_a_retry(emr: Emr, operation: str, request_: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(emr.api, operation)(**request_)
    assert refused.value.response["Error"]["Code"] == "UnsupportedOperation"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
