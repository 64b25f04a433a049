"""EMR releases as data: one YAML file per release label, with the versions that AWS's release pages give.

    releases.load("emr-7.12.0").applications["Trino"]     # '476-amzn-1'

What could not be seen on a page is left out of a file, never guessed. A new release is a new file.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from framework.errors import ConfigError, nearest
from framework.yaml_loader import YamlLoader

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Release:
    """One EMR release.

    Attributes:
        label: as EMR's API takes it, `emr-7.12.0`.
        released: first day in the first region.
        standard_support_until, end_of_support, end_of_life: AWS's support phases; None where not seen.
        sources: pages that the values were read on.
        applications: application -> version as AWS writes it (`3.5.6-amzn-1`); None: part of the release, version not seen.
        python: versions on the image, in the order of AWS's page.
        scala: full version.
        java: major version that applications run on by default.
        local: what runs on this machine in its place, in upstream versions: spark, hadoop (the client that pyspark carries), iceberg,
            trino. A key is missing where no fitting version can be had.
        notes: what a user of the release has to know, one sentence each.
    """

    label: str
    sources: tuple[str, ...]
    applications: Mapping[str, str | None]
    python: tuple[str, ...]
    scala: str
    java: int
    local: Mapping[str, str]
    notes: tuple[str, ...] = ()
    released: dt.date | None = None
    standard_support_until: dt.date | None = None
    end_of_support: dt.date | None = None
    end_of_life: dt.date | None = None

    def upstream(self, application: str) -> str | None:
        """The open-source version behind AWS's own (`3.5.6-amzn-1` -> `3.5.6`); None where the release has none, or it was not seen."""
        version = self.applications.get(application)
        return version.split("-amzn-")[0] if version else None


def labels() -> list[str]:
    """Labels of all releases that are described here."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def load(label: str) -> Release:
    """The release with this label.

    Raises:
        ConfigError: no such release is described; names the nearest.
    """
    known = labels()
    if label not in known:
        raise ConfigError(f"there is no EMR release {label!r} in framework/releases", fix=nearest(label, known, what="release"))
    data: dict[str, Any] = yaml.load((_FOLDER / f"{label}.yaml").read_text(encoding="utf-8"), Loader=YamlLoader)
    frozen: dict[str, Any] = {
        "applications": MappingProxyType(data.pop("applications")),
        "local": MappingProxyType(data.pop("local")),
        **{key: tuple(data.pop(key, ())) for key in ("sources", "python", "notes")},
    }
    return Release(**data, **frozen)
