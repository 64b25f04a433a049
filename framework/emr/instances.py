"""EC2 instance types that EMR offers, per release: a data file, refreshed with `python -m framework.emr.refresh`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("instance-types.json")


@dataclass(frozen=True)
class InstanceType:
    """One type.

    Attributes:
        vcpu: virtual CPUs.
        memory_gib: main memory.
        disks, disk_gb: instance store volumes and the GB of each; 0 for types that have EBS only.
        architecture: x86_64 or aarch64, as uv and Linux name it.
        family: EMR's family, `GENERAL_CURRENT_GEN`.
    """

    name: str
    vcpu: int
    memory_gib: float
    disks: int
    disk_gb: int
    architecture: str
    family: str

    @property
    def series(self) -> str:
        """`m5d` of `m5d.xlarge`: types of one series differ in size only."""
        return self.name.split(".")[0]

    @property
    def gpu(self) -> bool:
        """True for the accelerated series that EMR offers (g3, g4dn, g5, p3, ...)."""
        return bool(re.match(r"[gp]\d", self.series))

    @property
    def needs_ebs(self) -> bool:
        """True where HDFS and shuffle files lie on EBS volumes only."""
        return self.disks == 0


@cache
def _catalogue() -> tuple[Mapping[str, InstanceType], Mapping[str, frozenset[str]]]:
    data: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    types = {name: InstanceType(name, *row) for name, row in data["types"].items()}
    return types, {label: frozenset(names) for label, names in data["missing"].items()}


def of_release(label: str) -> Mapping[str, InstanceType]:
    """Instance types that a release offers, by name."""
    types, missing = _catalogue()
    absent = missing.get(label)
    return {name: one for name, one in types.items() if name not in absent} if absent else types
