"""What EMR asks of a request beyond its shape, as AWS documents it.

Sources: the EMR API reference and botocore's copy of it, the Management Guide and the Release Guide. Messages that end in a comment
"own wording" could not be confirmed; the others are quoted from the documentation, or by users of the real service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from framework.local.aws.emr import classifications, labels, nodes
from framework.local.aws.emr.operation import invalid

MAX_ACTIVE_STEPS = 256
_TYPES_OF_FLEET, _TYPES_WITH_STRATEGY = 5, 30
_TASK_GROUPS = 48
_STEP_CHARACTERS = 10240
_BOOTSTRAP_ACTIONS = 16
_SUBNET = re.compile(r"subnet-[0-9a-z]{8,17}")
_S3 = ("s3", "s3n", "s3a")
TERMINATE_OR_WAIT = ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW", "CANCEL_AND_WAIT")


def run_job_flow(request: Mapping[str, Any], region: str) -> None:
    """Everything about a RunJobFlow request that needs no look at the account.

    Raises:
        ApiError: ValidationException.
    """
    _release(request, region)
    instances = request["Instances"]
    if not request.get("ServiceRole"):
        raise invalid("ServiceRole is required for creating cluster.")
    if not request.get("JobFlowRole"):
        raise invalid("InstanceProfile is required for creating cluster.")
    log_uri(request.get("LogUri"))
    _network(instances)
    if instances.get("InstanceFleets") and (instances.get("InstanceGroups") or instances.get("MasterInstanceType")):
        raise invalid(
            "Instance fleets and instance groups are mutually exclusive. The EMR cluster must use only one of them."
        )  # own wording
    if fleets := instances.get("InstanceFleets"):
        check_fleets(fleets, request.get("ReleaseLabel", ""), region)
    else:
        check_groups(nodes.configs(instances), request, region)
    classifications.check(request.get("Configurations", ()))
    level = request.get("StepConcurrencyLevel", 1)
    step_concurrency(level)
    steps(request.get("Steps", ()), level)
    _bootstrap_actions(request.get("BootstrapActions", ()))
    tags(request.get("Tags", ()))
    if policy := request.get("ManagedScalingPolicy"):
        managed_scaling(policy, fleets=bool(fleets))
        if any("AutoScalingPolicy" in group for group in nodes.configs(instances)):
            raise invalid("A cluster has either managed scaling or automatic scaling policies, not both.")  # own wording
    if policy := request.get("AutoTerminationPolicy"):
        auto_termination(policy)


def _release(request: Mapping[str, Any], region: str) -> None:
    label, ami = request.get("ReleaseLabel"), request.get("AmiVersion")
    if label and ami:
        raise invalid(f"Only one AMI version and release label may be specified. Provided AMI: {ami}, release label: {label}.")
    if not label:
        # AMI versions 2.x and 3.x are no longer offered.
        raise invalid(
            f"The supplied ami version is invalid: {ami}." if ami else "ReleaseLabel is required for creating cluster."
        )  # own wording
    if label not in labels.known_releases(region):
        raise invalid(f"The supplied release label is invalid: {label}.")
    applications(label, request.get("Applications", ()))


def applications(label: str, requested: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The applications of a cluster, named as the release names them ("A case-insensitive list": API reference, RunJobFlow).

    Raises:
        ApiError: ValidationException, for one that the release does not have, or for Trino and Presto together.
    """
    known = labels.applications(label)
    found = []
    for application in requested:
        name = application.get("Name", "")
        proper = next((one for one in known if one.lower() == name.lower()), None) if known is not None else name
        if proper is None:
            raise invalid(f"Specified application {name} is not supported by release {label}.")  # own wording
        version = (known or {}).get(proper)
        found.append({"Name": proper, **({"Version": version} if version else {}), **_only(application, ("Args", "AdditionalInfo"))})
    names = {item["Name"].lower() for item in found}
    # Release Guide, "Presto and Trino": they cannot run on the same cluster.
    if len(names & {"trino", "presto", "prestosql"}) > 1:
        raise invalid("Trino and Presto cannot be installed on the same cluster.")  # own wording
    return found


