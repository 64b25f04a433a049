"""Cluster presets: configs/clusters/*.yaml, typed and frozen. What an account gives (roles, subnets) is `emr:` of an environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from framework.config import document
from framework.config.document import Document
from framework.config.model import Secret, Section
from framework.errors import ConfigError, nearest

Count = Annotated[int, Field(ge=0, le=4000)]
Percent = Annotated[float, Field(gt=0, le=100)]


class Ebs(Section):
    """EBS volumes of every node of a fleet or group. Sizes in GiB, throughput in MiB/s."""

    type: Literal["gp3", "gp2", "io1", "io2", "st1", "sc1"] = "gp3"
    size_gb: Annotated[int, Field(ge=10, le=16384)] = 64
    volumes: Annotated[int, Field(ge=1, le=25)] = 2
    iops: Annotated[int, Field(ge=100, le=64000)] | None = None
    throughput: Annotated[int, Field(ge=125, le=1000)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Ebs:
        if self.iops is not None and self.type not in ("gp3", "io1", "io2"):
            raise ValueError(f"iops cannot be set for {self.type} volumes; use gp3, io1 or io2")
        if self.throughput is not None and self.type != "gp3":
            raise ValueError(f"throughput cannot be set for {self.type} volumes; use gp3")
        return self


class TypeChoice(Section):
    """One instance type of a fleet.

    Attributes:
        weight: units that one instance counts for.
        bid_percent: highest spot price, in percent of on-demand; 100 when unset.
        priority: for the strategies that take one; lower is earlier.
    """

    type: str
    weight: Annotated[int, Field(ge=1)] = 1
    bid_percent: Percent | None = None
    priority: Annotated[float, Field(ge=0)] | None = None


def _choice(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class Fleet(Section):
    """An instance fleet: capacity in units, from any of its types.

    Attributes:
        spot_timeout_minutes: how long EMR tries to get spot capacity before `on_spot_timeout` holds.
    """

    on_demand: Count = 0
    spot: Count = 0
    types: Annotated[list[Annotated[TypeChoice, BeforeValidator(_choice)]], Field(min_length=1, max_length=30)]
    spot_strategy: Literal[
        "price-capacity-optimized", "capacity-optimized", "capacity-optimized-prioritized", "diversified", "lowest-price"
    ] = "price-capacity-optimized"
    on_demand_strategy: Literal["lowest-price", "prioritized"] = "lowest-price"
    on_spot_timeout: Literal["switch_to_on_demand", "terminate_cluster"] = "switch_to_on_demand"
    spot_timeout_minutes: Annotated[int, Field(ge=5, le=1440)] = 10
    ebs: Ebs | None = None

    @model_validator(mode="after")
    def _has_capacity(self) -> Fleet:
        if not self.on_demand and not self.spot:
            raise ValueError("needs on_demand or spot capacity")
        names = [choice.type for choice in self.types]
        if len(set(names)) < len(names):
            raise ValueError("an instance type is given twice in types")
        return self


class Fleets(Section):
    """The three fleets of a cluster; primary is one instance."""

    primary: Fleet
    core: Fleet | None = None
    task: Fleet | None = None

    @model_validator(mode="after")
    def _one_primary(self) -> Fleets:
        if self.primary.on_demand + self.primary.spot != 1:
            raise ValueError("primary must have exactly one unit: on_demand: 1, or spot: 1")
        if self.task and not self.core:
            raise ValueError("a task fleet needs a core fleet")
        return self


class Group(Section):
    """A uniform instance group.

    Attributes:
        bid_price: highest spot price in USD an hour; the on-demand price when unset.
    """

    type: str
    count: Annotated[int, Field(ge=1, le=4000)] = 1
    market: Literal["on_demand", "spot"] = "on_demand"
    bid_price: Annotated[float, Field(gt=0)] | None = None
    ebs: Ebs | None = None


class Groups(Section):
    """The groups of a cluster; 1 primary, or 3 for high availability."""

    primary: Group
    core: Group | None = None
    task: Group | None = None

    @model_validator(mode="after")
    def _primaries(self) -> Groups:
        if self.primary.count not in (1, 3):
            raise ValueError("primary.count must be 1, or 3 for high availability")
        if self.task and not self.core:
            raise ValueError("a task group needs a core group")
        return self


class Scaling(Section):
    """Limits of EMR managed scaling (YARN applications only).

    Attributes:
        unit: what the numbers count: units of a fleet, instances or vCPUs.
        max_on_demand, max_core: how much of `max` may be on-demand, and how much core nodes.
    """

    unit: Literal["fleet_units", "instances", "vcpu"] = "fleet_units"
    min: Annotated[int, Field(ge=1)]
    max: Annotated[int, Field(ge=1)]
    max_on_demand: Annotated[int, Field(ge=0)] | None = None
    max_core: Annotated[int, Field(ge=1)] | None = None
    strategy: Literal["default", "advanced"] = "default"

    @model_validator(mode="after")
    def _ordered(self) -> Scaling:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is greater than max ({self.max})")
        for name in ("max_on_demand", "max_core"):
            limit = getattr(self, name)
            if limit is not None and limit > self.max:
                raise ValueError(f"{name} ({limit}) is greater than max ({self.max})")
        return self


class Bootstrap(Section):
    """A bootstrap action: a script on S3 that every node runs before applications start."""

    name: str
    path: Annotated[str, Field(pattern=r"^(s3://.+|file:/.+)")]
    args: list[str] = []


class Metastore(Section):
    """An external Hive metastore database (RDS or Aurora) in place of the Glue Data Catalog.

    Attributes:
        password: `${secretsmanager:ARN}`; EMR reads it on the cluster, it is never part of the request.
    """

    url: Annotated[str, Field(pattern=r"^jdbc:(mysql|mariadb|postgresql)://")]
    user: str
    password: Secret

    @model_validator(mode="after")
    def _emr_can_read_it(self) -> Metastore:
        if not self.password.startswith("${secretsmanager:arn:") or "#" in self.password:
            raise ValueError("password must be ${secretsmanager:ARN} of a secret that is the password itself: EMR reads it on the cluster")
        return self


class CloudWatch(Section):
    """Logs of steps, drivers and executors to CloudWatch."""

    log_group: str = "/aws/emr"
    prefix: str | None = None


class ClusterPreset(Section):
    """One file of configs/clusters/.

    Attributes:
        lifetime: transient clusters end after their last step; long_running ones after `idle_minutes` without work. Both have
            auto-termination.
        release: overrides the environment's.
        applications: beside those that the job's engine needs.
        fleets, groups: exactly one of them.
        idle_minutes: EMR allows 1 minute to 7 days.
        step_concurrency: steps that run at the same time.
        root_volume_gb: EBS root volume.
        classifications: properties by classification; they win over what is derived.
    """

    description: str = ""
    lifetime: Literal["transient", "long_running"] = "transient"
    release: str | None = None
    applications: list[str] = []
    fleets: Fleets | None = None
    groups: Groups | None = None
    scaling: Scaling | None = None
    idle_minutes: Annotated[int, Field(ge=1, le=10080)] = 60
    step_concurrency: Annotated[int, Field(ge=1, le=256)] = 1
    root_volume_gb: Annotated[int, Field(ge=15, le=100)] | None = None
    termination_protection: bool = False
    classifications: dict[str, dict[str, str]] = {}
    bootstrap: Annotated[list[Bootstrap], Field(max_length=16)] = []
    metastore: Metastore | None = None
    cloudwatch: CloudWatch | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> ClusterPreset:
        if (self.fleets is None) == (self.groups is None):
            raise ValueError("give either fleets or groups, and not both: EMR does not mix them in one cluster")
        return self

    def parts(self) -> dict[str, Fleet | Group]:
        """primary, core and task, as far as they are given."""
        source = self.fleets or self.groups
        named = {role: getattr(source, role) for role in ("primary", "core", "task")}
        return {role: part for role, part in named.items() if part is not None}


@dataclass(frozen=True)
class Preset:
    """A preset and the file it came from.

    Attributes:
        name: the file's name without `.yaml`.
        document: for `file:line` in messages.
    """

    name: str
    spec: ClusterPreset
    document: Document

    def where(self, *path: str | int) -> str:
        return self.document.where(tuple(path))


def names(root: Path) -> list[str]:
    """Presets of the project."""
    return sorted(file.stem for file in (root / "configs" / "clusters").glob("*.yaml"))


def load(root: Path, name: str) -> Preset:
    """Read and validate one preset.

    Raises:
        ConfigError: there is no such preset, or a field is wrong; with file, line, key and the nearest key.
    """
    file = root / "configs" / "clusters" / f"{name}.yaml"
    if not file.is_file():
        raise ConfigError(
            f"there is no cluster preset {name!r}",
            where="configs/clusters/",
            fix=nearest(name, names(root), what="file in configs/clusters/"),
        )
    read = document.read(file, name=f"configs/clusters/{name}.yaml")
    return Preset(name, document.validate(ClusterPreset, read.data, document=read), read)
