"""Estimates: what is known, what is a range, and what is said when a price is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clusters import Account

from framework.emr import cost, refresh
from framework.errors import ConfigError


def test_a_group_costs_ec2_and_emr_for_every_instance(account: Account) -> None:
    # eu-west-1: m5.xlarge 0.214, and a quarter of it for EMR.
    found = cost.estimate(account.cluster(preset="groups: {primary: {type: m5.xlarge}, core: {type: m5.2xlarge, count: 2}}\n"), cost.load())
    assert found.on_demand == found.low == found.high == round(5 * 0.214 * 1.25, 2)
    assert found.unknown == ()


def test_emr_asks_a_large_instance_of_an_older_series_for_27_cents_at_most() -> None:
    prices = cost.load()
    assert prices.uplift("m5.12xlarge", 2.304) == 0.27
    assert prices.uplift("m5.xlarge", 0.192) == pytest.approx(0.048)
    assert prices.uplift("m6g.12xlarge", 1.848) == pytest.approx(0.462)


def test_spot_makes_a_range_and_managed_scaling_an_upper_end(account: Account) -> None:
    text = """\
    fleets:
      primary: {on_demand: 1, types: [m5.xlarge]}
      core: {on_demand: 1, types: [m5.xlarge]}
      task: {spot: 4, types: [m5.xlarge, r5.xlarge]}
    scaling: {min: 1, max: 20}
    """
    found = cost.estimate(account.cluster(preset=text), cost.load())
    assert found.low < found.high < found.on_demand
    assert found.at_most == round(21 * 0.214 * 1.25, 2)


def test_a_type_without_a_price_is_named(account: Account) -> None:
    found = cost.estimate(account.cluster(preset="groups: {primary: {type: z1d.xlarge}, core: {type: m5.xlarge}}\n"), cost.load())
    assert found.unknown == ("z1d.xlarge",)


def test_a_file_of_the_project_overrides_prices(account: Account) -> None:
    account.project.write("configs/prices.yaml", "date: 2026-11-01\nxlarge: {eu-west-1: {m5: 1.0}}\n")
    prices = cost.load(account.project.root)
    assert prices.on_demand("m5.2xlarge", "eu-west-1") == 2.0
    assert prices.on_demand("m6i.xlarge", "eu-west-1") == 0.214
    assert prices.date.year == 2026


def test_a_wrong_price_is_told_with_its_line(account: Account) -> None:
    account.project.write("configs/prices.yaml", "date: 2026-11-01\nspot: {low: 2}\n")
    with pytest.raises(ConfigError, match=r"configs/prices\.yaml:2: spot\.low"):
        cost.load(account.project.root)


def test_prices_are_refreshed_from_the_pricing_api() -> None:
    class Pricing:
        def get_products(self, **asked: Any) -> dict[str, Any]:
            fields = {one["Field"]: one["Value"] for one in asked["Filters"]}
            if fields["instanceType"] != "m5.xlarge":
                return {"PriceList": []}
            dimension = {"pricePerUnit": {"USD": "0.1920000000"}}
            return {"PriceList": [json.dumps({"terms": {"OnDemand": {"a": {"priceDimensions": {"b": dimension}}}}})]}

    found = refresh.prices(Pricing(), ["us-east-1"], ["m5", "m9"])
    assert found["xlarge"] == {"us-east-1": {"m5": 0.192}}
