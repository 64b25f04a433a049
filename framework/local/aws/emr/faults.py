"""Faults on demand: calls that throttle, time out or lose their answer, and clusters that do not get what they asked for.

Set by `PUT /_emrjobs/faults` with a JSON list of rules (GET shows it, DELETE empties it), or for one call by the header
`x-emrjobs-fault: <kind>`. Everything random is drawn from a rule's own seed: the same calls meet the same faults. Rules live in
memory and end with the endpoint.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from framework.local.aws.answers import ApiError


class Kind(StrEnum):
    """What goes wrong."""

    THROTTLE = "throttle"
    THROTTLE_AFTER = "throttle-after-acting"
    DROP_BEFORE = "drop-before-acting"
    DROP_AFTER = "drop-after-acting"
    TIMEOUT_AFTER = "timeout-after-acting"
    SPOT_SHORTAGE = "spot-shortage"
    SPOT_INTERRUPTION = "spot-interruption"
    BOOTSTRAP_FAILURE = "bootstrap-failure"


CALLS = frozenset({Kind.THROTTLE, Kind.THROTTLE_AFTER, Kind.DROP_BEFORE, Kind.DROP_AFTER, Kind.TIMEOUT_AFTER})


@dataclass
class Rule:
    """One fault.

    Attributes:
        kind: see `Kind`; the first five are about calls, the others about clusters.
        operation: name of the calls that it is about, with `*` as in file names.
        cluster: name or id of the cluster that it is about, with `*`; of a call, that the request names.
        contains: only calls whose body contains this text.
        count: how often it happens; None has no limit.
        skip: matching calls that are spared first.
        probability: of each matching call.
        seed: of the draws for `probability`.
        seconds: how long the connection of `timeout-after-acting` stays silent; after how long a Spot shortage times out (by default
            as the fleet's TimeoutDurationMinutes says).
        role: of the fleet that is short of Spot capacity, or whose Spot instance is interrupted.
        units: Spot capacity that there is.
        action: number of the bootstrap action that fails; one that the cluster does not have fails the start of Hadoop after them.
    """

    kind: Kind
    operation: str = "*"
    cluster: str = "*"
    contains: str = ""
    count: int | None = None
    skip: int = 0
    probability: float = 1.0
    seed: int = 0
    seconds: float | None = None
    role: str = "TASK"
    units: int = 0
    action: int = 1
    happened: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def happens(self) -> bool:
        """Whether it happens to one more matching call or cluster; counts it."""
        if self.count is not None and self.happened >= self.count:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.probability < 1 and self._random.random() >= self.probability:
            return False
        self.happened += 1
        return True

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.init}


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "operation": str, "cluster": str, "contains": str, "count": int, "skip": int, "probability": (int, float), "seed": int,
    "seconds": (int, float), "role": str, "units": int, "action": int,
}  # fmt: skip


def parse(value: Any) -> Rule:
    """A rule from JSON.

    Raises:
        ApiError: it has an unknown member, a wrong type or no known kind.
    """
    if not isinstance(value, dict):
        raise ApiError("ValidationException", "A fault is a JSON object.")
    if value.get("kind") not in [*Kind]:
        raise ApiError("ValidationException", f"A fault needs a kind, one of: {', '.join(Kind)}.")
    for name, item in value.items():
        if name == "kind" or (name == "happened" and item == 0):
            continue
        if name not in _TYPES:
            raise ApiError("ValidationException", f"A fault has no member {name!r}; known: kind, {', '.join(_TYPES)}.")
        if item is not None and (not isinstance(item, _TYPES[name]) or isinstance(item, bool)):
            raise ApiError("ValidationException", f"The member {name} of a fault has the wrong type.")
    given = {name: item for name, item in value.items() if item is not None}
    return Rule(**{**given, "kind": Kind(value["kind"])})


class Faults:
    """The rules that are set. Safe to use from any thread."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def set(self, rules: list[Rule]) -> None:
        """Replace all rules."""
        with self._lock:
            self._rules = rules

    def add(self, rules: list[Rule]) -> None:
        """Add rules after those that are there."""
        with self._lock:
            self._rules = [*self._rules, *rules]

    def shown(self) -> list[dict[str, Any]]:
        """All rules as JSON, with how often each has happened."""
        with self._lock:
            return [rule.shown() for rule in self._rules]

    def of_call(self, operation: str, body: bytes) -> Rule | None:
        """The fault that happens to a call; the first rule that matches and happens wins."""
        with self._lock:
            for rule in self._rules:
                if (
                    rule.kind in CALLS
                    and fnmatchcase(operation, rule.operation)
                    and rule.contains.encode() in body
                    and (rule.cluster == "*" or rule.cluster.encode() in body)
                    and rule.happens()
                ):
                    return rule
        return None

    def of_cluster(self, kind: Kind, names: tuple[str, ...], role: str | None = None) -> Rule | None:
        """The fault of a kind that happens to a cluster, known by name or id, or to its fleet of a role."""
        with self._lock:
            for rule in self._matching(kind, names, role):
                if rule.happens():
                    return rule
        return None

    def _matching(self, kind: Kind, names: tuple[str, ...], role: str | None) -> Iterator[Rule]:
        for rule in self._rules:
            if rule.kind is kind and any(fnmatchcase(name, rule.cluster) for name in names) and role in (None, rule.role):
                yield rule
