"""Bring data files up to date: `python -m framework.emr.refresh` the instance types, `... refresh prices` the prices.

The instance types come from the per-release lists that moto ships, which it takes from EMR's ListSupportedInstanceTypes. The
prices are asked from AWS's pricing API (`pricing:GetProducts`) and written to configs/prices.yaml, which overrides the shipped file.
"""

from __future__ import annotations

import datetime as dt
import gzip
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from framework import releases

FILE = Path(__file__).with_name("instance-types.json")


def instance_types() -> dict[str, Any]:
    """The catalogue as `instances.load` reads it: [vCPU, memory GiB, disks, GB a disk, architecture, family] by type.

    Raises:
        FileNotFoundError: the installed moto has no list for a release that framework/releases describes.
    """
    spec = importlib.util.find_spec("moto")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("moto")
    folder = Path(spec.origin).parent / "emr" / "resources"
    known: dict[str, dict[str, Any]] = _read(folder / "instance_types.json.gz")
    supported = {label: set(_read(folder / f"instance-types-{label}.json.gz")) for label in releases.labels()}
    everywhere = set.union(*supported.values())
    return {
        "source": f"moto {importlib.metadata.version('moto')}, moto/emr/resources (EMR's ListSupportedInstanceTypes)",
        "types": {name: _row(known[name]) for name in sorted(everywhere)},
        "missing": {label: sorted(everywhere - names) for label, names in supported.items() if everywhere - names},
    }


def _row(raw: dict[str, Any]) -> list[Any]:
    architecture = "aarch64" if raw["Architecture"] == "AARCH64" else "x86_64"
    return [raw["VCPU"], round(raw["MemoryGB"], 2), raw["NumberOfDisks"], raw["StorageGB"], architecture, raw["InstanceFamilyId"]]


def _read(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def _lines(catalogue: dict[str, Any]) -> str:
    """One type a line, so that a diff of the file can be read."""
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in catalogue["types"].items())
    head = f'"source": {json.dumps(catalogue["source"])},\n"missing": {json.dumps(catalogue["missing"])}'
    return f'{{\n{head},\n"types": {{\n{rows}\n}}\n}}\n'


def prices(client: Any, regions: Iterable[str], series: Iterable[str]) -> dict[str, Any]:
    """On-demand prices of an xlarge in USD an hour, as configs/prices.yaml holds them.

    Args:
        client: boto3's `pricing`, which AWS serves in us-east-1 and few other regions.
    """
    found: dict[str, dict[str, float]] = {}
    for region in regions:
        for one in series:
            price = _asked(client, region, f"{one}.xlarge")
            if price is not None:
                found.setdefault(region, {})[one] = price
    return {"date": dt.datetime.now(dt.UTC).date().isoformat(), "sources": ["AWS pricing API, AmazonEC2"], "xlarge": found}


def _asked(client: Any, region: str, instance_type: str) -> float | None:
    wanted = {
        "regionCode": region,
        "instanceType": instance_type,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    for text in client.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]:
        for term in json.loads(text)["terms"].get("OnDemand", {}).values():
            for dimension in term["priceDimensions"].values():
                if float(dimension["pricePerUnit"]["USD"]) > 0:
                    return float(dimension["pricePerUnit"]["USD"])
    return None


def _write_prices(project: Path) -> None:
    import boto3

    from framework.emr import cost

    known = cost.load().xlarge
    asked = prices(boto3.client("pricing", region_name="us-east-1"), known, sorted({one for region in known.values() for one in region}))
    (project / "configs" / "prices.yaml").write_text(yaml.safe_dump(asked, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["prices"]:
        _write_prices(Path.cwd())
    else:
        FILE.write_text(_lines(instance_types()), encoding="utf-8")
