"""DescribeJobFlows, the deprecated view of clusters as job flows."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from framework.local.aws.emr import store
from framework.local.aws.emr.operation import Emr, EmrOperation, find_job_flow
from framework.local.aws.emr.store import Cluster, Collection, Document

_DAY = 24 * 3600.0
# API reference: only those of the last two months, whatever is asked; without parameters, those that ended in the last two weeks.
_OLDEST, _RECENT = 61 * _DAY, 14 * _DAY
_MOST = 512
_ENDED = ("COMPLETED", "FAILED", "TERMINATED")
_TIMES = ("CreationDateTime", "ReadyDateTime", "EndDateTime")


def describe_job_flows(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    now, ids, states = store.now(), request.get("JobFlowIds"), request.get("JobFlowStates")
    after = max(request.get("CreatedAfter", 0), now - _OLDEST)
    before = request.get("CreatedBefore", now)
    with emr.database.read() as connection:
        if ids:
            clusters = [find_job_flow(emr, connection, cluster_id) for cluster_id in ids]
        else:
            query = "SELECT id FROM clusters WHERE region = ? AND created BETWEEN ? AND ? ORDER BY seq DESC"
            rows = connection.execute(query, (emr.region, after, before)).fetchall()
            clusters = [cluster for (cluster_id,) in rows if (cluster := store.cluster(connection, cluster_id)) is not None]
        found: list[Document] = []
        for cluster in clusters:
            state = _state(cluster)
            if not after <= cluster.created <= before or (states and state not in states):
                continue
            if not request and state in _ENDED and cluster.created < now - _RECENT:
                continue
            found.append(_job_flow(connection, cluster, state))
            if len(found) == _MOST:
                break
    return {"JobFlows": found}


def _state(cluster: Cluster) -> str:
    """The state in the words of job flows."""
    if cluster.state == "TERMINATED":
        code = cluster.document["Status"]["StateChangeReason"].get("Code")
        return "TERMINATED" if code == "USER_REQUEST" else "COMPLETED"
    return {"TERMINATING": "SHUTTING_DOWN", "TERMINATED_WITH_ERRORS": "FAILED"}.get(cluster.state, cluster.state)


def _job_flow(connection: sqlite3.Connection, cluster: Cluster, state: str) -> Document:
    document, status = cluster.document, cluster.document["Status"]
    collections = store.collections(connection, cluster.id)
    ec2 = document["Ec2InstanceAttributes"]
    actions = [
        {"BootstrapActionConfig": {"Name": action["Name"], "ScriptBootstrapAction": action["ScriptBootstrapAction"]}}
        for action in cluster.work["bootstrap_actions"]
    ]
    rows = connection.execute("SELECT document FROM steps WHERE cluster = ? ORDER BY seq", (cluster.id,)).fetchall()
    instances: Document = {
        "MasterInstanceType": _type(collections, "MASTER"),
        "SlaveInstanceType": _type(collections, "CORE"),
        "InstanceCount": len(store.instances(connection, cluster.id)),
        "InstanceGroups": [_group(collection) for collection in collections if not collection.is_fleet],
        "NormalizedInstanceHours": 0,
        "Placement": {"AvailabilityZone": ec2["Ec2AvailabilityZone"]},
        "KeepJobFlowAliveWhenNoSteps": cluster.work["keep_alive"],
        "TerminationProtected": document["TerminationProtected"],
        **{name: ec2[name] for name in ("Ec2KeyName", "Ec2SubnetId") if name in ec2},
        **({"MasterPublicDnsName": document["MasterPublicDnsName"]} if "MasterPublicDnsName" in document else {}),
    }
    return {
        "JobFlowId": cluster.id,
        "Name": document["Name"],
        **{name: document[name] for name in ("LogUri", "ServiceRole", "AutoScalingRole", "ScaleDownBehavior") if name in document},
        "ExecutionStatusDetail": {"State": state, **_times(status), **_reason(status)},
        "Instances": instances,
        "Steps": [_step(json.loads(row[0])) for row in rows],
        "BootstrapActions": actions,
        "SupportedProducts": [],
        "VisibleToAllUsers": document["VisibleToAllUsers"],
        "JobFlowRole": ec2["IamInstanceProfile"],
    }


def _step(document: Document) -> Document:
    config, status = document["Config"], document["Status"]
    properties = [{"Key": key, "Value": value} for key, value in config["Properties"].items()]
    jar = {**config, "Properties": properties}
    state = {"CANCEL_PENDING": "RUNNING"}.get(status["State"], status["State"])
    times = {name: status["Timeline"][name] for name in ("CreationDateTime", "StartDateTime", "EndDateTime") if name in status["Timeline"]}
    return {
        "StepConfig": {"Name": document["Name"], "ActionOnFailure": document["ActionOnFailure"], "HadoopJarStep": jar},
        "ExecutionStatusDetail": {"State": state, **times, **_reason(status)},
    }


def _group(collection: Collection) -> Document:
    document = collection.document
    return {
        "InstanceGroupId": collection.id,
        "Name": document["Name"],
        "Market": document["Market"],
        "InstanceRole": collection.role,
        "InstanceType": document["InstanceType"],
        "InstanceRequestCount": document["RequestedInstanceCount"],
        "InstanceRunningCount": document["RunningInstanceCount"],
        "State": document["Status"]["State"],
        **_times(document["Status"]),
        **_reason(document["Status"]),
        **({"BidPrice": document["BidPrice"]} if "BidPrice" in document else {}),
    }


def _times(status: Document) -> Document:
    times = {name: status["Timeline"][name] for name in _TIMES if name in status["Timeline"]}
    # A job flow starts when its instances are there; of that moment only the beginning is kept.
    return {**times, "StartDateTime": times["CreationDateTime"]}


def _reason(status: Document) -> Document:
    message = status["StateChangeReason"].get("Message")
    return {"LastStateChangeReason": message} if message else {}


def _type(collections: list[Collection], role: str) -> str:
    for collection in collections:
        if collection.role == role:
            document = collection.document
            return str(document["InstanceTypeSpecifications"][0]["InstanceType"] if collection.is_fleet else document["InstanceType"])
    return _type(collections, "MASTER")


OPERATIONS: dict[str, EmrOperation] = {"DescribeJobFlows": describe_job_flows}
