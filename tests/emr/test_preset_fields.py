"""Every field of a preset, wrong in its own way: one sentence with file, line and key, before anybody is asked."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml
from clusters import Account

from framework.config.model import Section
from framework.emr.spec import ClusterPreset
from framework.errors import ConfigError

EBS = {"type": "gp3", "size_gb": 64, "volumes": 2, "iops": 3000, "throughput": 125}
FLEETS = {
    "primary": {"on_demand": 1, "types": ["m5.xlarge"]},
    "core": {"on_demand": 1, "types": [{"type": "m5.xlarge", "weight": 1, "bid_percent": 50, "priority": 1}], "ebs": EBS},
    "task": {"spot": 1, "types": ["m5.xlarge"]},
}
GROUPS = {"primary": {"type": "m5.xlarge"}, "core": {"type": "m5.xlarge", "ebs": EBS}, "task": {"type": "m5.xlarge"}}
REST: dict[str, Any] = {
    "scaling": {"min": 1, "max": 4},
    "bootstrap": [{"name": "drivers", "path": "s3://code/drivers.sh"}],
    "metastore": {
        "url": "jdbc:mysql://db/hive",
        "user": "hive",
        "password": "${secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:hive-AbCdEf}",
    },
    "cloudwatch": {"log_group": "/aws/emr"},
    "fleets": FLEETS,
}

# Path of the field -> (what is written there, what is said of it).
WRONG: dict[str, tuple[Any, str]] = {
    "description": (["a"], "description: input should be a valid string"),
    "lifetime": ("for ever", "lifetime: input should be 'transient' or 'long_running'"),
    "release": ("7.12", "there is no EMR release '7.12'"),
    "applications": (["Sparc"], "has no application Sparc"),
    "idle_minutes": (0, "idle_minutes: input should be greater than or equal to 1"),
    "step_concurrency": (300, "step_concurrency: input should be less than or equal to 256"),
    "root_volume_gb": (8, "root_volume_gb: input should be greater than or equal to 15"),
    "termination_protection": ("perhaps", "termination_protection: input should be a valid boolean"),
    "classifications": ({"spark-defaults": "fast"}, "classifications.spark-defaults: input should be a valid dictionary"),
    "bootstrap": ("s3://code/drivers.sh", "bootstrap: input should be a valid list"),
    "bootstrap.0.name": (None, "bootstrap.0.name: input should be a valid string"),
    "bootstrap.0.path": ("/home/me/drivers.sh", "bootstrap.0.path: string should match"),
    "bootstrap.0.args": ("--all", "bootstrap.0.args: input should be a valid list"),
    "metastore": ("jdbc:mysql://db/hive", "metastore: "),
    "metastore.url": ("mysql://db/hive", "metastore.url: string should match"),
    "metastore.user": (["hive"], "metastore.user: input should be a valid string"),
    "metastore.password": ("hunter2", "metastore.password: a secret must be a reference"),
    "cloudwatch": (True, "cloudwatch: "),
    "cloudwatch.log_group": (["a"], "cloudwatch.log_group: input should be a valid string"),
    "cloudwatch.prefix": (["a"], "cloudwatch.prefix: input should be a valid string"),
    "scaling": ("auto", "scaling: "),
    "scaling.unit": ("nodes", "scaling.unit: input should be 'fleet_units', 'instances' or 'vcpu'"),
    "scaling.min": (0, "scaling.min: input should be greater than or equal to 1"),
    "scaling.max": ("many", "scaling.max: input should be a valid integer"),
    "scaling.max_on_demand": (9, "max_on_demand (9) is greater than max (4)"),
    "scaling.max_core": (9, "max_core (9) is greater than max (4)"),
    "scaling.strategy": ("clever", "scaling.strategy: input should be 'default' or 'advanced'"),
    "fleets": (["primary"], "fleets: "),
    "fleets.primary": (None, "fleets.primary: "),
    "fleets.core": ("m5.xlarge", "fleets.core: "),
    "fleets.task": (2, "fleets.task: "),
    "fleets.core.on_demand": (-1, "fleets.core.on_demand: input should be greater than or equal to 0"),
    "fleets.core.spot": (5000, "fleets.core.spot: input should be less than or equal to 4000"),
    "fleets.core.types": ([], "fleets.core.types: list should have at least 1 item"),
    "fleets.core.types.0.type": ("m5.huge", "fleets.core: EMR has no instance type 'm5.huge'"),
    "fleets.core.types.0.weight": (0, "fleets.core.types.0.weight: input should be greater than or equal to 1"),
    "fleets.core.types.0.bid_percent": (120, "fleets.core.types.0.bid_percent: input should be less than or equal to 100"),
    "fleets.core.types.0.priority": (-1, "fleets.core.types.0.priority: input should be greater than or equal to 0"),
    "fleets.core.spot_strategy": ("cheapest", "fleets.core.spot_strategy: input should be 'price-capacity-optimized'"),
    "fleets.core.on_demand_strategy": ("cheapest", "fleets.core.on_demand_strategy: input should be 'lowest-price' or 'prioritized'"),
    "fleets.core.on_spot_timeout": ("wait", "fleets.core.on_spot_timeout: input should be 'switch_to_on_demand' or"),
    "fleets.core.spot_timeout_minutes": (1, "fleets.core.spot_timeout_minutes: input should be greater than or equal to 5"),
    "fleets.core.ebs": ("64 GB", "fleets.core.ebs: "),
    "fleets.core.ebs.type": ("ssd", "fleets.core.ebs.type: input should be 'gp3', 'gp2'"),
    "fleets.core.ebs.size_gb": (1, "fleets.core.ebs.size_gb: input should be greater than or equal to 10"),
    "fleets.core.ebs.volumes": (26, "fleets.core.ebs.volumes: input should be less than or equal to 25"),
    "fleets.core.ebs.iops": (50, "fleets.core.ebs.iops: input should be greater than or equal to 100"),
    "fleets.core.ebs.throughput": (2000, "fleets.core.ebs.throughput: input should be less than or equal to 1000"),
    "groups": (["primary"], "groups: "),
    "groups.primary": (None, "groups.primary: "),
    "groups.core": ("m5.xlarge", "groups.core: "),
    "groups.task": (2, "groups.task: "),
    "groups.core.type": ("m5.huge", "groups.core: EMR has no instance type 'm5.huge'"),
    "groups.core.count": (0, "groups.core.count: input should be greater than or equal to 1"),
    "groups.core.market": ("reserved", "groups.core.market: input should be 'on_demand' or 'spot'"),
    "groups.core.bid_price": (0, "groups.core.bid_price: input should be greater than 0"),
    "groups.core.ebs": ("64 GB", "groups.core.ebs: "),
}


def written(path: str, value: Any) -> str:
    preset = copy.deepcopy(REST)
    if path.startswith("groups"):
        del preset["fleets"], preset["scaling"]
        preset["groups"] = copy.deepcopy(GROUPS)
    node: Any = preset
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        node = node[part]
    node[last] = value
    return yaml.safe_dump(preset, sort_keys=False)


@pytest.mark.parametrize("path", WRONG)
def test_a_wrong_field_is_told_with_its_file_line_and_key(path: str, account: Account) -> None:
    value, said = WRONG[path]
    with pytest.raises(ConfigError) as caught:
        account.cluster(preset=written(path, value))
    assert said in str(caught.value)
    assert str(caught.value).startswith("configs/clusters/small.yaml:")
    assert caught.value.exit_code == 2
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", ["fleets", "groups"])
def test_the_preset_around_it_is_right(kind: str, account: Account) -> None:
    assert account.cluster(preset=written(f"{kind}.core.ebs.size_gb", 64)).spec.parts().keys() == {"primary", "core", "task"}


@pytest.mark.parametrize("path", ["", "scaling", "bootstrap.0", "metastore", "cloudwatch", "fleets.core", "fleets.core.types.0", "groups"])
def test_a_misspelt_field_is_told_at_every_level(path: str, account: Account) -> None:
    with pytest.raises(ConfigError, match=f"{path}{'.' if path else ''}sise: unknown key"):
        account.cluster(preset=written(f"{path}.sise" if path else "sise", 1))


def fields(model: type[Section], prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields; of a list's elements too, with the number 0."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for inner in _sections(field.annotation):
            listed = "0." if "list" in str(field.annotation) else ""
            yield from fields(inner, f"{prefix}{name}.{listed}")


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections(inner)]


def test_no_field_is_left_out() -> None:
    # The three fleets are of one kind, and so are the groups, and their volumes.
    same = ("fleets.primary.", "fleets.task.", "groups.primary.", "groups.task.", "groups.core.ebs.")
    assert {name for name in fields(ClusterPreset) if not name.startswith(same)} == WRONG.keys()
