"""What a cluster costs an hour: on-demand, and the range that spot makes of it. Prices come from a data file with its date."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from framework.config import document
from framework.config.model import Section
from framework.emr.cluster import Cluster
from framework.emr.spec import Ebs, Fleet, Group

_FILE = Path(__file__).with_name("prices.yaml")
_HOURS_A_MONTH = 730
Usd = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class EmrUplift(Section):
    """EMR's own price: a share of EC2's on-demand price, in some series at most `cap` USD an hour."""

    share: Share
    cap: Usd
    capped_series: list[str] = []


class SpotRange(Section):
    """Lowest and highest share of the on-demand price."""

    low: Share
    high: Share


class Prices(Section):
    """The data file. USD an hour, by region and by series or type."""

    date: dt.date
    sources: list[str]
    emr: EmrUplift
    spot: SpotRange
    xlarge: dict[str, dict[str, Usd]]
    types: dict[str, dict[str, Usd]] = {}
    ebs_gib_month: dict[str, Usd] = {}

    def on_demand(self, type_name: str, region: str) -> float | None:
        """USD an hour of an instance type; None where it is not known."""
        if (exact := self.types.get(region, {}).get(type_name)) is not None:
            return exact
        series, _, size = type_name.partition(".")
        unit, factor = self.xlarge.get(region, {}).get(series), _factor(size)
        return None if unit is None or factor is None else unit * factor

    def uplift(self, type_name: str, on_demand: float) -> float:
        """What EMR adds an hour."""
        share = on_demand * self.emr.share
        return min(share, self.emr.cap) if type_name.split(".", maxsplit=1)[0] in self.emr.capped_series else share


def _factor(size: str) -> float | None:
    if size in ("medium", "large", "xlarge"):
        return {"medium": 0.25, "large": 0.5, "xlarge": 1.0}[size]
    match = re.fullmatch(r"(\d+)xlarge", size)
    return float(match[1]) if match else None


@dataclass(frozen=True)
class Estimate:
    """USD an hour of a whole cluster.

    Attributes:
        on_demand: as if every instance were on-demand.
        low, high: with its spot instances at the lowest and the highest spot price; equal where it has none.
        at_most: with managed scaling at its upper limit, on-demand; None without managed scaling.
        unknown: instance types without a price in this region: the estimate is without them.
        region, date: of the prices.
    """

    on_demand: float
    low: float
    high: float
    at_most: float | None
    unknown: tuple[str, ...]
    region: str
    date: dt.date


def load(root: Path | None = None) -> Prices:
    """The prices, with what configs/prices.yaml of the project overrides.

    Raises:
        ConfigError: configs/prices.yaml is wrong.
    """
    base = document.read(_FILE, name="framework/emr/prices.yaml")
    data = base.data
    own = root / "configs" / "prices.yaml" if root else None
    if own is None or not own.is_file():
        return document.validate(Prices, data, document=base)
    override = document.read(own, name="configs/prices.yaml")
    return document.validate(Prices, _merged(data, override.data), document=override)


def _merged(base: Mapping[str, object], override: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in override.items():
        mine = merged.get(key)
        merged[key] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return merged


def estimate(cluster: Cluster, prices: Prices) -> Estimate:
    """The cluster's price an hour: for a fleet, its cheapest and dearest type bound the range."""
    region = cluster.settings.aws.region
    unknown: set[str] = set()
    on_demand = low = high = 0.0
    for part in cluster.spec.parts().values():
        if isinstance(part, Group):
            prices_of = _prices([part.type], prices, region, unknown)
            count = part.count
            spot = part.market == "spot"
            one, fee = prices_of[0] if prices_of else (0.0, 0.0)
            disks = _ebs(part.ebs, prices, region) * count
            on_demand += count * (one + fee) + disks
            low += count * (one * (prices.spot.low if spot else 1) + fee) + disks
            high += count * (one * (prices.spot.high if spot else 1) + fee) + disks
        else:
            dearest, cheapest, disks = _per_unit(part, prices, region, unknown)
            units = part.on_demand + part.spot
            on_demand += units * (sum(dearest) + disks)
            low += part.on_demand * (sum(cheapest) + disks) + part.spot * (cheapest[0] * prices.spot.low + cheapest[1] + disks)
            high += part.on_demand * (sum(dearest) + disks) + part.spot * (dearest[0] * prices.spot.high + dearest[1] + disks)
    return Estimate(
        round(on_demand, 2),
        round(low, 2),
        round(high, 2),
        _at_most(cluster, prices, on_demand),
        tuple(sorted(unknown)),
        region,
        prices.date,
    )


def _prices(types: Iterable[str], prices: Prices, region: str, unknown: set[str]) -> list[tuple[float, float]]:
    found = []
    for name in types:
        price = prices.on_demand(name, region)
        if price is None:
            unknown.add(name)
        else:
            found.append((price, prices.uplift(name, price)))
    return found


def _per_unit(fleet: Fleet, prices: Prices, region: str, unknown: set[str]) -> tuple[tuple[float, float], tuple[float, float], float]:
    """(EC2, EMR) an hour and unit of the dearest and the cheapest type, and EBS."""
    weights = {choice.type: choice.weight for choice in fleet.types}
    units = []
    for name, weight in weights.items():
        units += [(one / weight, fee / weight) for one, fee in _prices([name], prices, region, unknown)]
    if not units:
        return (0.0, 0.0), (0.0, 0.0), 0.0
    return max(units, key=sum), min(units, key=sum), _ebs(fleet.ebs, prices, region) / min(weights.values())


def _ebs(ebs: Ebs | None, prices: Prices, region: str) -> float:
    rate = prices.ebs_gib_month.get(region, 0.0)
    return ebs.size_gb * ebs.volumes * rate / _HOURS_A_MONTH if ebs else 0.0


def _at_most(cluster: Cluster, prices: Prices, now: float) -> float | None:
    """With managed scaling at its limit; known for fleets only, whose units have a price."""
    scaling, fleets = cluster.spec.scaling, cluster.spec.fleets
    region = cluster.settings.aws.region
    if scaling is None:
        return None
    unknown: set[str] = set()
    if fleets and fleets.core:
        primary = sum(_per_unit(fleets.primary, prices, region, unknown)[0])
        dearest, _, disks = _per_unit(fleets.core, prices, region, unknown)
        return round(max(primary + scaling.max * (sum(dearest) + disks), now), 2)
    groups = cluster.spec.groups
    if groups and groups.core and scaling.unit == "instances":
        primary_price = _prices([groups.primary.type], prices, region, unknown)
        core_price = _prices([groups.core.type], prices, region, unknown)
        if primary_price and core_price:
            core = sum(core_price[0]) + _ebs(groups.core.ebs, prices, region)
            return round(max(groups.primary.count * sum(primary_price[0]) + scaling.max * core, now), 2)
    return None
