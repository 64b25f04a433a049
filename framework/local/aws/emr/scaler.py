"""Carries scaling policies out: what a cluster's running steps ask for becomes the size of its groups and fleets.

There is no YARN here, so the load is read off the steps. A step that runs asks for as many containers as it names executors
(`--num-executors`, `spark.executor.instances` in its arguments or in spark-defaults), else for one; an instance, or a unit of a
fleet, has room for one container. Steps that wait for their turn ask for nothing, as they have not reached YARN.

Everything is decided again at each pass over a cluster from what its groups and fleets were asked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework.emr import instances
from framework.local.aws.emr import nodes, store
from framework.local.aws.emr.delays import Delays
from framework.local.aws.emr.store import Cluster, Collection, Document, Step

_EXECUTORS = "spark.executor.instances"
# The order in which managed scaling adds capacity; it takes it away in the opposite one (Management Guide, "Understanding node
# allocation strategy and scenarios").
_ORDER = (("CORE", "ON_DEMAND"), ("CORE", "SPOT"), ("TASK", "ON_DEMAND"), ("TASK", "SPOT"))


def scale(connection: sqlite3.Connection, cluster: Cluster, steps: Iterable[Step], now: float, delays: Delays) -> float | None:
    """Resize what the policies of a ready cluster want resized; returns when to look again. The caller saves the cluster.

    Args:
        steps: those that wait or run.
    """
    policies = [one for one in store.collections(connection, cluster.id) if "AutoScalingPolicy" in one.document]
    if not policies and "managed_scaling" not in cluster.work:
        return None
    steps = list(steps)
    defaults = _spark_defaults(cluster)
    load = sum(containers(step.document["Config"].get("Args", ()), defaults) for step in steps if step.state != "PENDING")
    moments = []
    if limits := cluster.work.get("managed_scaling", {}).get("ComputeLimits"):
        moments.append(_manage(connection, cluster, limits, load, now, delays))
    for collection in policies:
        values = _metrics(connection, cluster, steps, load)
        moments.append(_follow_rules(connection, collection, values, now, delays))
    return min((moment for moment in moments if moment is not None), default=None)


def containers(args: Sequence[str], defaults: Mapping[str, str]) -> int:
    """How many containers a step asks YARN for.

    Args:
        args: of the step.
        defaults: the cluster's spark-defaults.
    """
    wanted = defaults.get(_EXECUTORS)
    for word, following in zip(args, [*args[1:], ""], strict=True):
        text = following if word in ("--num-executors", "--conf", "-c") else word
        if word.startswith("--num-executors"):
            wanted = text.rpartition("=")[2]
        elif word in ("--conf", "-c") or word.startswith("--conf="):
            key, _, value = text.removeprefix("--conf=").partition("=")
            wanted = value if key.strip() == _EXECUTORS else wanted
    return max(1, int(wanted)) if wanted and wanted.strip().isdigit() else 1


def _spark_defaults(cluster: Cluster) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for item in cluster.work["configurations"]:
        if item["Classification"] == "spark-defaults":
            found |= item.get("Properties") or {}
    return found


# Managed scaling.


@dataclass
class Part:
    """What managed scaling sizes: an instance group, or one market of a fleet.

    Attributes:
        units: its capacity, in the unit of the policy.
        step: units of one instance.
    """

    role: str
    market: str
    units: int
    step: int = 1


def spread(parts: Sequence[Part], limits: Mapping[str, Any], wanted: int) -> None:
    """Bring the capacity of all parts together as near to `wanted` as the policy's limits allow, by changing their units.

    Args:
        limits: ComputeLimits of the policy.
    """
    most = limits["MaximumCapacityUnits"]
    target = min(max(wanted, limits["MinimumCapacityUnits"]), most)
    core, on_demand = limits.get("MaximumCoreCapacityUnits", most), limits.get("MaximumOnDemandCapacityUnits", most)
    ordered = sorted(parts, key=lambda part: _ORDER.index((part.role, part.market)))
    missing = target - _sum(parts)
    for part in ordered if missing > 0 else ():
        room = missing
        if part.role == "CORE":
            room = min(room, core - _sum(parts, lambda one: one.role == "CORE"))
        if part.market == "ON_DEMAND":
            room = min(room, on_demand - _sum(parts, lambda one: one.market == "ON_DEMAND"))
        added = max(0, room) // part.step * part.step
        part.units += added
        missing -= added
    surplus = -missing
    for part in reversed(ordered) if surplus > 0 else ():
        # HDFS lies on the core nodes: one of them stays.
        least = part.step if part.role == "CORE" and _sum(parts, lambda one: one.role == "CORE") == part.units else 0
        removed = min(surplus, max(0, part.units - least)) // part.step * part.step
        part.units -= removed
        surplus -= removed


def _sum(parts: Iterable[Part], chosen: Callable[[Part], bool] = lambda part: True) -> int:
    return sum(part.units for part in parts if chosen(part))


def _manage(
    connection: sqlite3.Connection, cluster: Cluster, limits: Mapping[str, Any], load: int, now: float, delays: Delays
) -> float | None:
    collections = [one for one in store.collections(connection, cluster.id) if one.role != "MASTER"]
    vcpu = None
    if limits["UnitType"] == "VCPU":
        vcpu = {name: one.vcpu for name, one in instances.of_release(cluster.document["ReleaseLabel"]).items()}
    parts = {key: part for one in collections for key, part in _parts(one, vcpu).items()}
    if not parts:
        return None
    before = {key: part.units for key, part in parts.items()}
    # A container fills an instance of the first group: the core group, where there is one.
    spread(list(parts.values()), limits, load * next(iter(parts.values())).step)
    if sum(before.values()) <= sum(part.units for part in parts.values()):
        cluster.work.pop("surplus_since", None)
    else:
        since = cluster.work.setdefault("surplus_since", now)
        over = sum(before.values()) > limits["MaximumCapacityUnits"]
        if not over and (due := float(since) + delays.scale_in) > now:
            return due
        del cluster.work["surplus_since"]
    moments = []
    for collection in collections:
        if changed := {key: parts[key].units for key in before if key[0] == collection.id and parts[key].units != before[key]}:
            for (_, market), units in changed.items():
                name = _TARGETS[market] if collection.is_fleet else "RequestedInstanceCount"
                collection.document[name] = units // parts[collection.id, market].step
            moments.append(nodes.resize(connection, collection, now, delays.provisioning))
    return min(moments, default=None)


_TARGETS = {"ON_DEMAND": "TargetOnDemandCapacity", "SPOT": "TargetSpotCapacity"}


def _parts(collection: Collection, vcpu: Mapping[str, int] | None) -> dict[tuple[str, str], Part]:
    document = collection.document
    if collection.is_fleet:
        return {(collection.id, market): Part(collection.role, market, document[name]) for market, name in _TARGETS.items()}
    step = vcpu.get(document["InstanceType"], 1) if vcpu is not None else 1
    market = document["Market"]
    return {(collection.id, market): Part(collection.role, market, document["RequestedInstanceCount"] * step, step)}


# Automatic scaling of one instance group by the rules of its policy.


def _metrics(connection: sqlite3.Connection, cluster: Cluster, steps: Sequence[Step], load: int) -> dict[str, float]:
    """CloudWatch's metrics of a cluster, as far as they follow from its steps (Management Guide, "Metrics reported by Amazon EMR")."""
    running = [
        (one.role, item)
        for one in store.collections(connection, cluster.id)
        for item in store.instances(connection, cluster.id, one.id)
        if one.role != "MASTER" and item["Status"]["State"] == "RUNNING"
    ]
    room = len(running)
    allocated = min(room, load)
    return {
        "IsIdle": 0.0 if steps else 1.0,
        "AppsRunning": float(sum(step.state != "PENDING" for step in steps)),
        "ContainerAllocated": float(allocated),
        "ContainerPending": float(load - allocated),
        "ContainerPendingRatio": (load - allocated) / (allocated or 1),
        "YARNMemoryAvailablePercentage": 100 * (room - allocated) / room if room else 0.0,
        "CoreNodesRunning": float(sum(role == "CORE" for role, _ in running)),
        "TaskNodesRunning": float(sum(role == "TASK" for role, _ in running)),
    }


