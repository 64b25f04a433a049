"""A checked cluster as the RunJobFlow request: a pure function, so that a plan can be compared, printed and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from framework.emr import classifications
from framework.emr.cluster import Cluster
from framework.emr.spec import Ebs, Fleet, Fleets, Group, Groups, Scaling, TypeChoice

RUN_TAG = "emrjobs:run"
"""Tag that holds the id of the submit; the cluster's name ends with it too, because ListClusters gives names and no tags."""
JOB_TAG = "emrjobs:jobs"
ENV_TAG = "emrjobs:environment"
# The service role AmazonEMRServicePolicy_v2 may touch only what has this tag: Management Guide, IAM policies v2.
_MANAGED_TAG = ("for-use-with-amazon-emr-managed-policies", "true")

_ROLES = {"primary": "MASTER", "core": "CORE", "task": "TASK"}
_UNITS = {"fleet_units": "InstanceFleetUnits", "instances": "Instances", "vcpu": "VCPU"}


def cluster_name(jobs: Sequence[str], submit_id: str) -> str:
    """`emrjobs daily_etl <id>`; at most 256 characters, as EMR allows."""
    shown = ",".join(jobs)
    return f"emrjobs {shown[: 240 - len(submit_id)]} {submit_id}"


def run_job_flow(cluster: Cluster, *, jobs: Sequence[str], submit_id: str, steps: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The request that creates this cluster with its first steps.

    Args:
        jobs: names of the jobs, for name and tags.
        submit_id: what the cluster is found again by.
        steps: as `framework.emr.step` makes them.
    """
    spec, emr = cluster.spec, cluster.emr
    request: dict[str, Any] = {
        "Name": cluster_name(jobs, submit_id),
        "ReleaseLabel": cluster.release.label,
        "Applications": [{"Name": name} for name in cluster.applications],
        "Configurations": classifications.derive(cluster),
        "Instances": _instances(cluster),
        "LogUri": cluster.logs,
        "ServiceRole": emr.service_role,
        "JobFlowRole": emr.instance_profile,
        "VisibleToAllUsers": True,
        "Tags": _tags(cluster, jobs, submit_id),
        "StepConcurrencyLevel": spec.step_concurrency,
        "AutoTerminationPolicy": {"IdleTimeout": spec.idle_minutes * 60},
        "ScaleDownBehavior": "TERMINATE_AT_TASK_COMPLETION",
        "Steps": [dict(step) for step in steps],
    }
    optional = {
        "SecurityConfiguration": emr.security_configuration,
        "LogEncryptionKmsKeyId": emr.kms_key,
        "EbsRootVolumeSize": spec.root_volume_gb,
        "StepExecutionRoleArn": emr.runtime_role if steps else None,
        "ManagedScalingPolicy": _scaling(spec.scaling) if spec.scaling else None,
        "BootstrapActions": [
            {"Name": one.name, "ScriptBootstrapAction": {"Path": one.path, "Args": list(one.args)}} for one in spec.bootstrap
        ],
        "MonitoringConfiguration": _monitoring(cluster),
    }
    return request | {key: value for key, value in optional.items() if value}


def _instances(cluster: Cluster) -> dict[str, Any]:
    spec, emr = cluster.spec, cluster.emr
    groups = emr.security_groups
    found: dict[str, Any] = {
        "KeepJobFlowAliveWhenNoSteps": spec.lifetime == "long_running",
        "TerminationProtected": spec.termination_protection,
        "UnhealthyNodeReplacement": True,
    }
    if spec.fleets:
        found["InstanceFleets"] = _fleets(spec.fleets)
        found["Ec2SubnetIds"] = list(emr.subnets)
    elif spec.groups:
        found["InstanceGroups"] = _groups(spec.groups)
        found["Ec2SubnetId"] = emr.subnets[0]
    optional = {
        "Ec2KeyName": emr.ec2_key,
        "EmrManagedMasterSecurityGroup": groups.primary,
        "EmrManagedSlaveSecurityGroup": groups.core,
        "ServiceAccessSecurityGroup": groups.service_access,
        "AdditionalMasterSecurityGroups": list(groups.additional),
        "AdditionalSlaveSecurityGroups": list(groups.additional),
    }
    return found | {key: value for key, value in optional.items() if value}


def _fleets(fleets: Fleets) -> list[dict[str, Any]]:
    named = {"primary": fleets.primary, "core": fleets.core, "task": fleets.task}
    return [_fleet(role, fleet) for role, fleet in named.items() if fleet]


def _fleet(role: str, fleet: Fleet) -> dict[str, Any]:
    launch: dict[str, Any] = {}
    if fleet.spot:
        launch["SpotSpecification"] = {
            "TimeoutDurationMinutes": fleet.spot_timeout_minutes,
            "TimeoutAction": fleet.on_spot_timeout.upper(),
            "AllocationStrategy": fleet.spot_strategy,
        }
    if fleet.on_demand or fleet.on_spot_timeout == "switch_to_on_demand":
        launch["OnDemandSpecification"] = {"AllocationStrategy": fleet.on_demand_strategy}
    return {
        "Name": role,
        "InstanceFleetType": _ROLES[role],
        "TargetOnDemandCapacity": fleet.on_demand,
        "TargetSpotCapacity": fleet.spot,
        "InstanceTypeConfigs": [_choice(choice, fleet) for choice in fleet.types],
        "LaunchSpecifications": launch,
    }


def _choice(choice: TypeChoice, fleet: Fleet) -> dict[str, Any]:
    found: dict[str, Any] = {"InstanceType": choice.type, "WeightedCapacity": choice.weight}
    if fleet.spot:
        found["BidPriceAsPercentageOfOnDemandPrice"] = choice.bid_percent or 100.0
    if choice.priority is not None:
        found["Priority"] = choice.priority
    if fleet.ebs:
        found["EbsConfiguration"] = _ebs(fleet.ebs)
    return found


def _groups(groups: Groups) -> list[dict[str, Any]]:
    named = {"primary": groups.primary, "core": groups.core, "task": groups.task}
    return [_group(role, group) for role, group in named.items() if group]


def _group(role: str, group: Group) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Name": role,
        "InstanceRole": _ROLES[role],
        "InstanceType": group.type,
        "InstanceCount": group.count,
        "Market": group.market.upper(),
    }
    if group.bid_price is not None:
        found["BidPrice"] = f"{group.bid_price:g}"
    if group.ebs:
        found["EbsConfiguration"] = _ebs(group.ebs)
    return found


def _ebs(ebs: Ebs) -> dict[str, Any]:
    volume: dict[str, Any] = {"VolumeType": ebs.type, "SizeInGB": ebs.size_gb}
    if ebs.iops:
        volume["Iops"] = ebs.iops
    if ebs.throughput:
        volume["Throughput"] = ebs.throughput
    return {"EbsBlockDeviceConfigs": [{"VolumeSpecification": volume, "VolumesPerInstance": ebs.volumes}], "EbsOptimized": True}


def _scaling(scaling: Scaling) -> dict[str, Any]:
    limits: dict[str, Any] = {
        "UnitType": _UNITS[scaling.unit],
        "MinimumCapacityUnits": scaling.min,
        "MaximumCapacityUnits": scaling.max,
    }
    if scaling.max_on_demand is not None:
        limits["MaximumOnDemandCapacityUnits"] = scaling.max_on_demand
    if scaling.max_core is not None:
        limits["MaximumCoreCapacityUnits"] = scaling.max_core
    policy: dict[str, Any] = {"ComputeLimits": limits}
    return policy | ({"ScalingStrategy": "ADVANCED"} if scaling.strategy == "advanced" else {})


def _monitoring(cluster: Cluster) -> dict[str, Any] | None:
    wanted = cluster.spec.cloudwatch
    if wanted is None:
        return None
    logs: dict[str, Any] = {
        "Enabled": True,
        "LogGroupName": wanted.log_group,
        "LogTypes": {kind: ["STDOUT", "STDERR"] for kind in ("STEP_LOGS", "SPARK_DRIVER", "SPARK_EXECUTOR")},
    }
    if wanted.prefix:
        logs["LogStreamNamePrefix"] = wanted.prefix
    if cluster.emr.kms_key:
        logs["EncryptionKeyArn"] = cluster.emr.kms_key
    return {"CloudWatchLogConfiguration": logs}


def _tags(cluster: Cluster, jobs: Sequence[str], submit_id: str) -> list[dict[str, str]]:
    own = {
        RUN_TAG: submit_id,
        JOB_TAG: " ".join(jobs)[:256],
        ENV_TAG: cluster.env,
        "emrjobs:preset": cluster.preset.name,
        _MANAGED_TAG[0]: _MANAGED_TAG[1],
    }
    return [{"Key": key, "Value": value} for key, value in sorted({**cluster.emr.tags, **own}.items())]
