"""An executor whose work ends when a test says so: the controller's own states are tested without a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from framework.local.aws.answers import ApiError
from framework.local.aws.emr.contract import ClusterSpec, Outcome, Work


class NoRoles:
    """An account whose IAM knows no role."""

    def of_profile(self, profile: str, session: str) -> Mapping[str, str]:
        return {}

    def of_role(self, role: str, session: str) -> Mapping[str, str]:
        return {}

    def untrusting(self, role: str, service: str, source: str) -> str | None:
        return None


@dataclass
class FakeExecutor:
    """`jar` of a work says what becomes of it: "ok" and "fail" end at once, "hold" runs until `finish` or `cancel`.

    It outlives an endpoint, as the processes of the real one do.

    Attributes:
        environments: of each work, by its id.
        otherwise: what becomes of a work whose jar says nothing.
        releasing: a cluster ends when this is set.
    """

    prepared: list[ClusterSpec] = field(default_factory=list)
    started: list[Work] = field(default_factory=list)
    environments: dict[str, Mapping[str, str]] = field(default_factory=dict)
    cancelled: list[tuple[str, bool]] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    refuse: str | None = None
    deaf: bool = False
    otherwise: str = "hold"
    releasing: threading.Event = field(default_factory=threading.Event)
    _outcomes: dict[tuple[str, str], Outcome | None] = field(default_factory=dict)
    _listener: Callable[[str, str], None] = lambda cluster_id, work_id: None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.releasing.set()

    def prepare(self, cluster: ClusterSpec) -> None:
        if self.refuse:
            raise ApiError("ValidationException", self.refuse)
        self.prepared.append(cluster)

    def start(self, cluster: ClusterSpec, work: Work) -> None:
        with self._lock:
            if (cluster.id, work.id) in self._outcomes:
                return
            self.environments[work.id] = cluster.runtime
            self.started.append(work)
            self._outcomes[cluster.id, work.id] = None
        wanted = next((word for word in ("ok", "fail", "hold") if work.jar.endswith(word)), self.otherwise)
        if wanted != "hold":
            self.finish(cluster.id, work.id, 0 if wanted == "ok" else 1)

    def finish(
        self, cluster_id: str, work_id: str, exit_code: int = 0, *, cancelled: bool = False, reason: str | None = "Unknown Error."
    ) -> None:
        message = None if exit_code == 0 else "it broke"
        log = None if exit_code == 0 else "s3://logs/stderr.gz"
        reason = None if exit_code == 0 else reason
        with self._lock:
            self._outcomes[cluster_id, work_id] = Outcome(exit_code, reason, message, log, cancelled, ended=time.time())
        self._listener(cluster_id, work_id)

    def running(self) -> list[tuple[str, str]]:
        """(cluster, work) of all that has not ended."""
        with self._lock:
            return [key for key, outcome in self._outcomes.items() if outcome is None]

    def outcome(self, cluster_id: str, work_id: str) -> Outcome | None:
        with self._lock:
            return self._outcomes[cluster_id, work_id]

    def cancel(self, cluster_id: str, work_id: str, *, force: bool = False) -> None:
        self.cancelled.append((work_id, force))
        if force or not self.deaf:
            self.finish(cluster_id, work_id, -9 if force else -15, cancelled=True)

    def release(self, cluster_id: str) -> None:
        self.releasing.wait()
        self.released.append(cluster_id)

    def watch(self, on_end: Callable[[str, str], None]) -> None:
        self._listener = on_end

    def close(self) -> None:
        self._listener = lambda cluster_id, work_id: None
