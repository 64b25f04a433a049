"""Operations on clusters, the old ones that call them job flows included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from framework.local.aws.emr import classifications, nodes, rules, store, transitions
from framework.local.aws.emr.faults import Kind
from framework.local.aws.emr.operation import (
    Emr,
    EmrOperation,
    cluster_arn,
    find_cluster,
    find_job_flow,
    invalid,
    invalid_request,
    must_be_active,
)
from framework.local.aws.emr.steps import new_step
from framework.local.aws.emr.store import Cluster, Collection, Document

# Members of RunJobFlow that Cluster shows as they were given.
_KEPT = (
    "LogEncryptionKmsKeyId", "ServiceRole", "SecurityConfiguration", "AutoScalingRole", "CustomAmiId", "EbsRootVolumeSize",
    "RepoUpgradeOnBoot", "KerberosAttributes", "OSReleaseLabel", "EbsRootVolumeIops", "EbsRootVolumeThroughput", "ExtendedSupport",
    "MonitoringConfiguration", "SessionEnabled",
)  # fmt: skip
_SUMMARY = ("Id", "Name", "Status", "NormalizedInstanceHours", "ClusterArn")
_EC2 = (
    "Ec2KeyName", "EmrManagedMasterSecurityGroup", "EmrManagedSlaveSecurityGroup", "ServiceAccessSecurityGroup",
    "AdditionalMasterSecurityGroups", "AdditionalSlaveSecurityGroups",
)  # fmt: skip
_MOST_JOB_FLOWS = 10


def run_job_flow(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    rules.run_job_flow(request, emr.region)
    now, cluster_id = store.now(), store.new_id("j-")
    names = (request["Name"], cluster_id)
    work, request = _work(emr, request, now), classifications.shown(request)
    cluster = Cluster(cluster_id, emr.region, now, _document(emr, cluster_id, request, now), work)
    if failing := emr.faults.of_cluster(Kind.BOOTSTRAP_FAILURE, names):
        cluster.work["failing_bootstrap"] = failing.action
    instances = request["Instances"]
    with emr.database.write() as connection:
        if security := request.get("SecurityConfiguration"):
            query = "SELECT 1 FROM security_configurations WHERE region = ? AND name = ?"
            if connection.execute(query, (emr.region, security)).fetchone() is None:
                raise invalid(f"Security configuration with name '{security}' does not exist.")
        cluster.insert(connection)
        if instances.get("InstanceFleets"):
            collections = [nodes.fleet(cluster_id, config, now) for config in instances["InstanceFleets"]]
        else:
            collections = [nodes.group(cluster_id, config, now) for config in nodes.configs(instances)]
        for collection in collections:
            rule = (
                emr.faults.of_cluster(Kind.SPOT_SHORTAGE, names, collection.role) if collection.document.get("TargetSpotCapacity") else None
            )
            short = nodes.launch(connection, collection, now, rule.units if rule else None)
            if short and rule:
                collection.work["short"] = _shortage(collection, short, now, rule.seconds)
            collection.insert(connection)
        log_uri, role = request.get("LogUri"), request.get("StepExecutionRoleArn")
        store.insert_steps(connection, [new_step(cluster_id, config, now, role, log_uri) for config in request.get("Steps", ())])
    emr.controller.poke(cluster_id)
    return {"JobFlowId": cluster_id, "ClusterArn": cluster_arn(emr.region, cluster_id)}


def _document(emr: Emr, cluster_id: str, request: Mapping[str, Any], now: float) -> Document:
    instances = request["Instances"]
    subnets = [*instances.get("Ec2SubnetIds", ()), *([instances["Ec2SubnetId"]] if "Ec2SubnetId" in instances else [])]
    placement = instances.get("Placement", {})
    zones = placement.get("AvailabilityZones") or ([placement["AvailabilityZone"]] if "AvailabilityZone" in placement else [])
    ec2: Document = {
        **({"Ec2SubnetId": subnets[0]} if subnets else {}),
        "RequestedEc2SubnetIds": subnets,
        "Ec2AvailabilityZone": zones[0] if zones else f"{emr.region}a",
        "RequestedEc2AvailabilityZones": zones,
        "IamInstanceProfile": request["JobFlowRole"],
        **{name: instances[name] for name in _EC2 if name in instances},
    }
    masters = [group["InstanceCount"] for group in nodes.configs(instances) if group["InstanceRole"] == "MASTER"]
    document: Document = {
        "Id": cluster_id,
        "Name": request["Name"],
        "Status": {
            "State": "STARTING",
            "StateChangeReason": {"Message": "Provisioning Amazon EC2 capacity"},
            "Timeline": {"CreationDateTime": now},
        },
        "Ec2InstanceAttributes": ec2,
        "InstanceCollectionType": "INSTANCE_FLEET" if instances.get("InstanceFleets") else "INSTANCE_GROUP",
        "ReleaseLabel": request["ReleaseLabel"],
        "AutoTerminate": not instances.get("KeepJobFlowAliveWhenNoSteps", False),
        # A cluster with three master nodes is protected unless the request says otherwise (Management Guide, "high availability").
        "TerminationProtected": instances.get("TerminationProtected", masters == [3]),
        "UnhealthyNodeReplacement": instances.get("UnhealthyNodeReplacement", False),
        "VisibleToAllUsers": request.get("VisibleToAllUsers", True),
        "Applications": rules.applications(request["ReleaseLabel"], request.get("Applications", ())),
        "Tags": request.get("Tags", []),
        "NormalizedInstanceHours": 0,
        "Configurations": request.get("Configurations", []),
        "ScaleDownBehavior": request.get("ScaleDownBehavior", "TERMINATE_AT_TASK_COMPLETION"),
        "ClusterArn": cluster_arn(emr.region, cluster_id),
        "StepConcurrencyLevel": request.get("StepConcurrencyLevel", 1),
        "PlacementGroups": request.get("PlacementGroupConfigs", []),
        **{name: request[name] for name in _KEPT if name in request},
    }
    if uri := request.get("LogUri"):
        document["LogUri"] = uri if uri.endswith("/") else f"{uri}/"
    return document


def _work(emr: Emr, request: Mapping[str, Any], now: float) -> Document:
    instances = request["Instances"]
    masters = [group for group in nodes.configs(instances) if group["InstanceRole"] == "MASTER"]
    masters += [
        config
        for one in instances.get("InstanceFleets", ())
        if one["InstanceFleetType"] == "MASTER"
        for config in one["InstanceTypeConfigs"]
    ][:1]
    inner = masters[0].get("Configurations", ()) if masters else ()
    work: Document = {
        "keep_alive": instances.get("KeepJobFlowAliveWhenNoSteps", False),
        "provisioned_at": now + emr.controller.delays.provisioning,
        "configurations": classifications.merged(request.get("Configurations", ()), inner),
        "bootstrap_actions": request.get("BootstrapActions", []),
        "bootstrapped": 0,
    }
    if policy := request.get("AutoTerminationPolicy"):
        work["auto_termination"] = {"idle": policy["IdleTimeout"], "since": now}
    if policy := request.get("ManagedScalingPolicy"):
        work["managed_scaling"] = policy
    return work


def _shortage(collection: Collection, units: int, now: float, seconds: float | None) -> Document:
    # Without a launch specification EMR waits as long as it takes; here a day.
    spot = collection.document.get("LaunchSpecifications", {}).get("SpotSpecification", {})
    timeout = spot.get("TimeoutDurationMinutes", 1440) * 60 if seconds is None else seconds
    return {"units": units, "until": now + timeout, "action": spot.get("TimeoutAction", "SWITCH_TO_ON_DEMAND")}


def describe_cluster(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.read() as connection:
        return {"Cluster": find_cluster(emr, connection, request["ClusterId"]).document}


def list_clusters(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    in_states, values = store.any_of("state", request.get("ClusterStates"))
    where, parameters = f"region = ?{in_states}", [emr.region, *values]
    for name, comparison in (("CreatedAfter", ">="), ("CreatedBefore", "<=")):
        if name in request:
            where += f" AND created {comparison} ?"
            parameters.append(request[name])
    with emr.database.read() as connection:
        found, marker = store.page(connection, "clusters", where, parameters, request.get("Marker"), newest_first=True)
    clusters = [{name: item[name] for name in _SUMMARY} for item in found]
    return {"Clusters": clusters, **({"Marker": marker} if marker else {})}


def list_bootstrap_actions(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.read() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
    actions = [
        {
            "Name": action["Name"],
            "ScriptPath": action["ScriptBootstrapAction"]["Path"],
            "Args": action["ScriptBootstrapAction"].get("Args", []),
        }
        for action in cluster.work["bootstrap_actions"]
    ]
    return {"BootstrapActions": actions}


def terminate_job_flows(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    ids = request["JobFlowIds"]
    if len(ids) > _MOST_JOB_FLOWS:
        raise invalid(f"The maximum number of clusters allowed is {_MOST_JOB_FLOWS}.")  # own wording
    protected, ended = False, []
    with emr.database.write() as connection:
        for cluster in [find_job_flow(emr, connection, cluster_id) for cluster_id in ids]:
            if cluster.state not in transitions.ACTIVE:
                continue
            if cluster.document["TerminationProtected"]:
                protected = True
                continue
            transitions.terminate(connection, cluster, store.now(), "USER_REQUEST", "Terminated by user request")
            cluster.save(connection)
            ended.append(cluster.id)
    for cluster_id in ended:
        emr.controller.poke(cluster_id)
    if protected:
        raise invalid("Could not shut down one or more job flows since they are termination protected.")
    return {}


def _setter(change: Callable[[Cluster, bool], None], member: str) -> EmrOperation:
    """An operation that sets one flag of several clusters: of all, or of none when one is not valid."""

    def operation(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
        with emr.database.write() as connection:
            clusters = [find_job_flow(emr, connection, cluster_id) for cluster_id in request["JobFlowIds"]]
            for cluster in clusters:
                must_be_active(cluster)
                change(cluster, request[member])
                cluster.save(connection)
        for cluster in clusters:
            emr.controller.poke(cluster.id)
        return {}

    return operation


def _keep_alive(cluster: Cluster, value: bool) -> None:
    cluster.document["AutoTerminate"] = not value
    cluster.work["keep_alive"] = value


def _flag(name: str) -> Callable[[Cluster, bool], None]:
    def change(cluster: Cluster, value: bool) -> None:
        cluster.document[name] = value

    return change


def modify_cluster(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        if cluster.state not in transitions.ACTIVE:
            raise invalid_request("A job flow that is shutting down, terminating, or finished may not be modified.")
        if "StepConcurrencyLevel" in request:
            rules.step_concurrency(request["StepConcurrencyLevel"])
        for name in ("StepConcurrencyLevel", "ExtendedSupport"):
            if name in request:
                cluster.document[name] = answer[name] = request[name]
        cluster.save(connection)
    emr.controller.poke(cluster.id)
    return answer


def add_tags(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.write() as connection:
        cluster = _tagged(emr, connection, request)
        given = {tag.get("Key", ""): tag.get("Value", "") for tag in request["Tags"]}
        kept = {tag["Key"]: tag.get("Value", "") for tag in cluster.document["Tags"]} | given
        tags = [{"Key": key, "Value": value} for key, value in kept.items()]
        rules.tags(tags)
        cluster.document["Tags"] = tags
        cluster.save(connection)
    return {}


def remove_tags(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.write() as connection:
        cluster = _tagged(emr, connection, request)
        cluster.document["Tags"] = [tag for tag in cluster.document["Tags"] if tag["Key"] not in request["TagKeys"]]
        cluster.save(connection)
    return {}


def _tagged(emr: Emr, connection: Any, request: Mapping[str, Any]) -> Cluster:
    resource = request.get("ResourceId") or request.get("ClusterId") or ""
    return find_cluster(emr, connection, resource.rpartition("/")[2])


OPERATIONS: dict[str, EmrOperation] = {
    "RunJobFlow": run_job_flow,
    "DescribeCluster": describe_cluster,
    "ListClusters": list_clusters,
    "ListBootstrapActions": list_bootstrap_actions,
    "TerminateJobFlows": terminate_job_flows,
    "SetTerminationProtection": _setter(_flag("TerminationProtected"), "TerminationProtected"),
    "SetKeepJobFlowAliveWhenNoSteps": _setter(_keep_alive, "KeepJobFlowAliveWhenNoSteps"),
    "SetVisibleToAllUsers": _setter(_flag("VisibleToAllUsers"), "VisibleToAllUsers"),
    "SetUnhealthyNodeReplacement": _setter(_flag("UnhealthyNodeReplacement"), "UnhealthyNodeReplacement"),
    "ModifyCluster": modify_cluster,
    "AddTags": add_tags,
    "RemoveTags": remove_tags,
}
