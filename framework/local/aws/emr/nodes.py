"""Instance groups, fleets and their instances: how they are made, resized and ended.

All instances are this machine, whose steps run on it: what is kept of them is what the API shows. Prices and capacity of EC2
are not known here, so "lowest price" and "capacity optimized" take the first instance type that is listed.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from framework.local.aws.emr import store
from framework.local.aws.emr.store import Collection, Document

_ADDRESS, _HOST = "127.0.0.1", "localhost"
_KEPT_OF_GROUP = ("Name", "BidPrice", "InstanceType", "Configurations", "EbsOptimized", "CustomAmiId")
_KEPT_OF_TYPE = ("InstanceType", "WeightedCapacity", "BidPrice", "BidPriceAsPercentageOfOnDemandPrice", "CustomAmiId", "Priority")
_BY_PRIORITY = ("prioritized", "capacity-optimized-prioritized")


def configs(instances: Mapping[str, Any]) -> list[Document]:
    """The instance groups of a RunJobFlow request, also where it says them the short way (MasterInstanceType, InstanceCount)."""
    if instances.get("InstanceGroups") or not instances.get("MasterInstanceType"):
        return [*instances.get("InstanceGroups", ())]
    count = instances.get("InstanceCount", 1)
    groups: list[Document] = [{"InstanceRole": "MASTER", "InstanceType": instances["MasterInstanceType"], "InstanceCount": 1}]
    if count > 1:
        core = instances.get("SlaveInstanceType", instances["MasterInstanceType"])
        groups.append({"InstanceRole": "CORE", "InstanceType": core, "InstanceCount": count - 1})
    return groups


def group(cluster_id: str, config: Mapping[str, Any], created: float) -> Collection:
    """An instance group that is being provisioned."""
    role = config["InstanceRole"]
    group_id = store.new_id("ig-")
    configurations = config.get("Configurations", [])
    document: Document = {
        "Id": group_id,
        "Market": config.get("Market", "ON_DEMAND"),
        "InstanceGroupType": role,
        "RequestedInstanceCount": config["InstanceCount"],
        "RunningInstanceCount": 0,
        "Status": _status("PROVISIONING", created),
        "Configurations": configurations,
        "ConfigurationsVersion": 0,
        "LastSuccessfullyAppliedConfigurations": configurations,
        "LastSuccessfullyAppliedConfigurationsVersion": 0,
        "EbsBlockDevices": _volumes(config),
        "ShrinkPolicy": {},
        **{name: config[name] for name in _KEPT_OF_GROUP if name in config},
    }
    document.setdefault("Name", f"{role.capitalize()} instance group")
    if "AutoScalingPolicy" in config:
        document["AutoScalingPolicy"] = attached(config["AutoScalingPolicy"])
    return Collection(group_id, cluster_id, role, document, {})


def attached(policy: Mapping[str, Any]) -> Document:
    """An automatic scaling policy as the API shows it: attached as soon as the cluster is ready."""
    return {"Status": policy_status("PENDING"), **policy}


def policy_status(state: str) -> Document:
    """Status of an automatic scaling policy. All changes are a user's; the order of AWS's states could not be confirmed."""
    return {"State": state, "StateChangeReason": {"Code": "USER_REQUEST", "Message": ""}}


def fleet(cluster_id: str, config: Mapping[str, Any], created: float) -> Collection:
    """An instance fleet that is being provisioned."""
    role = config["InstanceFleetType"]
    fleet_id = store.new_id("if-")
    document: Document = {
        "Id": fleet_id,
        "Name": config.get("Name", f"{role.capitalize()} instance fleet"),
        "Status": _status("PROVISIONING", created),
        "InstanceFleetType": role,
        "TargetOnDemandCapacity": config.get("TargetOnDemandCapacity", 0),
        "TargetSpotCapacity": config.get("TargetSpotCapacity", 0),
        "ProvisionedOnDemandCapacity": 0,
        "ProvisionedSpotCapacity": 0,
        "InstanceTypeSpecifications": type_specifications(config.get("InstanceTypeConfigs", ())),
        **{name: config[name] for name in ("LaunchSpecifications", "ResizeSpecifications", "Context") if name in config},
    }
    return Collection(fleet_id, cluster_id, role, document, {})


def type_specifications(configs: Iterable[Mapping[str, Any]]) -> list[Document]:
    """What InstanceTypeConfigs become in an answer."""
    return [
        {
            "WeightedCapacity": 1,
            "Configurations": config.get("Configurations", []),
            "EbsBlockDevices": _volumes(config),
            "EbsOptimized": config.get("EbsConfiguration", {}).get("EbsOptimized", False),
            **{name: config[name] for name in _KEPT_OF_TYPE if name in config},
        }
        for config in configs
    ]


def launch(connection: sqlite3.Connection, collection: Collection, now: float, spot_units: int | None = None) -> int:
    """Request the instances that a group or fleet lacks; returns the units of Spot capacity that could not be had.

    Args:
        spot_units: how much Spot capacity there is for a fleet; None has no limit.
    """
    present = store.instances(connection, collection.cluster, collection.id)
    document = collection.document
    if not collection.is_fleet:
        missing = document["RequestedInstanceCount"] - len(present)
        market, kind = document["Market"], document["InstanceType"]
        store.insert_instances(
            connection, collection.cluster, collection, [_instance(collection, kind, market, now) for _ in range(missing)]
        )
        return 0
    short = 0
    for market, target in (("ON_DEMAND", document["TargetOnDemandCapacity"]), ("SPOT", document["TargetSpotCapacity"])):
        missing = target - capacity(collection, present, market)
        if market == "SPOT" and spot_units is not None and missing > spot_units:
            short, missing = missing - spot_units, spot_units
        new = [_instance(collection, kind, market, now) for kind in _fulfil(document, market, missing)]
        store.insert_instances(connection, collection.cluster, collection, new)
    return short


def resize(connection: sqlite3.Connection, collection: Collection, now: float, seconds: float, first: Sequence[str] = ()) -> float:
    """Ask for what a group or fleet of a ready cluster lacks, and end what it has too much of; writes it back.

    Args:
        seconds: until the new instances run.
        first: EC2 ids of instances that are ended before others.

    Returns:
        When the resize is over; the controller has to look at the cluster then.
    """
    shrink(connection, collection, now, first)
    launch(connection, collection, now)
    status = collection.document["Status"]
    if status["State"] == "RUNNING":
        status["State"] = "RESIZING"
    collection.work["due"] = now + seconds
    count(collection, store.instances(connection, collection.cluster, collection.id))
    collection.save(connection)
    return now + seconds


def shrink(connection: sqlite3.Connection, collection: Collection, now: float, first: Sequence[str] = ()) -> None:
    """End the instances that a group or fleet has too many of: those in `first` (EC2 ids), then the newest."""
    present = store.instances(connection, collection.cluster, collection.id)
    present.sort(key=lambda item: (item["Ec2InstanceId"] not in first, -item["Status"]["Timeline"]["CreationDateTime"]))
    ended: list[Document] = [item for item in present if item["Ec2InstanceId"] in first]
    rest = present[len(ended) :]
    document = collection.document
    if collection.is_fleet:
        weights = _weights(document)
        for market, target in (("ON_DEMAND", document["TargetOnDemandCapacity"]), ("SPOT", document["TargetSpotCapacity"])):
            surplus = capacity(collection, rest, market) - target
            for item in [item for item in rest if item["Market"] == market]:
                weight = weights.get(item["InstanceType"], 1)
                if weight <= surplus:
                    ended.append(item)
                    surplus -= weight
    else:
        ended.extend(rest[: max(0, len(rest) - document["RequestedInstanceCount"])])
    end(connection, ended, now, "INSTANCE_FAILURE" if first else "CLUSTER_TERMINATED", "Instance was terminated by a resize.")


def advance(connection: sqlite3.Connection, collection: Collection, state: str, now: float) -> None:
    """Bring a group or fleet and its instances into the state BOOTSTRAPPING or RUNNING."""
    present = store.instances(connection, collection.cluster, collection.id)
    for item in present:
        if state == "RUNNING" and item["Status"]["State"] != "RUNNING":
            item["Status"]["Timeline"]["ReadyDateTime"] = now
        item["Status"]["State"] = state
    store.save_instances(connection, present)
    status = collection.document["Status"]
    if state == "RUNNING":
        status["Timeline"].setdefault("ReadyDateTime", now)
    status["State"] = state
    status["StateChangeReason"] = {}
    count(collection, present)
    collection.save(connection)


def count(collection: Collection, present: Sequence[Document]) -> None:
    """Put the number (or capacity) of running instances into a group or fleet."""
    running = [item for item in present if item["Status"]["State"] in ("RUNNING", "BOOTSTRAPPING")]
    if collection.is_fleet:
        collection.document["ProvisionedOnDemandCapacity"] = capacity(collection, running, "ON_DEMAND")
        collection.document["ProvisionedSpotCapacity"] = capacity(collection, running, "SPOT")
    else:
        collection.document["RunningInstanceCount"] = len(running)


def end(connection: sqlite3.Connection, items: Sequence[Document], now: float, code: str, message: str) -> None:
    """Terminate instances."""
    for item in items:
        item["Status"] = {
            "State": "TERMINATED",
            "StateChangeReason": {"Code": code, "Message": message},
            "Timeline": {**item["Status"]["Timeline"], "EndDateTime": now},
        }
    store.save_instances(connection, items)


def end_all(connection: sqlite3.Connection, cluster_id: str, now: float, state: str) -> None:
    """Bring all groups or fleets of a cluster into TERMINATING, or TERMINATED with all their instances."""
    reason = {"Code": "CLUSTER_TERMINATED", "Message": "Job flow terminated"}
    if state == "TERMINATED":
        end(connection, store.instances(connection, cluster_id), now, reason["Code"], reason["Message"])
    for collection in store.collections(connection, cluster_id):
        status = collection.document["Status"]
        status["State"], status["StateChangeReason"] = state, reason
        if state == "TERMINATED":
            status["Timeline"]["EndDateTime"] = now
            count(collection, [])
        collection.work.pop("due", None)
        collection.save(connection)


def capacity(collection: Collection, items: Iterable[Mapping[str, Any]], market: str) -> int:
    """Weighted capacity of a fleet's instances of one market."""
    weights = _weights(collection.document)
    return sum(weights.get(item["InstanceType"], 1) for item in items if item["Market"] == market)


