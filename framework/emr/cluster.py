"""One cluster as it is meant: preset, release and account put together and checked, before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from framework import releases
from framework.config.loader import Loaded
from framework.config.model import Emr, Settings
from framework.emr import instances
from framework.emr.instances import InstanceType
from framework.emr.spec import ClusterPreset, Fleet, Group, Preset
from framework.errors import ConfigError, nearest
from framework.releases import Release

# What runs a job's body on a cluster. Every job is started by spark-submit, which brings its Python environment along.
_APPLICATIONS = {"spark": ("Spark",), "spark_sql": ("Spark",), "trino": ("Spark", "Trino"), "hive": ("Spark", "Hive")}
_EXCLUDE_EACH_OTHER = ("Trino", "Presto")  # Release Guide, Presto and Trino


@dataclass(frozen=True)
class Cluster:
    """A checked cluster.

    Attributes:
        applications: in the order of their names.
        architecture: of all its instance types: one archive of dependencies fits every node.
        warnings: what is allowed and probably not meant.
    """

    preset: Preset
    release: Release
    settings: Settings
    env: str
    applications: tuple[str, ...]
    architecture: str
    warnings: tuple[str, ...] = ()

    @property
    def spec(self) -> ClusterPreset:
        return self.preset.spec

    @property
    def emr(self) -> Emr:
        return self.settings.emr

    @property
    def logs(self) -> str:
        """EMR's log URI, with the slash that EMR wants."""
        return f"{self.emr.logs or self.settings.state + '/emr-logs'}/"


def design(preset: Preset, engines: Iterable[str], loaded: Loaded) -> Cluster:
    """Put a preset and an environment together.

    Args:
        engines: `job.engine.value` of the jobs that the cluster has to run.

    Raises:
        ConfigError: an application, instance type, role or subnet does not fit; with file and line. Nothing was asked or created.
    """
    settings = loaded.settings
    release = _release(preset, settings)
    applications = _applications(preset, engines, release)
    chosen = _types(preset, release)
    architecture = _architecture(preset, chosen)
    _check_account(preset, loaded)
    _check_steps(preset)
    warnings = [*_warnings(preset, chosen, applications), *_ebs_warnings(preset, chosen)]
    if preset.spec.groups and len(settings.emr.subnets) > 1:
        warnings.append(f"instance groups take one subnet: {settings.emr.subnets[0]} of {len(settings.emr.subnets)}; fleets take several")
    return Cluster(preset, release, settings, loaded.env, applications, architecture, tuple(warnings))


def _release(preset: Preset, settings: Settings) -> Release:
    label = preset.spec.release or settings.release
    try:
        return releases.load(label)
    except ConfigError as exc:
        raise ConfigError(exc.message, where=preset.where("release") if preset.spec.release else None, fix=exc.fix) from None


def _applications(preset: Preset, engines: Iterable[str], release: Release) -> tuple[str, ...]:
    wanted: dict[str, str] = {}
    for engine in engines:
        if engine == "presto":
            raise ConfigError(
                "jobs with engine presto run on the local services only, not on EMR", fix="declare `engine: trino` with `dialect: presto`"
            )
        for name in _APPLICATIONS.get(engine, ("Spark",)):
            wanted.setdefault(name, f"engine {engine} needs it")
    for index, name in enumerate(preset.spec.applications):
        wanted[name] = preset.where("applications", index)
    if preset.spec.cloudwatch:
        wanted.setdefault("AmazonCloudWatchAgent", preset.where("cloudwatch"))
    for name, why in wanted.items():
        if name not in release.applications:
            where = why if ":" in why else preset.where("release")
            hint = nearest(name, release.applications, what="application")
            others = [label for label in releases.labels() if name in releases.load(label).applications]
            raise ConfigError(
                f"{release.label} has no application {name}" + ("" if ":" in why else f" ({why})"),
                where=where,
                fix=f"use {others[-1]}" if others and not hint.startswith("did") else hint,
            )
    both = [name for name in _EXCLUDE_EACH_OTHER if name in wanted]
    if len(both) > 1:
        raise ConfigError("Trino and Presto cannot run on the same cluster", where=preset.where("applications"), fix="keep Trino")
    return tuple(sorted(wanted))


def _choices(part: Fleet | Group) -> Sequence[tuple[tuple[str | int, ...], str]]:
    if isinstance(part, Group):
        return [(("type",), part.type)]
    return [(("types", index), choice.type) for index, choice in enumerate(part.types)]


def _types(preset: Preset, release: Release) -> dict[str, list[InstanceType]]:
    offered = instances.of_release(release.label)
    kind = "fleets" if preset.spec.fleets else "groups"
    found: dict[str, list[InstanceType]] = {}
    for role, part in preset.spec.parts().items():
        for path, name in _choices(part):
            if name not in offered:
                raise ConfigError(
                    f"{kind}.{role}: EMR has no instance type {name!r} in {release.label}",
                    where=preset.where(kind, role, *path),
                    fix=nearest(name, offered, what="instance type"),
                )
            found.setdefault(role, []).append(offered[name])
        limit = 5 if isinstance(part, Fleet) and role == "primary" else 30
        if isinstance(part, Fleet) and len(part.types) > limit:
            raise ConfigError(f"{kind}.{role}.types: at most {limit} instance types", where=preset.where(kind, role, "types"))
    return found


