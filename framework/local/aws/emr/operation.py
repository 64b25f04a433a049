"""What all operations of the EMR API share: their context, and the errors that several of them answer.

Where the wording of an error could not be confirmed against AWS's documentation or a message of the real service that others
quote, the line says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from framework.local.aws.answers import ApiError
from framework.local.aws.database import Database
from framework.local.aws.emr import store
from framework.local.aws.emr.delays import Delays
from framework.local.aws.emr.faults import Faults
from framework.local.aws.emr.store import Cluster
from framework.local.aws.emr.transitions import ACTIVE
from framework.local.aws.router import ACCOUNT_ID


class Mover(Protocol):
    """What an operation needs of the controller."""

    delays: Delays

    def poke(self, cluster_id: str) -> None:
        """Look at a cluster at once."""


@dataclass(frozen=True)
class Emr:
    """EMR in one region."""

    database: Database
    region: str
    controller: Mover
    faults: Faults


EmrOperation = Callable[[Emr, dict[str, Any]], dict[str, Any]]


def invalid_request(message: str, error_code: str | None = None) -> ApiError:
    """The error of the newer operations.

    Args:
        error_code: its member ErrorCode; left out where nobody shows what the real service says.
    """
    return ApiError("InvalidRequestException", message, members={"ErrorCode": error_code} if error_code else None)


def invalid(message: str) -> ApiError:
    """The error of the operations that still speak of job flows."""
    return ApiError("ValidationException", message)


def find_cluster(emr: Emr, connection: sqlite3.Connection, cluster_id: str) -> Cluster:
    """A cluster of this region.

    Raises:
        ApiError: InvalidRequestException.
    """
    cluster = store.cluster(connection, cluster_id)
    if cluster is None or cluster.region != emr.region:
        # As in the logs of hashicorp/terraform-provider-aws, pull request 16924.
        raise invalid_request(f"Cluster id '{cluster_id}' is not valid.", "NoSuchCluster")
    return cluster


def find_job_flow(emr: Emr, connection: sqlite3.Connection, job_flow_id: str) -> Cluster:
    """A cluster of this region, for the operations that call it a job flow.

    Raises:
        ApiError: ValidationException.
    """
    cluster = store.cluster(connection, job_flow_id)
    if cluster is None or cluster.region != emr.region:
        raise invalid("Specified job flow ID does not exist.")
    return cluster


def must_be_active(cluster: Cluster) -> None:
    """Refuse a change to a cluster that ends or has ended.

    Raises:
        ApiError: ValidationException.
    """
    if cluster.state not in ACTIVE:
        raise invalid("A job flow that is shutting down, terminating, or finished may not be modified.")


def cluster_arn(region: str, cluster_id: str) -> str:
    """ARN of a cluster."""
    return f"arn:aws:elasticmapreduce:{region}:{ACCOUNT_ID}:cluster/{cluster_id}"
