"""Operations on a cluster's policies: managed scaling, automatic scaling of groups, auto-termination.

`scaler` carries the scaling policies out, the controller itself auto-termination.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from framework.local.aws.emr import nodes, rules, store
from framework.local.aws.emr.operation import Emr, EmrOperation, cluster_arn, find_cluster, invalid, invalid_request, must_be_active
from framework.local.aws.emr.store import Cluster, Collection


def put_managed_scaling_policy(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        must_be_active(cluster)
        rules.managed_scaling(request["ManagedScalingPolicy"], fleets=cluster.document["InstanceCollectionType"] == "INSTANCE_FLEET")
        if any(_has_rules(collection) for collection in store.collections(connection, cluster.id)):
            raise invalid("A cluster has either managed scaling or automatic scaling policies, not both.")  # own wording
        cluster.work["managed_scaling"] = request["ManagedScalingPolicy"]
        cluster.save(connection)
    emr.controller.poke(cluster.id)
    return {}


def get_managed_scaling_policy(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.read() as connection:
        policy = find_cluster(emr, connection, request["ClusterId"]).work.get("managed_scaling")
    return {"ManagedScalingPolicy": policy} if policy else {}


def remove_managed_scaling_policy(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    return _remove(emr, request, "managed_scaling")


def put_auto_termination_policy(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    policy = request.get("AutoTerminationPolicy", {})
    rules.auto_termination(policy)
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        must_be_active(cluster)
        cluster.work["auto_termination"] = {"idle": policy["IdleTimeout"], "since": store.now()}
        cluster.save(connection)
    emr.controller.poke(cluster.id)
    return {}


def get_auto_termination_policy(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.read() as connection:
        policy = find_cluster(emr, connection, request["ClusterId"]).work.get("auto_termination")
    return {"AutoTerminationPolicy": {"IdleTimeout": policy["idle"]}} if policy else {}


def remove_auto_termination_policy(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    return _remove(emr, request, "auto_termination")


def _remove(emr: Emr, request: dict[str, Any], name: str) -> dict[str, Any]:
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        cluster.work.pop(name, None)
        cluster.save(connection)
    emr.controller.poke(cluster.id)
    return {}


def put_auto_scaling_policy(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    policy = request["AutoScalingPolicy"]
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        must_be_active(cluster)
        collection = _group(connection, cluster.id, request["InstanceGroupId"])
        rules.auto_scaling(policy, collection.role)
        may_have_rules(cluster)
        collection.document["AutoScalingPolicy"] = nodes.attached(policy)
        collection.work.pop("rules", None)
        collection.save(connection)
    emr.controller.poke(cluster.id)
    return {
        "ClusterId": cluster.id,
        "InstanceGroupId": collection.id,
        "AutoScalingPolicy": collection.document["AutoScalingPolicy"],
        "ClusterArn": cluster_arn(emr.region, cluster.id),
    }


def remove_auto_scaling_policy(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        collection = _group(connection, cluster.id, request["InstanceGroupId"])
        if _has_rules(collection):
            collection.document["AutoScalingPolicy"]["Status"] = nodes.policy_status("DETACHED")
            collection.save(connection)
    return {}


def may_have_rules(cluster: Cluster) -> None:
    """Refuse an automatic scaling policy on a cluster that cannot have one.

    Raises:
        ApiError: ValidationException.
    """
    if not cluster.document.get("AutoScalingRole"):
        raise invalid("An automatic scaling policy needs an AutoScalingRole.")  # own wording
    if "managed_scaling" in cluster.work:
        raise invalid("A cluster has either managed scaling or automatic scaling policies, not both.")  # own wording


def _has_rules(collection: Collection) -> bool:
    return collection.document.get("AutoScalingPolicy", {}).get("Status", {}).get("State") in ("PENDING", "ATTACHED")


def _group(connection: sqlite3.Connection, cluster_id: str, group_id: str) -> Collection:
    for collection in store.collections(connection, cluster_id):
        if collection.id == group_id and not collection.is_fleet:
            return collection
    raise invalid_request(f"Instance group id '{group_id}' is not valid.")  # own wording


OPERATIONS: dict[str, EmrOperation] = {
    "PutManagedScalingPolicy": put_managed_scaling_policy,
    "GetManagedScalingPolicy": get_managed_scaling_policy,
    "RemoveManagedScalingPolicy": remove_managed_scaling_policy,
    "PutAutoTerminationPolicy": put_auto_termination_policy,
    "GetAutoTerminationPolicy": get_auto_termination_policy,
    "RemoveAutoTerminationPolicy": remove_auto_termination_policy,
    "PutAutoScalingPolicy": put_auto_scaling_policy,
    "RemoveAutoScalingPolicy": remove_auto_scaling_policy,
}
