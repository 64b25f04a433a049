"""How new states of clusters and steps are written down, by API calls and by the controller alike."""

from __future__ import annotations

import sqlite3

from framework.local.aws.emr import nodes, store
from framework.local.aws.emr.contract import Outcome
from framework.local.aws.emr.store import Cluster, Step

ACTIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
READY = ("RUNNING", "WAITING")


def enter(cluster: Cluster, state: str, code: str | None, message: str) -> None:
    """Write a cluster's new state down. The caller saves it."""
    status = cluster.document["Status"]
    status["State"] = state
    status["StateChangeReason"] = {**({"Code": code} if code else {}), "Message": message}


def terminate(connection: sqlite3.Connection, cluster: Cluster, now: float, code: str | None, message: str) -> None:
    """Begin to end a cluster: its waiting steps are cancelled, the others are ended by the controller. The caller saves it."""
    enter(cluster, "TERMINATING", code, message)
    for step in store.active_steps(connection, cluster.id):
        if step.state == "PENDING":
            cancel_pending(connection, step, now, "Job terminated")
    nodes.end_all(connection, cluster.id, now, "TERMINATING")


def cancel_pending(connection: sqlite3.Connection, step: Step, now: float, message: str) -> None:
    """Cancel a step that has not begun."""
    end_step(connection, step, "CANCELLED", now, message)


def end_step(connection: sqlite3.Connection, step: Step, state: str, now: float, message: str | None = None) -> None:
    """Write down that a step has ended, and save it."""
    status = step.document["Status"]
    status["State"] = state
    status["StateChangeReason"] = {"Message": message} if message else {}
    if "StartDateTime" in status["Timeline"]:
        status["Timeline"]["EndDateTime"] = now
    step.save(connection)


def finish(connection: sqlite3.Connection, step: Step, outcome: Outcome, now: float) -> None:
    """Write down how a step's work ended, and save it."""
    when = round(outcome.ended, 3) or now
    if outcome.succeeded:
        end_step(connection, step, "COMPLETED", when)
    elif outcome.cancelled:
        end_step(connection, step, "CANCELLED", when, "Cancelled by user")
    else:
        details = {"Reason": outcome.reason or "Unknown Error.", "Message": outcome.message, "LogFile": outcome.log_file}
        step.document["Status"]["FailureDetails"] = {name: text for name, text in details.items() if text}
        end_step(connection, step, "FAILED", when)
