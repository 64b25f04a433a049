"""Operations on steps."""

from __future__ import annotations

from typing import Any

from framework.local.aws.emr import rules, store, transitions
from framework.local.aws.emr.operation import Emr, EmrOperation, find_cluster, find_job_flow, invalid, invalid_request, must_be_active
from framework.local.aws.emr.store import Step

_MOST_IDS = 10


def new_step(cluster_id: str, config: dict[str, Any], created: float, role: str | None, log_uri: str | None) -> Step:
    """A step that waits.

    The default of ActionOnFailure is not documented for the API; TERMINATE_CLUSTER is what the API reference gives first.
    """
    jar = config["HadoopJarStep"]
    step_id = store.new_id("s-")
    document: dict[str, Any] = {
        "Id": step_id,
        "Name": config["Name"],
        "Config": {
            "Jar": jar["Jar"],
            "Properties": {item["Key"]: item.get("Value", "") for item in jar.get("Properties", ()) if "Key" in item},
            **({"MainClass": jar["MainClass"]} if "MainClass" in jar else {}),
            "Args": jar.get("Args", []),
        },
        "ActionOnFailure": config.get("ActionOnFailure", "TERMINATE_CLUSTER"),
        "Status": {"State": "PENDING", "StateChangeReason": {}, "Timeline": {"CreationDateTime": created}},
        **({"ExecutionRoleArn": role} if role else {}),
        **({"LogUri": f"{log_uri.rstrip('/')}/{cluster_id}/steps/{step_id}/"} if log_uri else {}),
    }
    return Step(step_id, cluster_id, document, {})


def add_job_flow_steps(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.write() as connection:
        cluster = find_job_flow(emr, connection, request["JobFlowId"])
        must_be_active(cluster)
        level = cluster.document["StepConcurrencyLevel"]
        rules.steps(request["Steps"], level, active=len(store.active_steps(connection, cluster.id)))
        now, role = store.now(), request.get("ExecutionRoleArn")
        if level > 1:
            request["Steps"] = [{"ActionOnFailure": "CONTINUE", **config} for config in request["Steps"]]
        new = [new_step(cluster.id, config, now, role, cluster.document.get("LogUri")) for config in request["Steps"]]
        store.insert_steps(connection, new)
    emr.controller.poke(cluster.id)
    return {"StepIds": [step.id for step in new]}


def describe_step(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    cluster_id, step_id = request.get("ClusterId", ""), request.get("StepId", "")
    with emr.database.read() as connection:
        find_cluster(emr, connection, cluster_id)
        step = store.step(connection, cluster_id, step_id)
    if step is None:
        raise invalid_request(f"Step id '{step_id}' is not valid.")
    return {"Step": step.document}


def list_steps(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    cluster_id, ids, states = request["ClusterId"], request.get("StepIds"), request.get("StepStates")
    if ids and len(ids) > _MOST_IDS:
        raise invalid_request(f"The number of step IDs must be at most {_MOST_IDS}.")  # own wording
    with emr.database.read() as connection:
        find_cluster(emr, connection, cluster_id)
        by_state, values = store.any_of("state", states)
        by_id, more_values = store.any_of("id", ids)
        # "in reverse order unless you specify stepIds with the request or filter by StepStates"
        found, marker = store.page(
            connection,
            "steps",
            f"cluster = ?{by_state}{by_id}",
            [cluster_id, *values, *more_values],
            request.get("Marker"),
            newest_first=not ids and not states,
        )
    summaries = [{name: value for name, value in item.items() if name != "ExecutionRoleArn"} for item in found]
    return {"Steps": summaries, **({"Marker": marker} if marker else {})}


def cancel_steps(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    force = request.get("StepCancellationOption") == "TERMINATE_PROCESS"
    if len(request["StepIds"]) > rules.MAX_ACTIVE_STEPS:
        raise invalid("A maximum of 256 steps are allowed in each CancelSteps request.")
    answers = []
    with emr.database.write() as connection:
        cluster = find_cluster(emr, connection, request["ClusterId"])
        for step_id in request["StepIds"]:
            step = store.step(connection, cluster.id, step_id)
            if step is None:
                answers.append({"StepId": step_id, "Status": "FAILED", "Reason": f"Step id '{step_id}' is not valid."})  # own wording
            elif step.state == "PENDING":
                transitions.cancel_pending(connection, step, store.now(), "Cancelled by user")
                answers.append({"StepId": step_id, "Status": "SUBMITTED"})
            elif step.state in ("RUNNING", "CANCEL_PENDING"):
                step.document["Status"]["State"] = "CANCEL_PENDING"
                step.work["force"] = force or step.work.get("force", False)
                step.save(connection)
                answers.append({"StepId": step_id, "Status": "SUBMITTED"})
            else:
                reason = f"Step is already in state {step.state}."  # own wording
                answers.append({"StepId": step_id, "Status": "FAILED", "Reason": reason})
    emr.controller.poke(cluster.id)
    return {"CancelStepsInfoList": answers}


OPERATIONS: dict[str, EmrOperation] = {
    "AddJobFlowSteps": add_job_flow_steps,
    "DescribeStep": describe_step,
    "ListSteps": list_steps,
    "CancelSteps": cancel_steps,
}
