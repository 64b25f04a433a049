"""Calls to EMR's API: what may be repeated is, with back-off; what creates something is made once, and says when its answer is in doubt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from framework.aws import Aws, error_code, explain
from framework.emr.clock import Clock, RealClock
from framework.errors import AccessRefused, ConfigError, DatasetNotFound, EmrjobsError, ServiceUnavailable, UserError, nearest

THROTTLED = frozenset({"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown"})
ACTIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")
STEP_OPEN = ("PENDING", "CANCEL_PENDING", "RUNNING")


class Doubtful(ServiceUnavailable):
    """A call that creates something got no clear answer: it may or may not have had its effect."""


class EmrApi:
    """EMR's operations as this project uses them.

    Args:
        reads: boto3's `emr` client for what may be repeated.
        creates: one that makes every call once.
        attempts: of a read that is throttled or finds nobody.
    """

    def __init__(self, reads: Any, creates: Any, *, clock: Clock | None = None, attempts: int = 8) -> None:
        self._reads = reads
        self._creates = creates
        self.clock = clock or RealClock()
        self._attempts = attempts

    @classmethod
    def of(cls, aws: Aws) -> EmrApi:
        """The API of an environment.

        Raises:
            ConfigError: there is no such region.
        """
        check_region(aws)
        return cls(aws.client("emr"), aws.client("emr", once=True))

    def read(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """A call without effect, or one that may be repeated (terminate, cancel, tag).

        Raises:
            EmrjobsError: it was refused, or nobody answered for long.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        method = getattr(self._reads, operation)
        retrying = Retrying(
            sleep=self.clock.sleep,
            wait=wait_random_exponential(multiplier=0.5, max=20),
            stop=stop_after_attempt(self._attempts),
            retry=retry_if_exception(_worth_a_retry),
            reraise=True,
        )
        try:
            answer: dict[str, Any] = retrying(method, **arguments)
        except Exception as exc:
            raise _explained(exc, operation) from exc
        return answer

    def create(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """A call that creates something; made once.

        Raises:
            Doubtful: throttled, timed out or cut off. A throttled RunJobFlow may still have created its cluster.
            EmrjobsError: it was refused and has created nothing.
        """
        try:
            answer: dict[str, Any] = getattr(self._creates, operation)(**arguments)
        except Exception as exc:
            if _worth_a_retry(exc):
                raise Doubtful(f"{operation}: no clear answer: {_short(exc)}") from exc
            raise _explained(exc, operation) from exc
        return answer

    def clusters(self, *, since: float, states: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
        """ClusterSummary of the clusters that were created after a point in time, page by page."""
        import datetime as dt

        arguments: dict[str, Any] = {"CreatedAfter": dt.datetime.fromtimestamp(since, dt.UTC)}
        if states:
            arguments["ClusterStates"] = list(states)
        while True:
            page = self.read("list_clusters", **arguments)
            yield from page["Clusters"]
            if not page.get("Marker"):
                return
            arguments["Marker"] = page["Marker"]

    def cluster(self, cluster_id: str) -> dict[str, Any]:
        """Cluster with its status and tags."""
        found: dict[str, Any] = self.read("describe_cluster", ClusterId=cluster_id)["Cluster"]
        return found

    def steps(self, cluster_id: str, *, states: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
        """StepSummary of a cluster's steps, newest first."""
        arguments: dict[str, Any] = {"ClusterId": cluster_id}
        if states:
            arguments["StepStates"] = list(states)
        while True:
            page = self.read("list_steps", **arguments)
            yield from page["Steps"]
            if not page.get("Marker"):
                return
            arguments["Marker"] = page["Marker"]

    def step(self, cluster_id: str, step_id: str) -> dict[str, Any]:
        """Step with its status."""
        found: dict[str, Any] = self.read("describe_step", ClusterId=cluster_id, StepId=step_id)["Step"]
        return found

    def terminate(self, cluster_id: str) -> None:
        """Ask for the end of a cluster; one that ends already stays as it is."""
        self.read("terminate_job_flows", JobFlowIds=[cluster_id])

    def cancel_step(self, cluster_id: str, step_id: str) -> None:
        """Cancel a pending or running step."""
        self.read("cancel_steps", ClusterId=cluster_id, StepIds=[step_id], StepCancellationOption="SEND_INTERRUPT")


def check_region(aws: Aws) -> None:
    """A region that EMR has.

    Raises:
        ConfigError: it has not; a call would end in an unknown host.
    """
    if aws.endpoint("emr") is not None:
        return
    import boto3

    known = [name for partition in ("aws", "aws-cn", "aws-us-gov") for name in boto3.Session().get_available_regions("emr", partition)]
    if aws.region not in known:
        raise ConfigError(f"aws.region: AWS has no region {aws.region!r} with EMR", fix=nearest(aws.region, known, what="region"))


def _worth_a_retry(exc: BaseException) -> bool:
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(exc, ClientError):
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return (
            error_code(exc) in THROTTLED
            or status >= 500
            or error_code(exc) in ("InternalServerException", "InternalServerError", "InternalFailure")
        )
    return isinstance(exc, HTTPClientError | ConnectionError)


def _short(exc: BaseException) -> str:
    return error_code(exc) or str(exc).splitlines()[0]


def _explained(exc: BaseException, operation: str) -> EmrjobsError:
    """A refusal as one of ours: which permission is missing, what is not there, what the request has wrong."""
    if isinstance(exc, EmrjobsError):
        return exc
    code = error_code(exc)
    message = str((getattr(exc, "response", None) or {}).get("Error", {}).get("Message", ""))
    doing = operation.replace("_", " ")
    if code in ("AccessDeniedException", "AccessDenied"):
        found = re.search(r"not authorized to perform: ([\w:*]+)(?: on resource: (\S+))?", message)
        action = found[1] if found else f"elasticmapreduce:{''.join(part.title() for part in operation.split('_'))}"
        on = f" on {found[2]}" if found and found[2] else ""
        return AccessRefused(
            f"could not {doing}: the permission {action}{on} is missing", details=[message], fix=f"allow {action} to who submits"
        )
    if code in ("InvalidRequestException", "ValidationException", "ValidationError"):
        if re.search(r"[Cc]luster id .*is not valid|[Ss]tep id .*is not valid|[Jj]ob ?flow .*does not exist", message):
            return DatasetNotFound(f"could not {doing}: {message}", fix="`emrjobs clusters` lists those that are there")
        return UserError(
            f"could not {doing}: EMR refused it: {message}", fix="correct the preset in configs/clusters/ or `emr:` of the environment"
        )
    if isinstance(exc, Exception):
        return explain(exc, doing)
    raise exc
