"""Operations on instance groups, fleets and instances."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from framework.local.aws.answers import ApiError
from framework.local.aws.database import Database
from framework.local.aws.emr import classifications, nodes, rules, scaling, store, transitions
from framework.local.aws.emr.delays import Delays
from framework.local.aws.emr.faults import Rule
from framework.local.aws.emr.operation import (
    Emr,
    EmrOperation,
    Mover,
    cluster_arn,
    find_cluster,
    find_job_flow,
    invalid,
    invalid_request,
    must_be_active,
)
from framework.local.aws.emr.store import Cluster, Collection, Document

_ACTIVE_INSTANCES = 2000


def list_instance_groups(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    return _list(emr, request, "InstanceGroups", "INSTANCE_GROUP", _other_kind("ListInstanceGroups", "FLEET", "ListInstanceFleets"))


def list_instance_fleets(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    return _list(emr, request, "InstanceFleets", "INSTANCE_FLEET", _other_kind("ListInstanceFleets", "GROUP", "ListInstanceGroups"))


def _other_kind(operation: str, kind: str, instead: str) -> ApiError:
    """As turbot/steampipe-plugin-aws, issue 1222, shows it for a cluster with fleets; that for groups is taken to be alike."""
    used = f"instance {kind.lower()}s"
    message = (
        "Instance fleets and instance groups are mutually exclusive. "
        f"The EMR cluster specified in the request uses {used}. The {operation} operation does not support clusters that use {used}. "
        f"Use the {instead} operation instead."
    )
    return invalid_request(message, f"API_DOES_NOT_SUPPORT_INSTANCE_{kind}_CLUSTERS")


def _list(emr: Emr, request: dict[str, Any], key: str, kind: str, otherwise: ApiError) -> dict[str, Any]:
    with emr.database.read() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        if cluster.document["InstanceCollectionType"] != kind:
            raise otherwise
        where, values = "cluster = ?", [cluster.id]
        found, marker = store.page(connection, "collections", where, values, request.get("Marker"), newest_first=False)
    return {key: found, **({"Marker": marker} if marker else {})}


def list_instances(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    roles = request.get("InstanceGroupTypes") or ([request["InstanceFleetType"]] if "InstanceFleetType" in request else None)
    collection = request.get("InstanceGroupId") or request.get("InstanceFleetId")
    with emr.database.read() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        if collection and not any(one.id == collection for one in store.collections(connection, cluster.id)):
            raise invalid_request(f"Instance group or fleet id '{collection}' is not valid.")  # own wording
        where, values = "cluster = ?", [cluster.id]
        for column, wanted in (
            ("role", roles),
            ("state", request.get("InstanceStates")),
            ("collection", [collection] if collection else None),
        ):
            condition, more = store.any_of(column, wanted)
            where, values = where + condition, [*values, *more]
        found, marker = store.page(
            connection, "instances", where, values, request.get("Marker"), newest_first=False, size=_ACTIVE_INSTANCES
        )
    return {"Instances": found, **({"Marker": marker} if marker else {})}


def add_instance_groups(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.write() as connection:
        cluster = find_job_flow(emr, connection, request["JobFlowId"])
        must_be_active(cluster)
        _must_have(cluster, "INSTANCE_GROUP")
        present = store.collections(connection, cluster.id)
        new: list[Collection] = []
        for config in classifications.shown(request["InstanceGroups"]):
            rules.check_group(config, cluster.document["ReleaseLabel"])
            if config["InstanceRole"] == "MASTER" or (
                config["InstanceRole"] == "CORE" and any(one.role == "CORE" for one in [*present, *new])
            ):
                raise invalid(f"Cannot add another {config['InstanceRole']} instance group.")  # own wording
            if policy := config.get("AutoScalingPolicy"):
                scaling.may_have_rules(cluster)
                rules.auto_scaling(policy, config["InstanceRole"])
            new.append(nodes.group(cluster.id, config, store.now()))
        for collection in new:
            collection.insert(connection)
            _resize(emr.controller.delays, connection, cluster, collection)
    emr.controller.poke(cluster.id)
    ids = [collection.id for collection in new]
    return {"JobFlowId": cluster.id, "InstanceGroupIds": ids, "ClusterArn": cluster_arn(emr.region, cluster.id)}


def modify_instance_groups(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    touched = set()
    with emr.database.write() as connection:
        for change in request.get("InstanceGroups", ()):
            collection = _find_group(emr, connection, change["InstanceGroupId"], request.get("ClusterId"))
            cluster = find_cluster(emr, connection, collection.cluster)
            must_be_active(cluster)
            _change_group(emr, connection, cluster, collection, change)
            touched.add(cluster.id)
    for cluster_id in touched:
        emr.controller.poke(cluster_id)
    return {}


def _change_group(emr: Emr, connection: sqlite3.Connection, cluster: Cluster, collection: Collection, change: dict[str, Any]) -> None:
    document = collection.document
    ending = change.get("EC2InstanceIdsToTerminate", ())
    if "InstanceCount" in change or ending:
        if collection.role == "MASTER":
            raise invalid("The MASTER instance group cannot be resized.")  # own wording
        wanted = change.get("InstanceCount", document["RequestedInstanceCount"] - len(ending))
        if wanted < 0:
            raise invalid("The instance count must not be negative.")  # own wording
        document["RequestedInstanceCount"] = wanted
    if "ShrinkPolicy" in change:
        document["ShrinkPolicy"] = change["ShrinkPolicy"]
    if "Configurations" in change:
        classifications.check(change["Configurations"])
        before = document["Configurations"] if change.get("ReconfigurationType") == "MERGE" else ()
        document["Configurations"] = classifications.merged(before, classifications.shown(change["Configurations"]))
        document["ConfigurationsVersion"] += 1
        document["LastSuccessfullyAppliedConfigurations"] = document["Configurations"]
        document["LastSuccessfullyAppliedConfigurationsVersion"] = document["ConfigurationsVersion"]
    _resize(emr.controller.delays, connection, cluster, collection, ending)


def add_instance_fleet(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    config = classifications.shown(request["InstanceFleet"])
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        must_be_active(cluster)
        _must_have(cluster, "INSTANCE_FLEET")
        rules.check_fleet(config, cluster.document["ReleaseLabel"])
        if any(one.role == config["InstanceFleetType"] for one in store.collections(connection, cluster.id)):
            raise invalid_request(f"Cannot add another {config['InstanceFleetType']} instance fleet.")  # own wording
        collection = nodes.fleet(cluster.id, config, store.now())
        collection.insert(connection)
        _resize(emr.controller.delays, connection, cluster, collection)
    emr.controller.poke(cluster.id)
    return {"ClusterId": cluster.id, "InstanceFleetId": collection.id, "ClusterArn": cluster_arn(emr.region, cluster.id)}


def modify_instance_fleet(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    change = request["InstanceFleet"]
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        must_be_active(cluster)
        found = [one for one in store.collections(connection, cluster.id) if one.id == change["InstanceFleetId"] and one.is_fleet]
        if not found:
            raise invalid_request(f"Instance fleet id '{change['InstanceFleetId']}' is not valid.")  # own wording
        (collection,) = found
        document = collection.document
        if collection.role == "MASTER":
            raise invalid_request("The MASTER instance fleet cannot be resized.")  # own wording
        for name in ("TargetOnDemandCapacity", "TargetSpotCapacity", "ResizeSpecifications", "Context"):
            if name in change:
                document[name] = change[name]
        if configs := change.get("InstanceTypeConfigs"):
            document["InstanceTypeSpecifications"] = nodes.type_specifications(configs)
        _resize(emr.controller.delays, connection, cluster, collection)
    emr.controller.poke(cluster.id)
    return {}


def _resize(delays: Delays, connection: sqlite3.Connection, cluster: Cluster, collection: Collection, ending: Any = ()) -> None:
    """Ask for what a group or fleet lacks and end what it has too much of; a cluster that starts gets it with all the rest."""
    now = store.now()
    if cluster.state in transitions.READY:
        nodes.resize(connection, collection, now, delays.provisioning, ending)
        return
    nodes.shrink(connection, collection, now, ending)
    nodes.launch(connection, collection, now)
    collection.save(connection)


def _must_have(cluster: Cluster, kind: str) -> None:
    if cluster.document["InstanceCollectionType"] != kind:
        raise invalid_request("Instance fleets and instance groups are mutually exclusive.")  # own wording


def _find_group(emr: Emr, connection: sqlite3.Connection, group_id: str, cluster_id: str | None) -> Collection:
    row = connection.execute("SELECT cluster FROM collections WHERE id = ?", (group_id,)).fetchone()
    if row is None or (cluster_id is not None and row[0] != cluster_id):
        raise invalid(f"Instance group id '{group_id}' is not valid.")  # own wording
    return next(one for one in store.collections(connection, row[0]) if one.id == group_id)


def interrupt_spot(database: Database, controller: Mover, rule: Rule) -> None:
    """Terminate the newest running Spot instance of a role in the clusters that a rule names, and ask for another in its place.

    Raises:
        ApiError: ValidationException, when no such instance runs.
    """
    with database.write() as connection:
        found = next(_spot_instances(connection, rule), None)
        if found is None:
            raise invalid(f"No {rule.role} Spot instance runs on a cluster {rule.cluster}.")
        cluster, collection, instance = found
        # The code is AWS's; the message could not be confirmed.
        nodes.end(connection, [instance], store.now(), "INSTANCE_FAILURE", "Spot Instance was interrupted by Amazon EC2.")
        _resize(controller.delays, connection, cluster, collection)
    controller.poke(cluster.id)


def _spot_instances(connection: sqlite3.Connection, rule: Rule) -> Iterator[tuple[Cluster, Collection, Document]]:
    """Running Spot instances that a rule is about, newest cluster and newest instance first."""
    for cluster_id in reversed(store.clusters_in(connection, transitions.READY)):
        cluster = store.cluster(connection, cluster_id)
        if cluster is None or not any(fnmatchcase(name, rule.cluster) for name in (cluster.id, cluster.document["Name"])):
            continue
        for collection in store.collections(connection, cluster.id):
            for item in reversed(store.instances(connection, cluster.id, collection.id)):
                if collection.role == rule.role and item["Market"] == "SPOT" and item["Status"]["State"] == "RUNNING":
                    yield cluster, collection, item


OPERATIONS: dict[str, EmrOperation] = {
    "ListInstanceGroups": list_instance_groups,
    "ListInstanceFleets": list_instance_fleets,
    "ListInstances": list_instances,
    "AddInstanceGroups": add_instance_groups,
    "ModifyInstanceGroups": modify_instance_groups,
    "AddInstanceFleet": add_instance_fleet,
    "ModifyInstanceFleet": modify_instance_fleet,
}