def _architecture(preset: Preset, chosen: Mapping[str, list[InstanceType]]) -> str:
    by_architecture: dict[str, str] = {}
    for role, types in chosen.items():
        for one in types:
            by_architecture.setdefault(one.architecture, f"{one.name} ({role})")
    if len(by_architecture) > 1:
        both = ", ".join(f"{name} is {architecture}" for architecture, name in by_architecture.items())
        raise ConfigError(
            f"instance types of two architectures in one cluster: {both}",
            where=preset.where("fleets" if preset.spec.fleets else "groups"),
            fix="use types of one architecture: the Python packages of a job are built for one",
        )
    return next(iter(by_architecture))


def _check_account(preset: Preset, loaded: Loaded) -> None:
    emr = loaded.settings.emr
    for name, what in (("service_role", "EMR's service role"), ("instance_profile", "the instance profile of the nodes")):
        if getattr(emr, name) is None:
            raise ConfigError(
                f"emr.{name}: is required and not given ({what})",
                details=["looked in: " + ", ".join(loaded.looked_in(f"emr.{name}"))],
                fix="create it (`emrjobs iam cluster` prints its policies), and name it there",
            )
    if not emr.subnets:
        raise ConfigError(
            "emr.subnets: is required and not given",
            details=["looked in: " + ", ".join(loaded.looked_in("emr.subnets"))],
            fix="name private subnets of your VPC; EMR would take the default VPC's public one",
        )
    if emr.runtime_role and not emr.security_configuration:
        raise ConfigError(
            "emr.runtime_role: a runtime role needs emr.security_configuration",
            where=loaded.origin("emr.runtime_role"),
            fix="name a security configuration with EnableApplicationScopedIAMRole: true",
        )


def _check_steps(preset: Preset) -> None:
    spec = preset.spec
    if spec.lifetime == "transient" and spec.step_concurrency > 1:
        raise ConfigError(
            "step_concurrency: a transient cluster ends at the first step that fails, which EMR allows with concurrency 1 only",
            where=preset.where("step_concurrency"),
            fix="use step_concurrency: 1, or lifetime: long_running",
        )
    if spec.lifetime == "transient" and spec.termination_protection:
        raise ConfigError(
            "termination_protection: would keep a transient cluster running after its last step",
            where=preset.where("termination_protection"),
            fix="remove it, or use lifetime: long_running",
        )
    scaling = spec.scaling
    if scaling and (scaling.unit == "fleet_units") != (spec.fleets is not None):
        kind, fitting = ("fleets", "fleet_units") if spec.fleets else ("groups", "instances or vcpu")
        raise ConfigError(f"scaling.unit: {scaling.unit} does not fit {kind}", where=preset.where("scaling", "unit"), fix=f"use {fitting}")
    if scaling and not spec.parts().get("core"):
        raise ConfigError("scaling: there are no core nodes to scale", where=preset.where("scaling"), fix="add core, or remove scaling")


def _warnings(preset: Preset, chosen: Mapping[str, list[InstanceType]], applications: Sequence[str]) -> list[str]:
    spec, found = preset.spec, []
    if spec.scaling and "Trino" in applications:
        found.append("managed scaling follows YARN only: it does not scale Trino")
    spot = [role for role, part in spec.parts().items() if (isinstance(part, Fleet) and part.spot) or getattr(part, "market", "") == "spot"]
    if "primary" in spot:
        found.append("the primary node is spot: the cluster ends when EC2 takes it back")
    if "core" in spot:
        found.append("core nodes are spot: HDFS blocks are lost when EC2 takes them back")
    small = sorted({one.name for types in chosen.values() for one in types if one.memory_gib < 7.5})
    if small:
        found.append(f"{', '.join(small)}: less than 7.5 GiB is little for Spark")
    gpus = sorted({one.name for types in chosen.values() for one in types if one.gpu})
    if gpus and "spark" not in preset.spec.classifications and "spark-rapids" not in preset.spec.classifications:
        found.append(f"{', '.join(gpus)} have GPUs, which Spark uses with the classification spark-rapids only")
    for role, part in spec.parts().items():
        if isinstance(part, Fleet) and part.spot and len(part.types) < 3:
            found.append(f"{role}: spot capacity from {len(part.types)} instance types is often missing; name five or more")
    return found


def _ebs_warnings(preset: Preset, chosen: Mapping[str, list[InstanceType]]) -> list[str]:
    found = []
    for role, part in preset.spec.parts().items():
        bare = sorted({one.name for one in chosen[role] if one.needs_ebs})
        if role != "primary" and bare and part.ebs is None:
            found.append(f"{role}: {', '.join(bare)} have no disks of their own and no ebs is given: EMR chooses the size")
    return found
