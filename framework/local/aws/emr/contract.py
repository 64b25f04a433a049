"""What the control plane asks of the executor: the values they share, and one small protocol.

The control plane (the EMR API, EMR Serverless) decides when something runs and what its states are; the executor runs it on
this machine and knows nothing of states. Everything is found again on disk after a kill -9 of the endpoint: the executor
keeps what it started, the control plane keeps what it decided.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class WorkKind(enum.StrEnum):
    """What a piece of work is for the control plane; decides where its logs go below the LogUri."""

    BOOTSTRAP = "bootstrap"
    STEP = "step"
    JOB_RUN = "job-run"
    APPLICATION = "application"


@dataclass(frozen=True)
class ClusterSpec:
    """What the executor has to know of a cluster (or of an EMR Serverless application).

    Attributes:
        id: `j-...`, or the id of the application.
        release: such as emr-7.12.0.
        applications: names as requested ("Spark", "Trino"); an application that is not among them is not installed.
        configurations: classifications as in the API (`Classification`, `Properties`, `Configurations`), those of the primary node.
        log_uri: S3 prefix of the logs; None keeps them on this machine only.
        region, tags: as given.
        runtime: environment variables that every process on the cluster gets (credentials, endpoint), never logged.
    """

    id: str
    name: str
    release: str
    applications: Sequence[str]
    configurations: Sequence[Mapping[str, Any]] = ()
    log_uri: str | None = None
    region: str = "us-east-1"
    tags: Mapping[str, str] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """One thing to run on a cluster.

    Attributes:
        id: `s-...` of a step, the number of a bootstrap action, the id of a job run; unique within its cluster.
        jar: `command-runner.jar`, `s3://.../script-runner/script-runner.jar`, a jar's or script's URI (a bootstrap action's Path).
        main_class: of a custom jar without a Main-Class in its manifest.
        properties: `-D` properties of the step.
        log_key: where its logs lie below the LogUri, without slashes at the ends: `j-1/steps/s-1`, `j-1/node/i-1/bootstrap-actions/1`.
        timeout: seconds until it is ended as timed out; None has no limit.
        role: ARN of its execution role, whose keys it gets in place of the cluster's.
    """

    id: str
    kind: WorkKind
    name: str
    jar: str
    args: Sequence[str] = ()
    main_class: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    log_key: str = ""
    timeout: float | None = None
    role: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a piece of work ended.

    Attributes:
        exit_code: 0 succeeded; negative, ended by that signal; None, never started, or its end was not seen.
        reason: EMR's short reason ("Unknown Error.", "Main Class not found."), None after success.
        message: what EMR shows as FailureDetails.Message: the exception or last line that explains it; None if there is none.
        log_file: S3 URI (or path) of the log that explains it.
        cancelled: it ended because `cancel` was called.
        started, ended: seconds since the epoch; started is None when it never did.
    """

    exit_code: int | None
    reason: str | None = None
    message: str | None = None
    log_file: str | None = None
    cancelled: bool = False
    started: float | None = None
    ended: float = 0.0

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0 and not self.cancelled


class Roles(Protocol):
    """Sessions of the roles under which work runs; empty where IAM does not know the role."""

    def of_profile(self, profile: str, session: str) -> Mapping[str, str]:
        """Environment variables with the keys of the role in an instance profile, given by name or ARN."""

    def of_role(self, role: str, session: str) -> Mapping[str, str]:
        """Environment variables with the keys of a role, given by its ARN."""

    def untrusting(self, role: str, service: str, source: str) -> str | None:
        """ARN of a role, given by name or ARN, whose trust policy does not let a service (`ec2.amazonaws.com`) assume it on behalf of
        the resource with the ARN `source`; None for every other, those included that IAM does not know."""


TIMED_OUT = "Timed out."
"""Reason of an outcome: it ran longer than its `timeout`."""


class Executor(Protocol):
    """Runs work in process groups of this machine. Safe to call from any thread; every method is idempotent.

    Nothing here blocks for long, but for `prepare` (may download) and `release` (ends processes, pushes the last logs).
    """

    def prepare(self, cluster: ClusterSpec) -> None:
        """Make the cluster's own folder: configuration files from its classifications, commands of its applications.

        Raises:
            ApiError: an application or a classification cannot be had; its message is the cluster's reason to end.
        """

    def start(self, cluster: ClusterSpec, work: Work) -> None:
        """Start it and return; a second call for the same work changes nothing. What cannot be started has an Outcome."""

    def outcome(self, cluster_id: str, work_id: str) -> Outcome | None:
        """How it ended; None while it runs. Known after a restart of the endpoint too.

        Raises:
            KeyError: it was never started.
        """

    def cancel(self, cluster_id: str, work_id: str, *, force: bool = False) -> None:
        """Ask the process group to end (SIGTERM), and kill it after a grace period; at once with `force`."""

    def release(self, cluster_id: str) -> None:
        """End everything of a cluster that still runs, push its last logs, and forget it."""

    def watch(self, on_end: Callable[[str, str], None]) -> None:
        """Have `on_end(cluster id, work id)` called, from a thread of the executor, as soon as a piece of work has ended."""

    def close(self) -> None:
        """The endpoint stops. What runs goes on only if it is found again: `emrjobs local down` must leave no process."""
