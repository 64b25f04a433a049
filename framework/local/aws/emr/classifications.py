"""Names of configuration classifications, and how those of a cluster and of an instance group merge.

The names are those of the Release Guide's pages, "<release> configuration classifications": all of emr-6.4.0's page, which was
read whole, and those of other releases that excerpts and release notes show. So a name of a newer release may be missing here, and one
that a newer release has dropped (hbase-log4j in 7.9.0) is still taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from framework.local.aws.emr.operation import invalid

SECRET = "EMR.secret@"
"""Before the name of a property whose value is the ARN of a secret."""

_NAMES = frozenset(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split())
# One of each connector of the engine: the catalog's name, and what follows it.
_CONNECTOR = re.compile(r"(trino|presto|prestosql)-connector-[a-z0-9_-]+")


def check(configurations: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a classification that no release has. Those inside another one (`export`) are not looked at.

    Raises:
        ApiError: ValidationException.
    """
    seen = set()
    for configuration in configurations:
        name = configuration.get("Classification")
        if not name or not (name in _NAMES or _CONNECTOR.fullmatch(name)):
            raise invalid(f"The requested configuration classification '{name}' is not supported.")  # own wording
        if name in seen:
            raise invalid(f"The configuration classification '{name}' is given more than once.")  # own wording
        seen.add(name)


def shown(value: Any) -> Any:
    """A request, or a part of it, as the API shows it: properties that are secrets lose their annotation, and keep the ARN as value
    (Release Guide, "Store sensitive configuration data in AWS Secrets Manager").
    """
    if isinstance(value, list):
        return [shown(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: shown(item) for name, item in value.items()}
    if "Classification" in value and value.get("Properties"):
        found["Properties"] = {name.removeprefix(SECRET): text for name, text in value["Properties"].items()}
    return found


def merged(outer: Iterable[Mapping[str, Any]], inner: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cluster's configurations with those of an instance group over them, property by property."""
    result: dict[str, dict[str, Any]] = {}
    for configuration in [*outer, *inner]:
        name = configuration.get("Classification", "")
        before = result.get(name, {})
        result[name] = {
            "Classification": name,
            "Properties": {**before.get("Properties", {}), **configuration.get("Properties", {})},
            "Configurations": merged(before.get("Configurations", ()), configuration.get("Configurations", ())),
        }
    return list(result.values())
