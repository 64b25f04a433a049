"""Releases and instance types: what the API lists of them.

Applications come from `framework/releases`; which releases and instance types there are, from the lists that moto ships (read as
data, nothing of moto is imported). A release that is in the lists only has applications of unknown version.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

from framework import releases
from framework.emr import instances
from framework.local.aws.answers import ApiError
from framework.local.aws.emr.operation import Emr, EmrOperation
from framework.local.aws.router import DEFAULT_REGION

_PAGE = 100


def known_releases(region: str) -> list[str]:
    """Labels of all releases, newest first."""
    listed: list[str] = _data(f"release-labels-{region}") or _data(f"release-labels-{DEFAULT_REGION}") or []
    return [*[label for label in reversed(releases.labels()) if label not in listed], *listed]


# Part of every release of the 7.x line; `framework/releases` has the versions only of what its pages showed.
_IN_7 = ("Hue", "JupyterEnterpriseGateway", "JupyterHub", "Oozie", "Phoenix", "Pig", "TensorFlow", "Zeppelin", "ZooKeeper")


def applications(label: str) -> dict[str, str | None] | None:
    """Application -> version of a release (None: not seen); None where no page of the release was read."""
    if label not in releases.labels():
        return None
    always = dict.fromkeys(_IN_7) if label.startswith("emr-7.") else {}
    return {**always, **releases.load(label).applications}


def instance_types(label: str) -> list[str]:
    """Names of the instance types that a release supports; empty where that is not known."""
    return list(_data(f"instance-types-{label}") or [])


@cache
def _data(name: str) -> Any:
    spec = importlib.util.find_spec("moto")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "emr" / "resources" / f"{name}.json.gz"
        if path.exists():
            return json.loads(gzip.decompress(path.read_bytes()))
    return None


def list_release_labels(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    filters = request.get("Filters", {})
    found = known_releases(emr.region)
    if prefix := filters.get("Prefix"):
        found = [label for label in found if label.startswith(prefix)]
    if wanted := filters.get("Application"):
        # "spark@3.5.6", or a name only; the version is compared with AWS's own, without its suffix.
        name, _, version = wanted.lower().partition("@")
        found = [label for label in found if _has(label, name, version)]
    return _paged("ReleaseLabels", found, request)


def _has(label: str, name: str, version: str) -> bool:
    versions = {application.lower(): found for application, found in (applications(label) or {}).items()}
    return name in versions and (not version or (versions[name] or "").split("-amzn-")[0] == version)


def describe_release_label(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    known = known_releases(emr.region)
    label = request.get("ReleaseLabel", known[0])
    if label not in known:
        raise ApiError("InvalidRequestException", f"Release label '{label}' is not valid.")
    found = [{"Name": name, **({"Version": version} if version else {})} for name, version in sorted((applications(label) or {}).items())]
    return {"ReleaseLabel": label, **_paged("Applications", found, request)}


def list_supported_instance_types(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    label = request["ReleaseLabel"]
    if label not in known_releases(emr.region):
        raise ApiError("InvalidRequestException", f"Release label '{label}' is not valid.")
    types = [_supported(name, instances.of_release(label).get(name)) for name in instance_types(label)]
    page = _paged("SupportedInstanceTypes", types, {"NextToken": request.get("Marker"), "MaxResults": _PAGE})
    if "NextToken" in page:
        page["Marker"] = page.pop("NextToken")
    return page


def _supported(name: str, known: instances.InstanceType | None) -> dict[str, Any]:
    if known is None:
        return {"Type": name}
    return {
        "Type": name,
        "VCPU": known.vcpu,
        "MemoryGB": known.memory_gib,
        "NumberOfDisks": known.disks,
        "StorageGB": known.disks * known.disk_gb,
        "EbsStorageOnly": known.needs_ebs,
        "Architecture": known.architecture.upper(),
        "InstanceFamilyId": known.family,
    }


def _paged(key: str, items: list[Any], request: dict[str, Any]) -> dict[str, Any]:
    size = request.get("MaxResults", _PAGE)
    start = request.get("NextToken") or "0"
    if not start.isdigit() or not 1 <= size <= _PAGE:
        raise ApiError("InvalidRequestException", "NextToken or MaxResults is not valid.")
    end = int(start) + size
    return {key: items[int(start) : end], **({"NextToken": str(end)} if end < len(items) else {})}


OPERATIONS: dict[str, EmrOperation] = {
    "ListReleaseLabels": list_release_labels,
    "DescribeReleaseLabel": describe_release_label,
    "ListSupportedInstanceTypes": list_supported_instance_types,
}