def _weights(document: Mapping[str, Any]) -> dict[str, int]:
    return {item["InstanceType"]: item["WeightedCapacity"] for item in document["InstanceTypeSpecifications"]}


def _fulfil(document: Mapping[str, Any], market: str, units: int) -> Iterable[str]:
    """The instance types that together give `units` of capacity; the last one may give more than is left."""
    specification = document.get("LaunchSpecifications", {}).get(
        "OnDemandSpecification" if market == "ON_DEMAND" else "SpotSpecification", {}
    )
    strategy = specification.get("AllocationStrategy")
    types = [*document["InstanceTypeSpecifications"]]
    if strategy in _BY_PRIORITY:
        types.sort(key=lambda item: item.get("Priority", float("inf")))
    if strategy != "diversified":
        del types[1:]
    number = 0
    while units > 0 and types:
        chosen = types[number % len(types)]
        yield chosen["InstanceType"]
        units -= chosen["WeightedCapacity"]
        number += 1


def _instance(collection: Collection, kind: str, market: str, now: float) -> Document:
    return {
        "Id": store.new_id("ci-"),
        "Ec2InstanceId": f"i-{secrets.token_hex(9)[:17]}",
        "PublicDnsName": _HOST,
        "PublicIpAddress": _ADDRESS,
        "PrivateDnsName": _HOST,
        "PrivateIpAddress": _ADDRESS,
        "Status": _status("PROVISIONING", now),
        "InstanceFleetId" if collection.is_fleet else "InstanceGroupId": collection.id,
        "Market": market,
        "InstanceType": kind,
        "EbsVolumes": [],
    }


def _status(state: str, created: float) -> Document:
    return {"State": state, "StateChangeReason": {}, "Timeline": {"CreationDateTime": created}}


def _volumes(config: Mapping[str, Any]) -> list[Document]:
    volumes: list[Document] = []
    for device in config.get("EbsConfiguration", {}).get("EbsBlockDeviceConfigs", ()):
        for _ in range(device.get("VolumesPerInstance", 1)):
            volumes.append({"VolumeSpecification": device["VolumeSpecification"], "Device": f"/dev/sd{chr(ord('b') + len(volumes))}"})
    return volumes