_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GREATER_THAN_OR_EQUAL": lambda value, threshold: value >= threshold,
    "GREATER_THAN": lambda value, threshold: value > threshold,
    "LESS_THAN": lambda value, threshold: value < threshold,
    "LESS_THAN_OR_EQUAL": lambda value, threshold: value <= threshold,
}


def _follow_rules(
    connection: sqlite3.Connection, collection: Collection, values: Mapping[str, float], now: float, delays: Delays
) -> float | None:
    """Attach a new policy, or do what its rules say; a rule's condition has to hold without a break for all its periods."""
    policy = collection.document["AutoScalingPolicy"]
    state = policy["Status"]["State"]
    if state not in ("PENDING", "ATTACHED"):
        return None
    policy["Status"] = nodes.policy_status("ATTACHED")
    before = collection.document["RequestedInstanceCount"]
    count = _within(before, policy)
    moments: list[float] = []
    holding: dict[str, float] = {}
    for rule in policy["Rules"]:
        alarm, action = rule["Trigger"]["CloudWatchAlarmDefinition"], rule["Action"]["SimpleScalingPolicyConfiguration"]
        value = values.get(alarm["MetricName"]) if alarm.get("Namespace", "AWS/ElasticMapReduce") == "AWS/ElasticMapReduce" else None
        if value is None or not _COMPARISONS[alarm["ComparisonOperator"]](value, alarm["Threshold"]):
            continue
        since = collection.work.get("rules", {}).get(rule["Name"], now)
        due = since + delays.shortened(alarm["Period"] * alarm.get("EvaluationPeriods", 1))
        if cooled := collection.work.get("cooled"):
            due = max(due, cooled)
        adjusted = _within(_adjusted(before, action), policy)
        holding[rule["Name"]] = since
        if adjusted == before:
            continue
        if due > now:
            moments.append(due)
        elif count == before:  # one rule at a time
            count = adjusted
            holding[rule["Name"]] = now
            collection.work["cooled"] = now + delays.shortened(action.get("CoolDown", 0))
            moments.append(now + delays.shortened(alarm["Period"]))
    collection.work["rules"] = holding
    if count != before:
        collection.document["RequestedInstanceCount"] = count
        moments.append(nodes.resize(connection, collection, now, delays.provisioning))
    else:
        collection.save(connection)
    return min(moments, default=None)


def _within(count: int, policy: Document) -> int:
    constraints = policy["Constraints"]
    return int(min(max(count, constraints["MinCapacity"]), constraints["MaxCapacity"]))


def _adjusted(count: int, action: Mapping[str, Any]) -> int:
    """The size that a rule asks for; percentages are rounded as Application Auto Scaling rounds them (its guide, "Step scaling")."""
    by = int(action["ScalingAdjustment"])
    kind = action.get("AdjustmentType", "CHANGE_IN_CAPACITY")
    if kind == "EXACT_CAPACITY":
        return by
    if kind == "PERCENT_CHANGE_IN_CAPACITY":
        exact = count * by / 100
        by = int(exact) or (1 if exact > 0 else -1 if exact < 0 else 0)
    return count + by
