"""What a submit would create, upload, reuse and change, and what it would cost. Asks; changes nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from framework.config.loader import Loaded
from framework.config.model import Settings
from framework.emr import cost, package, request, spec
from framework.emr.api import ACTIVE, EmrApi
from framework.emr.cluster import Cluster, design
from framework.emr.cost import Estimate
from framework.emr.package import Artifact, Machine, Stored
from framework.emr.records import SubmitRecord, Submits, wish
from framework.emr.step import JobRun, cluster_overrides, step
from framework.emr.submission import Order, check_usable
from framework.errors import DatasetNotFound, EmrjobsError, UserError, nearest
from framework.jobs import EngineKind, Job
from framework.planning import in_hdfs
from framework.sources.paths import normalise, split_s3
from framework.store import open_store

if TYPE_CHECKING:
    from framework.platform import Platform

_USUAL = 5  # runs that the usual duration is taken from
_STARTING = 420.0  # seconds that a cluster usually takes until its first step


@dataclass(frozen=True)
class Planned:
    """One job of a submit, its parameters checked and as texts."""

    job: Job
    params: Mapping[str, str]
    after: tuple[str, ...]


@dataclass(frozen=True)
class SubmitPlan:
    """A submit before it happens.

    Attributes:
        existing: the cluster that it would use, as EMR describes it; None: it would start one.
        artifacts: what is shipped, and whether it is there already.
        request: the RunJobFlow request without its steps; empty on an existing cluster.
        previous: the last submit of the same job, to which `spec_changes` and `code_changes` are the difference.
        usual_seconds: median of the job's last runs on EMR; None where it has none.
        estimate: of the new cluster, an hour; None on an existing one.
        overrides: settings that the steps get beside configs/.
    """

    jobs: tuple[Planned, ...]
    cluster: Cluster
    existing: Mapping[str, Any] | None
    artifacts: tuple[tuple[Artifact, str, bool], ...]
    request: Mapping[str, Any]
    estimate: Estimate | None
    usual_seconds: float | None
    previous: SubmitRecord | None
    spec_changes: tuple[str, ...]
    code_changes: tuple[str, ...]
    warnings: tuple[str, ...]
    overrides: tuple[str, ...]

    @property
    def code(self) -> dict[str, str]:
        """Hash by path of what is shipped."""
        return next(dict(one.files) for one, _, _ in self.artifacts if one.kind == "code")

    @property
    def billed_seconds(self) -> float | None:
        """Of a new cluster: until it is up, and the job's usual duration."""
        return None if self.usual_seconds is None else self.usual_seconds + _STARTING


def plan(
    platform: Platform,
    jobs: Sequence[tuple[Job, Mapping[str, Any]]],
    *,
    preset: str | None = None,
    on: str | None = None,
    overrides: Sequence[str] = (),
) -> SubmitPlan:
    """Plan the submit of jobs, in the order of their steps.

    Args:
        jobs: with their parameters as given.
        preset: of configs/clusters/; the environment's when None.
        on: an existing cluster: its id, its name, or `tag:key=value`.
        overrides: the user's own `--set` texts, which the steps get too.

    Raises:
        UserError: parameters, preset, account, bucket or cluster are wrong. Nothing was created or uploaded.
    """
    loaded = platform.loaded
    planned = _planned(jobs)
    cluster = design(spec.load(loaded.root, preset or loaded.settings.emr.cluster), [one.job.engine.value for one in planned], loaded)
    api = EmrApi.of(platform.aws)
    prefix = artifacts_prefix(loaded)
    for name in dict.fromkeys(split_s3(normalise(one))[0] for one in (prefix, cluster.logs, loaded.settings.state)):
        check_bucket(platform, name)
    existing = find_cluster(api, on) if on else None
    if existing is not None:
        check_usable(existing)
    machine = machine_of(platform, cluster)
    bucket, base = split_s3(prefix)
    client = platform.aws.client("s3")
    found = []
    for one in package.artifacts(loaded.root, machine):
        key = f"{base.strip('/')}/{one.name}".lstrip("/")
        found.append((one, f"s3://{bucket}/{key}", package.exists(client, bucket, key)))
    submits = Submits(open_store(loaded.settings.state, platform.aws))
    last = next(submits.newest(job=planned[-1].job.name), None)
    names = [one.job.name for one in planned]
    asked = {} if existing else request.run_job_flow(cluster, jobs=names, submit_id="RUN")
    code = {path: digest for one, _, _ in found for path, digest in one.files.items()}
    return SubmitPlan(
        jobs=planned,
        cluster=cluster,
        existing=existing,
        artifacts=tuple(found),
        request=asked,
        estimate=None if existing else cost.estimate(cluster, cost.load(loaded.root)),
        usual_seconds=usual_seconds(platform, planned[-1].job.name),
        previous=last,
        spec_changes=tuple(changes(last.request, asked)) if last and last.request and asked else (),
        code_changes=tuple(_code_changes(last.code, code)) if last else (),
        warnings=(
            *cluster.warnings,
            *(warning for one in planned for warning in in_hdfs(one.job, loaded)),
            *(() if is_local(loaded) else _trino_warnings(planned, loaded.settings)),
        ),
        overrides=tuple(cluster_overrides(loaded, overrides, platform.resolver, set().union(*(one.job.connections for one in planned)))),
    )


