"""An EMR whose network fails on purpose: throttles before and after the effect, time-outs, dropped connections, kills, late lists."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from framework.store import Versioned


class Killed(BaseException):
    """The process is gone at this point."""


class TestClock:
    """Time that passes when somebody sleeps."""

    __test__ = False

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class MemoryStore:
    """A store with S3's conditional writes."""

    def __init__(self) -> None:
        self.objects: dict[str, Versioned] = {}
        self._versions = itertools.count()

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = Versioned(data, str(next(self._versions)), 0.0)

    def get(self, key: str) -> bytes | None:
        found = self.look(key)
        return found.data if found else None

    def look(self, key: str) -> Versioned | None:
        return self.objects.get(key)

    def put_if(self, key: str, data: bytes, *, tag: str | None) -> str | None:
        found = self.objects.get(key)
        if (found.tag if found else None) != tag:
            return None
        self.put(key, data)
        return self.objects[key].tag

    def keys(self, prefix: str = "") -> Iterable[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def url(self, key: str) -> str:
        return f"memory://{key}"


@dataclass
class Plane:
    """What EMR keeps of clusters and steps. `lag` seconds pass until a new cluster or step is in the lists."""

    clock: TestClock
    lag: float = 0.0
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def run_job_flow(self, Name: str, Steps: list[dict[str, Any]], **rest: Any) -> dict[str, Any]:  # noqa: N803
        cluster_id = f"j-{next(self.numbers):013d}"
        self.made[cluster_id] = {
            "Id": cluster_id,
            "Name": Name,
            "Status": {"State": "STARTING", "Timeline": {"CreationDateTime": dt.datetime.fromtimestamp(self.clock.now(), dt.UTC)}},
            "Applications": [{"Name": "Spark"}],
            "shown": self.clock.now() + self.lag,
        }
        self.steps[cluster_id] = []
        self.add_job_flow_steps(cluster_id, Steps)
        return {"JobFlowId": cluster_id}

    def add_job_flow_steps(self, JobFlowId: str, Steps: list[dict[str, Any]], **rest: Any) -> dict[str, Any]:  # noqa: N803
        waiting = [one for one in self.steps[JobFlowId] if one["Status"]["State"] in ("PENDING", "RUNNING")]
        if len(waiting) + len(Steps) > 256:
            raise client_error("ValidationException", "Maximum number of active steps (256) for this cluster is exceeded", 400)
        added = [{"Id": f"s-{next(self.numbers)}", "Name": one["Name"], "Status": {"State": "PENDING"}} for one in Steps]
        self.steps[JobFlowId] += [{**one, "shown": self.clock.now() + self.lag} for one in added]
        return {"StepIds": [one["Id"] for one in added]}

    def list_clusters(self, **rest: Any) -> dict[str, Any]:
        return {"Clusters": [one for one in self.made.values() if one["shown"] <= self.clock.now()]}

    def describe_cluster(self, ClusterId: str) -> dict[str, Any]:  # noqa: N803
        return {"Cluster": self.made[ClusterId]}

    def list_steps(self, ClusterId: str, StepStates: list[str] | None = None) -> dict[str, Any]:  # noqa: N803
        found = [one for one in reversed(self.steps[ClusterId]) if one["shown"] <= self.clock.now()]
        return {"Steps": [one for one in found if not StepStates or one["Status"]["State"] in StepStates]}

    def describe_step(self, ClusterId: str, StepId: str) -> dict[str, Any]:  # noqa: N803
        return {"Step": next(one for one in self.steps[ClusterId] if one["Id"] == StepId)}

    def terminate_job_flows(self, JobFlowIds: list[str]) -> dict[str, Any]:  # noqa: N803
        for cluster_id in JobFlowIds:
            self.end(cluster_id, "CANCELLED")
        return {}

    def cancel_steps(self, ClusterId: str, StepIds: list[str], **rest: Any) -> dict[str, Any]:  # noqa: N803
        for one in self.steps[ClusterId]:
            if one["Id"] in StepIds:
                one["Status"]["State"] = "CANCELLED"
        return {}

    def end(self, cluster_id: str, state: str = "COMPLETED") -> None:
        """Steps end, and with them the cluster."""
        for one in self.steps[cluster_id]:
            if one["Status"]["State"] in ("PENDING", "RUNNING"):
                one["Status"]["State"] = state
        self.made[cluster_id]["Status"]["State"] = "TERMINATED"

    def active(self) -> list[str]:
        """Clusters that cost money."""
        return [name for name, one in self.made.items() if one["Status"]["State"] not in ("TERMINATED", "TERMINATED_WITH_ERRORS")]


def client_error(code: str, message: str = "", status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation")  # type: ignore[arg-type]


FAULTS: dict[str, Callable[[], BaseException]] = {
    "throttled": lambda: client_error("ThrottlingException", "Rate exceeded"),
    "timed out": lambda: ReadTimeoutError(endpoint_url="https://emr"),
    "cut off": lambda: ConnectionClosedError(endpoint_url="https://emr"),
    "broken": lambda: client_error("InternalServerException", "", 500),
    "killed": Killed,
}


class Faulty:
    """A client of a plane, or the store: each call may fail before its effect, or after it.

    Args:
        rate: of calls that fail; they do until `quiet` is set.
        kinds: of FAULTS.
        log: gets one line a fault.
    """

    def __init__(self, inner: Any, rng: random.Random, rate: float, kinds: Iterable[str], log: list[str]) -> None:
        self._inner = inner
        self._rng = rng
        self._rate = rate
        self._kinds = sorted(kinds)
        self._log = log

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            fails = self._rng.random() < self._rate
            kind = self._rng.choice(self._kinds)
            after = self._rng.random() < 0.5
            if fails and not after:
                self._log.append(f"{kind} before {name}")
                raise FAULTS[kind]()
            answer = method(*args, **kwargs)
            if fails:
                self._log.append(f"{kind} after {name}")
                raise FAULTS[kind]()
            return answer

        return call
