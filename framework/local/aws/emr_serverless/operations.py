"""What each operation of EMR Serverless does. Wordings of errors that could not be confirmed are marked."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from framework.local.aws.answers import ApiError
from framework.local.aws.database import Database
from framework.local.aws.emr.labels import known_releases
from framework.local.aws.emr_serverless import store
from framework.local.aws.emr_serverless.store import Application, Document, JobRun

TYPES = {"spark": "Spark", "hive": "Hive"}
_DEFAULTS: Mapping[str, Any] = {
    "autoStartConfiguration": {"enabled": True},
    "autoStopConfiguration": {"enabled": True, "idleTimeoutMinutes": 15},
    "architecture": "X86_64",
}
_PAGE = 50
PAGE_PATH = "/_emrjobs/job-run"


@dataclass(frozen=True)
class Serverless:
    """EMR Serverless in one region."""

    database: Database
    region: str
    caller: str
    url: str
    poke: Callable[[], None]
    release: Callable[[str], None]


Operation = Callable[[Serverless, dict[str, Any]], dict[str, Any]]


def _invalid(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def _application(connection: sqlite3.Connection, application_id: str) -> Application:
    found = store.application(connection, application_id)
    if found is None:
        raise ApiError("ResourceNotFoundException", f"Application {application_id} does not exist", 404)
    return found


def _run(connection: sqlite3.Connection, request: Mapping[str, Any]) -> JobRun:
    _application(connection, request["applicationId"])
    found = store.job_run(connection, request["applicationId"], request["jobRunId"])
    if found is None:
        raise ApiError("ResourceNotFoundException", f"Job {request['jobRunId']} does not exist", 404)
    return found


def _require(application: Application, *states: str) -> None:
    if application.state not in states:
        listed = ", ".join(states)
        raise _invalid(
            f"Application {application.id} must be in one of the following statuses [{listed}]. Current status: {application.state}"
        )


def _once(serverless: Serverless, request: dict[str, Any], act: Callable[[sqlite3.Connection], Document]) -> Document:
    """Act, or give the answer that the same client token had."""
    token = request.pop("clientToken")
    text = json.dumps(request, sort_keys=True)
    with serverless.database.write() as connection:
        other, answer = store.answered(connection, token, text)
        if other:
            raise ApiError("ConflictException", "The client token was used for another request.", 409)  # wording not confirmed
        if answer is None:
            answer = act(connection)
            store.remember(connection, token, text, answer)
    serverless.poke()
    return answer


# ---------------------------------------------------------------------------------------------------------- applications


def _check_scheduler(request: Mapping[str, Any]) -> None:
    """Ranges of the API reference, SchedulerConfiguration; wording not confirmed."""
    for name, least, most in (("queueTimeoutMinutes", 15, 720), ("maxConcurrentRuns", 1, 1000)):
        value = request.get("schedulerConfiguration", {}).get(name, least)
        if not least <= value <= most:
            raise _invalid(f"{name} must be between {least} and {most}")


def create_application(serverless: Serverless, request: dict[str, Any]) -> Document:
    kind = TYPES.get(request["type"].lower())
    if kind is None:
        raise _invalid(f"Unsupported application type {request['type']}: it is SPARK or HIVE")
    if request["releaseLabel"] not in known_releases(serverless.region):
        raise _invalid(f"Release label {request['releaseLabel']} is not supported by the local endpoint")
    _check_scheduler(request)

    def act(connection: sqlite3.Connection) -> Document:
        application_id, now = store.new_id(), time.time()
        own = {
            "applicationId": application_id,
            "arn": store.arn(serverless.region, f"applications/{application_id}"),
            "type": kind,
            "createdAt": now,
        }
        document = {**_DEFAULTS, "tags": {}, **request, **own}
        application = Application(application_id, serverless.region, document)
        application.enter("CREATING")
        application.save(connection)
        return {key: document[key] for key in ("applicationId", "name", "arn") if key in document}

    return _once(serverless, request, act)


def get_application(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.read() as connection:
        return {"application": _application(connection, request["applicationId"]).document}


def list_applications(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.read() as connection:
        found = store.applications(connection, serverless.region)
    chosen = [one.document for one in found if not request.get("states") or one.state in request["states"]]
    keys = ("name", "arn", "releaseLabel", "type", "state", "stateDetails", "createdAt", "updatedAt", "architecture")
    return _page(
        "applications", [{"id": item["applicationId"], **{key: item[key] for key in keys if key in item}} for item in chosen], request
    )


def update_application(serverless: Serverless, request: dict[str, Any]) -> Document:
    application_id = request.pop("applicationId")
    request.pop("clientToken")
    _check_scheduler(request)
    with serverless.database.write() as connection:
        application = _application(connection, application_id)
        _require(application, "CREATED", "STOPPED")
        application.document |= request
        # Its node is made anew from the new configuration.
        application.enter("CREATING" if application.state == "CREATED" else application.state)
        application.save(connection)
    serverless.poke()
    return {"application": application.document}


def start_application(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.write() as connection:
        application = _application(connection, request["applicationId"])
        if application.state not in ("STARTING", "STARTED"):
            _require(application, "CREATED", "STOPPED")
            application.enter("STARTING")
            application.save(connection)
    serverless.poke()
    return {}


def stop_application(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.write() as connection:
        application = _application(connection, request["applicationId"])
        if application.state in ("STOPPING", "STOPPED"):
            return {}
        _require(application, "STARTED", "CREATED")
        if any(run.state not in store.ENDED for run in store.job_runs(connection, application.id)):
            # API Reference, StopApplication: all jobs must be completed or cancelled before; wording not confirmed.
            raise _invalid(f"Application {application.id} has job runs that have not ended")
        application.enter("STOPPING")
        application.save(connection)
    serverless.poke()
    return {}


def delete_application(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.write() as connection:
        application = _application(connection, request["applicationId"])
        _require(application, "CREATED", "STOPPED")
        application.enter("TERMINATED")
        application.save(connection)
    serverless.release(application.id)
    return {}


# -------------------------------------------------------------------------------------------------------------- job runs


def start_job_run(serverless: Serverless, request: dict[str, Any]) -> Document:
    application_id = request["applicationId"]

    def act(connection: sqlite3.Connection) -> Document:
        application = _application(connection, application_id)
        driver = request["jobDriver"]
        if len(driver) != 1 or (application.document["type"] == "Spark") != ("sparkSubmit" in driver):
            raise _invalid(f"The job driver does not fit an application of type {application.document['type']}")  # wording not confirmed
        if application.document["autoStartConfiguration"].get("enabled", True):
            _require(application, "CREATING", "CREATED", "STARTING", "STARTED", "STOPPING", "STOPPED")
        else:
            _require(application, "STARTED")
        run_id, now = store.new_id(), time.time()
        document = {
            "mode": "BATCH",
            "tags": {},
            **request,
            "jobRunId": run_id,
            "arn": store.arn(serverless.region, f"applications/{application_id}/jobruns/{run_id}"),
            "createdBy": serverless.caller,
            "createdAt": now,
            "executionRole": request["executionRoleArn"],
            "releaseLabel": application.document["releaseLabel"],
            "attempt": 1,
        }
        del document["executionRoleArn"]
        run = JobRun(run_id, application_id, document, {"attempt": 1})
        run.enter("SUBMITTED")
        run.save(connection)
        return {key: document[key] for key in ("applicationId", "jobRunId", "arn")}

    return _once(serverless, request, act)


def get_job_run(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.read() as connection:
        return {"jobRun": _run(connection, request).document}


def list_job_runs(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.read() as connection:
        application = _application(connection, request["applicationId"])
        found = [run.document for run in store.job_runs(connection, application.id)]
    chosen = [
        item
        for item in found
        if (not request.get("states") or item["state"] in request["states"])
        and ("mode" not in request or item["mode"] == request["mode"])
        and item["createdAt"] >= request.get("createdAtAfter", 0)
        and item["createdAt"] <= request.get("createdAtBefore", float("inf"))
    ]
    return _page("jobRuns", [_summary(item, application) for item in chosen], request)


def _summary(document: Document, application: Application) -> Document:
    keys = ("applicationId", "name", "mode", "arn", "createdBy", "createdAt", "updatedAt", "executionRole", "state", "stateDetails")
    shown = {key: document[key] for key in (*keys, "releaseLabel", "attempt") if key in document}
    return {"id": document["jobRunId"], "type": application.document["type"], **shown}


def list_job_run_attempts(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.read() as connection:
        run = _run(connection, request)
        application = _application(connection, run.application)
    last = {**_summary(run.document, application), "jobCreatedAt": run.document["createdAt"]}
    before = [{**last, "attempt": number, "state": "FAILED"} for number in range(1, run.work["attempt"])]
    return _page("jobRunAttempts", [last, *reversed(before)], request)


def cancel_job_run(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.write() as connection:
        run = _run(connection, request)
        if run.state in store.ENDED:
            raise _invalid(f"Job {run.id} cannot be cancelled: it is {run.state}")  # wording not confirmed
        run.work["cancelled"] = True
        run.enter("CANCELLING")
        run.save(connection)
    serverless.poke()
    return {"applicationId": run.application, "jobRunId": run.id}


def get_dashboard(serverless: Serverless, request: dict[str, Any]) -> Document:
    """A page of the endpoint itself: there is no Spark history server."""
    with serverless.database.read() as connection:
        run = _run(connection, request)
    return {"url": f"{serverless.url}{PAGE_PATH}?{urlencode({'application': run.application, 'run': run.id})}"}


# ------------------------------------------------------------------------------------------------------------------ tags


def _tagged(connection: sqlite3.Connection, resource: str) -> Application | JobRun:
    parts = resource.rpartition(":")[2].strip("/").split("/")
    if parts[0] == "applications" and len(parts) == 2:
        return _application(connection, parts[1])
    if parts[0] == "applications" and len(parts) == 4:
        return _run(connection, {"applicationId": parts[1], "jobRunId": parts[3]})
    raise ApiError("ResourceNotFoundException", f"Resource {resource} does not exist", 404)


def list_tags(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.read() as connection:
        return {"tags": _tagged(connection, request["resourceArn"]).document["tags"]}


def tag(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.write() as connection:
        found = _tagged(connection, request["resourceArn"])
        found.document["tags"] |= request["tags"]
        found.save(connection)
    return {}


def untag(serverless: Serverless, request: dict[str, Any]) -> Document:
    with serverless.database.write() as connection:
        found = _tagged(connection, request["resourceArn"])
        found.document["tags"] = {key: value for key, value in found.document["tags"].items() if key not in request["tagKeys"]}
        found.save(connection)
    return {}


def _page(name: str, items: list[Document], request: Mapping[str, Any]) -> Document:
    """One page; a token says how many were shown before."""
    text = request.get("nextToken", "0")
    if not text.isdigit():
        raise _invalid("The next token is not valid")
    start, size = int(text), request.get("maxResults", _PAGE)
    more = {"nextToken": str(start + size)} if len(items) > start + size else {}
    return {name: items[start : start + size], **more}


OPERATIONS: Mapping[str, Operation] = {
    "CancelJobRun": cancel_job_run,
    "CreateApplication": create_application,
    "DeleteApplication": delete_application,
    "GetApplication": get_application,
    "GetDashboardForJobRun": get_dashboard,
    "GetJobRun": get_job_run,
    "ListApplications": list_applications,
    "ListJobRunAttempts": list_job_run_attempts,
    "ListJobRuns": list_job_runs,
    "ListTagsForResource": list_tags,
    "StartApplication": start_application,
    "StartJobRun": start_job_run,
    "StopApplication": stop_application,
    "TagResource": tag,
    "UntagResource": untag,
    "UpdateApplication": update_application,
}