def _only(value: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


def log_uri(uri: str | None) -> None:
    """The place of a cluster's logs: an S3 URI with a bucket."""
    if uri is not None:
        parts = urlsplit(uri)
        if parts.scheme not in _S3 or not parts.netloc:
            raise invalid(f"The LogUri {uri} is not a valid S3 URI.")  # own wording


def _network(instances: Mapping[str, Any]) -> None:
    subnets = [*instances.get("Ec2SubnetIds", ())]
    if one := instances.get("Ec2SubnetId"):
        if subnets:
            raise invalid("Specify either Ec2SubnetId or Ec2SubnetIds, not both.")  # own wording
        subnets.append(one)
    for subnet in subnets:
        if not _SUBNET.fullmatch(subnet):
            raise invalid(f"The subnet ID '{subnet}' is not valid.")  # own wording
    if len(subnets) > 1 and not instances.get("InstanceFleets"):
        raise invalid("Only clusters with instance fleets may name several subnets.")  # own wording
    if subnets and instances.get("Placement"):
        raise invalid("Specify either a subnet or an Availability Zone, not both.")  # own wording
    if bool(instances.get("EmrManagedMasterSecurityGroup")) != bool(instances.get("EmrManagedSlaveSecurityGroup")):
        raise invalid(
            "If you specify EmrManagedMasterSecurityGroup, you must also specify EmrManagedSlaveSecurityGroup, and vice versa."
        )  # own wording


def check_groups(groups: Sequence[Mapping[str, Any]], request: Mapping[str, Any], region: str) -> None:
    """Exactly one master group (of one node, or three), at most one core group and 48 task groups."""
    roles = [group["InstanceRole"] for group in groups]
    if roles.count("MASTER") != 1:
        raise invalid("The cluster must have exactly one MASTER instance group.")  # own wording
    if roles.count("CORE") > 1:
        raise invalid("The cluster must have at most one CORE instance group.")  # own wording
    if roles.count("TASK") > _TASK_GROUPS:
        raise invalid(f"The cluster must have at most {_TASK_GROUPS} TASK instance groups.")  # own wording
    for group in groups:
        check_group(group, request.get("ReleaseLabel", ""))
        if group.get("AutoScalingPolicy"):
            if not request.get("AutoScalingRole"):
                raise invalid("An automatic scaling policy needs an AutoScalingRole.")  # own wording
            if not request.get("VisibleToAllUsers", True):
                # Management Guide, "Using automatic scaling with a custom policy".
                raise invalid("An automatic scaling policy needs a cluster that is visible to all users.")  # own wording
            auto_scaling(group["AutoScalingPolicy"], group["InstanceRole"])
    master = next(group for group in groups if group["InstanceRole"] == "MASTER")
    if master["InstanceCount"] not in (1, 3):
        raise invalid("Master instance group must have exactly 3 instances for HA clusters.")


def check_group(group: Mapping[str, Any], label: str) -> None:
    """One instance group by itself."""
    if group["InstanceCount"] < (1 if group["InstanceRole"] == "MASTER" else 0):
        raise invalid(f"The instance count of the {group['InstanceRole']} instance group must be at least 1.")  # own wording
    _instance_type(group["InstanceType"], label)
    classifications.check(group.get("Configurations", ()))


def _instance_type(name: str, label: str) -> None:
    known = labels.instance_types(label)
    if known and name not in known:
        raise invalid(f"Instance type '{name}' is not supported.")


def check_fleets(fleets: Sequence[Mapping[str, Any]], label: str, region: str) -> None:
    """Exactly one master fleet of one node, at most one core and one task fleet."""
    kinds = [fleet["InstanceFleetType"] for fleet in fleets]
    if kinds.count("MASTER") != 1:
        raise invalid("The cluster must have exactly one MASTER instance fleet.")  # own wording
    for kind in ("CORE", "TASK"):
        if kinds.count(kind) > 1:
            raise invalid(f"The cluster must have at most one {kind} instance fleet.")  # own wording
    for fleet in fleets:
        check_fleet(fleet, label)


def check_fleet(fleet: Mapping[str, Any], label: str) -> None:
    """One fleet by itself: capacity, instance types, strategies, Spot timeout."""
    kind = fleet["InstanceFleetType"]
    on_demand, spot = fleet.get("TargetOnDemandCapacity", 0), fleet.get("TargetSpotCapacity", 0)
    if kind == "MASTER" and on_demand + spot != 1:
        raise invalid("The MASTER instance fleet must have a target capacity of 1, either On-Demand or Spot.")  # own wording
    if on_demand + spot < 1:
        # "At least one of TargetSpotCapacity and TargetOnDemandCapacity should be greater than 0."
        raise invalid("At least one of TargetSpotCapacity and TargetOnDemandCapacity should be greater than 0.")
    types = fleet.get("InstanceTypeConfigs", ())
    specifications = fleet.get("LaunchSpecifications", {})
    strategies = [one["AllocationStrategy"] for one in specifications.values() if "AllocationStrategy" in one]
    most = _TYPES_WITH_STRATEGY if strategies else _TYPES_OF_FLEET
    if not 1 <= len(types) <= most:
        raise invalid(f"The {kind} instance fleet must have between 1 and {most} instance types.")  # own wording
    names = [item["InstanceType"] for item in types]
    if len(set(names)) != len(names):
        raise invalid(f"The {kind} instance fleet has an instance type more than once.")  # own wording
    for item in types:
        _instance_type(item["InstanceType"], label)
        weight = item.get("WeightedCapacity", 1)
        if (kind == "MASTER" and weight != 1) or weight < 1:
            raise invalid(f"The weighted capacity of {item['InstanceType']} in the {kind} instance fleet is not valid.")  # own wording
        if "BidPrice" in item and "BidPriceAsPercentageOfOnDemandPrice" in item:
            raise invalid("Specify either BidPrice or BidPriceAsPercentageOfOnDemandPrice, not both.")  # own wording
        classifications.check(item.get("Configurations", ()))
    timeout = specifications.get("SpotSpecification", {}).get("TimeoutDurationMinutes")
    if timeout is not None and not 5 <= timeout <= 1440:
        raise invalid("TimeoutDurationMinutes must be between 5 and 1440.")  # own wording


def step_concurrency(level: int) -> None:
    """1 to 256."""
    if not 1 <= level <= 256:
        raise invalid(f"The step concurrency level {level} is not valid: it must be between 1 and 256.")  # own wording


def steps(requested: Sequence[Mapping[str, Any]], concurrency: int, active: int = 0) -> None:
    """New steps of a cluster that has `active` steps waiting or running.

    Raises:
        ApiError: ValidationException.
    """
    if active + len(requested) > MAX_ACTIVE_STEPS:
        raise invalid("Maximum number of active steps(State = 'Running', 'Pending' or 'Cancel_Pending') for cluster exceeded.")
    for step in requested:
        if concurrency > 1 and step.get("ActionOnFailure") in TERMINATE_OR_WAIT:
            raise invalid(
                f"ActionOnFailure {step['ActionOnFailure']} is not valid when StepConcurrencyLevel is greater than 1."
            )  # own wording
        config = step["HadoopJarStep"]
        size = len(config.get("Jar", "")) + len(config.get("MainClass", "")) + sum(len(item) for item in config.get("Args", ()))
        if size > _STEP_CHARACTERS:
            raise invalid(f"The values of HadoopJarStep exceed a total of {_STEP_CHARACTERS} characters.")  # own wording


def _bootstrap_actions(actions: Sequence[Mapping[str, Any]]) -> None:
    # Management Guide, "Create bootstrap actions": at most 16.
    if len(actions) > _BOOTSTRAP_ACTIONS:
        raise invalid(f"A cluster can have at most {_BOOTSTRAP_ACTIONS} bootstrap actions.")  # own wording
    for action in actions:
        scheme = urlsplit(action["ScriptBootstrapAction"]["Path"]).scheme
        if scheme not in (*_S3, "file"):
            raise invalid(f"The path of bootstrap action {action['Name']} is neither an S3 location nor a file: URI.")  # own wording


def tags(requested: Sequence[Mapping[str, Any]]) -> None:
    """At most 50 tags, keys of 1 to 128 characters without `aws:`, values to 256 (Management Guide, "Tag clusters")."""
    keys = [tag.get("Key", "") for tag in requested]
    if len(keys) > 50:
        raise invalid("A cluster can have at most 50 tags.")  # own wording
    for tag, key in zip(requested, keys, strict=True):
        if not 1 <= len(key) <= 128 or key.lower().startswith("aws:") or len(tag.get("Value", "")) > 256:
            raise invalid(f"The tag '{key}' is not valid.")  # own wording


def managed_scaling(policy: Mapping[str, Any], *, fleets: bool) -> None:
    """Bounds in order, and a unit that fits groups or fleets (Management Guide, "Configuring managed scaling")."""
    limits = policy.get("ComputeLimits")
    if limits is None:
        raise invalid("A managed scaling policy needs ComputeLimits.")  # own wording
    if (limits["UnitType"] == "InstanceFleetUnits") != fleets:
        raise invalid(f"The unit type {limits['UnitType']} does not fit the cluster's instance collection type.")  # own wording
    least, most = limits["MinimumCapacityUnits"], limits["MaximumCapacityUnits"]
    if not 1 <= least <= most:
        raise invalid("MinimumCapacityUnits must be at least 1 and at most MaximumCapacityUnits.")  # own wording
    for name in ("MaximumOnDemandCapacityUnits", "MaximumCoreCapacityUnits"):
        if not 0 <= limits.get(name, 0) <= most:
            raise invalid(f"{name} must be at most MaximumCapacityUnits.")  # own wording
    if "UtilizationPerformanceIndex" in policy and policy.get("ScalingStrategy") != "ADVANCED":
        raise invalid("UtilizationPerformanceIndex needs the ScalingStrategy ADVANCED.")  # own wording


def auto_scaling(policy: Mapping[str, Any], role: str) -> None:
    """Of a core or task group, with bounds in order and rules of different names (API reference, AutoScalingPolicy)."""
    if role == "MASTER":
        raise invalid("An automatic scaling policy can be attached to core and task instance groups only.")  # own wording
    constraints = policy["Constraints"]
    if not 0 <= constraints["MinCapacity"] <= constraints["MaxCapacity"]:
        raise invalid("MinCapacity must not be greater than MaxCapacity.")  # own wording
    names = [rule["Name"] for rule in policy["Rules"]]
    if len(set(names)) != len(names):
        raise invalid("Rule names must be unique within a scaling policy.")
    for rule in policy["Rules"]:
        action = rule["Action"]["SimpleScalingPolicyConfiguration"]
        if action.get("AdjustmentType") == "EXACT_CAPACITY" and action["ScalingAdjustment"] < 0:
            raise invalid("The ScalingAdjustment of an EXACT_CAPACITY rule must be positive.")  # own wording


def auto_termination(policy: Mapping[str, Any]) -> None:
    """60 seconds to 7 days."""
    idle = policy.get("IdleTimeout")
    if idle is None or not 60 <= idle <= 604800:
        raise invalid("The IdleTimeout of an auto-termination policy must be between 60 and 604800 seconds.")  # own wording