def with_trino(platform: Platform, made: SubmitPlan) -> SubmitPlan:
    """The plan with the address of this machine's Trino, which plays the one of a local cluster; it is started for jobs that need it.

    Raises:
        ServiceUnavailable: it did not start.
    """
    on_trino = [one.job for one in made.jobs if one.job.engine is EngineKind.TRINO]
    if not on_trino or not is_local(platform.loaded) or platform.settings.trino.url is not None:
        return made
    connections: set[str] = set().union(*(job.connections for job in on_trino))
    return replace(made, overrides=(*made.overrides, f"trino.url={platform.trino_url(connections)}"))


def _trino_warnings(jobs: Sequence[Planned], settings: Settings) -> Iterator[str]:
    """Where a cluster's Trino would not find a connection under the name that a statement says."""
    named = sorted(set[str]().union(*(one.job.connections for one in jobs if one.job.engine is EngineKind.TRINO)))
    for name in named:
        kind = settings.connections[name].kind if name in settings.connections else name
        if kind != name:
            yield (
                f"connection {name}: EMR names a Trino catalog after its connector, {kind}; what a statement calls {name} needs "
                f"a bootstrap action that puts {name}.properties into /etc/trino/conf/catalog: docs/first-submit.md"
            )


def order(made: SubmitPlan, stored: Sequence[Stored]) -> Order:
    """The plan as what `submit.start` brings about.

    Args:
        stored: where the plan's artifacts are.
    """
    cluster, spec_of = made.cluster, made.cluster.spec
    # On a cluster of its own a failed step ends everything; others may have steps on a shared one.
    on_failure = "TERMINATE_CLUSTER" if made.existing is None and spec_of.lifetime == "transient" else "CONTINUE"
    existing = str(made.existing["Id"]) if made.existing else None
    names = [one.job.name for one in made.jobs]

    def steps(runs: Sequence[JobRun], submit_id: str) -> list[dict[str, Any]]:
        return [step(run, submit_id, cluster.env, made.overrides, stored, on_failure=on_failure) for run in runs]

    def asked(submit_id: str, with_steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return request.run_job_flow(cluster, jobs=names, submit_id=submit_id, steps=with_steps)

    return Order(
        wish=wish({one.job.name: one.params for one in made.jobs}, cluster.env, existing or cluster.preset.name),
        jobs=[(one.job.name, one.params, one.after) for one in made.jobs],
        env=cluster.env,
        preset=cluster.preset.name,
        request=asked,
        steps=steps,
        existing=existing,
        record={
            "request": made.request,
            "code": made.code,
            "artifacts": tuple(one.uri for one in stored),
            "logs": made.existing.get("LogUri") if made.existing else cluster.logs,
        },
        runtime_role=cluster.emr.runtime_role,
    )


def _planned(jobs: Sequence[tuple[Job, Mapping[str, Any]]]) -> tuple[Planned, ...]:
    writers = {job.output.identity: job.name for job, _ in jobs}
    made = []
    for job, given in jobs:
        after = tuple(dict.fromkeys(writers[table] for table in job.reads() if writers.get(table) not in (None, job.name)))
        made.append(Planned(job, {name: str(value) for name, value in job.bind(given).items()}, after))
    return tuple(made)


def artifacts_prefix(loaded: Loaded) -> str:
    """Where code and dependencies are kept.

    Raises:
        UserError: it is not on S3, where a cluster could read it.
    """
    prefix = normalise(loaded.settings.emr.artifacts or f"{loaded.settings.state}/artifacts")
    if not prefix.startswith("s3://"):
        raise UserError(f"emr.artifacts: a cluster cannot read {prefix}", fix="set emr.artifacts, or state, to an s3:// prefix")
    return prefix


def machine_of(platform: Platform, cluster: Cluster) -> Machine:
    """What dependencies are resolved for: the cluster's nodes; this machine where the local endpoint plays them."""
    if is_local(platform.loaded):
        import platform as here
        import sys

        return Machine(f"{sys.version_info[0]}.{sys.version_info[1]}", {"arm64": "aarch64"}.get(here.machine(), here.machine()))
    return Machine(cluster.emr.python, cluster.architecture)


def is_local(loaded: Loaded) -> bool:
    """Whether the environment's EMR is the local endpoint."""
    return "${local:" in (loaded.settings.aws.endpoint_url or "")


def check_bucket(platform: Platform, bucket: str) -> None:
    """A bucket that is there and that not everybody can read.

    Raises:
        UserError: it is not, or it is public.
    """
    client = platform.aws.client("s3")
    package.check_bucket(client, bucket)
    if package.is_public(client, bucket):
        raise UserError(
            f"the bucket {bucket} is public: everybody could read code, logs and run records",
            fix="turn on its Block Public Access, or name another bucket",
        )


def find_cluster(api: EmrApi, wanted: str) -> Mapping[str, Any]:
    """An existing cluster by id, name, or `tag:key=value`; of several the newest.

    Raises:
        UserError: there is none.
    """
    if wanted.startswith("j-"):
        return api.cluster(wanted)
    active = list(api.clusters(since=0, states=ACTIVE))
    if wanted.startswith("tag:"):
        key, _, value = wanted.removeprefix("tag:").partition("=")
        for one in active:
            described = api.cluster(one["Id"])
            if {"Key": key, "Value": value} in described.get("Tags", []):
                return described
        raise DatasetNotFound(f"no active cluster has the tag {key}={value}", fix="`emrjobs clusters` lists them")
    named = [one for one in active if one["Name"] == wanted]
    if not named:
        raise DatasetNotFound(
            f"no active cluster has the name {wanted!r}", fix=nearest(wanted, [one["Name"] for one in active], what="cluster")
        )
    return api.cluster(named[0]["Id"])


def usual_seconds(platform: Platform, job: str) -> float | None:
    """Median duration of the job's last successful runs on EMR."""
    done = (
        record for record in platform.ledger.list(job=job) if record.status == "succeeded" and record.target == "emr" and record.seconds
    )
    try:
        found = [float(record.seconds or 0) for record in islice(done, _USUAL)]
    except EmrjobsError:
        return None
    return statistics.median(found) if found else None


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """`key: old -> new` of two requests; names and tags of the run itself do not count."""
    old, new = dict(_flat(before, "")), dict(_flat(now, ""))
    for key in sorted(old.keys() | new.keys()):
        if key == "Name" or key.startswith(("Tags", "Steps")):
            continue
        if key not in old:
            yield f"+ {key}: {new[key]}"
        elif key not in new:
            yield f"- {key}: {old[key]}"
        elif old[key] != new[key]:
            yield f"~ {key}: {old[key]} -> {new[key]}"


_NAMED = ("Classification", "InstanceType", "Name", "InstanceFleetType", "InstanceRole")


def _flat(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            # By what it is, not by where it stands: an entry more at the front is one change.
            name = next((value[key] for key in _NAMED if key in value), index) if isinstance(value, Mapping) else index
            yield from _flat(value, f"{path}[{name}]")
    else:
        yield path, node


def _code_changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for path in sorted(before.keys() | now.keys()):
        if path not in before:
            yield f"+ {path}"
        elif path not in now:
            yield f"- {path}"
        elif before[path] != now[path]:
            yield f"~ {path}"
