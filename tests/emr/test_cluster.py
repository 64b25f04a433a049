"""A preset and an account become a checked cluster, or one clear sentence with file and line."""

from __future__ import annotations

import pytest
from clusters import PROJECT, Account

from framework.config.loader import load
from framework.discovery import discover
from framework.emr import instances, plans, refresh, spec
from framework.emr.cluster import design
from framework.errors import ConfigError

FLEETS = "fleets:\n  primary: {on_demand: 1, types: [m5.xlarge]}\n"

WRONG_FIELDS = {
    "an unknown key": ("lifetim: transient\n" + FLEETS, ":1: lifetim: unknown key", "did you mean 'lifetime'?"),
    "a lifetime that is none": ("lifetime: forever\n" + FLEETS, ":1: lifetime: input should be 'transient' or 'long_running'", ""),
    "fleets with groups": (FLEETS + "groups:\n  primary: {type: m5.xlarge}\n", "give either fleets or groups", ""),
    "neither fleets nor groups": ("lifetime: transient\n", "give either fleets or groups", ""),
    "a fleet without capacity": ("fleets:\n  primary: {types: [m5.xlarge]}\n", ":2: fleets.primary: needs on_demand or spot capacity", ""),
    "two primaries": ("fleets:\n  primary: {on_demand: 2, types: [m5.xlarge]}\n", "primary must have exactly one unit", ""),
    "two primaries in a group": ("groups:\n  primary: {type: m5.xlarge, count: 2}\n", "primary.count must be 1, or 3", ""),
    "a type twice": ("fleets:\n  primary: {on_demand: 1, types: [m5.xlarge, m5.xlarge]}\n", "given twice", ""),
    "a type that is none": (
        "groups:\n  primary:\n    type: m5.xlarg\n",
        ":3: groups.primary: EMR has no instance type 'm5.xlarg'",
        "'m5.xlarge'",
    ),
    "a strategy that is none": (
        "fleets:\n  primary: {spot: 1, types: [m5.xlarge], spot_strategy: cheapest}\n",
        ":2: fleets.primary.spot_strategy: input should be",
        "",
    ),
    "task nodes without core nodes": (FLEETS + "  task: {spot: 1, types: [m5.xlarge]}\n", "a task fleet needs a core fleet", ""),
    "two architectures": (FLEETS + "  core: {on_demand: 1, types: [m6g.xlarge]}\n", "two architectures", "types of one architecture"),
    "scaling upside down": (FLEETS + "scaling: {min: 5, max: 2}\n", ":3: scaling: min (5) is greater than max (2)", ""),
    "scaling in the wrong unit": (
        FLEETS + "  core: {on_demand: 1, types: [m5.xlarge]}\nscaling: {unit: instances, min: 1, max: 2}\n",
        ":4: scaling.unit: instances does not fit fleets",
        "use fleet_units",
    ),
    "scaling without core nodes": (FLEETS + "scaling: {min: 1, max: 2}\n", "there are no core nodes to scale", "add core"),
    "an idle time over seven days": ("idle_minutes: 20000\n" + FLEETS, ":1: idle_minutes: input should be less than or equal to 10080", ""),
    "throughput of a gp2 volume": (
        "groups:\n  primary: {type: m5.xlarge, ebs: {type: gp2, throughput: 200}}\n",
        "throughput cannot be set for gp2",
        "",
    ),
    "steps beside each other in a transient cluster": ("step_concurrency: 2\n" + FLEETS, ":1: step_concurrency:", "long_running"),
    "a transient cluster that is protected": ("termination_protection: true\n" + FLEETS, ":1: termination_protection:", "remove it"),
    "a release that is none": ("release: emr-7.99.0\n" + FLEETS, ":1: there is no EMR release 'emr-7.99.0'", "did you mean"),
    "an application that the release lacks": (
        "release: emr-spark-8.0.0\napplications: [Trino]\n" + FLEETS,
        ":2: emr-spark-8.0.0 has no application Trino",
        "use emr-7.14.0",
    ),
    "Trino beside Presto": (
        "applications: [Trino, Presto]\n" + FLEETS,
        ":1: Trino and Presto cannot run on the same cluster",
        "keep Trino",
    ),
    "a bootstrap action on this machine": ("bootstrap: [{name: a, path: /tmp/x.sh}]\n" + FLEETS, ":1: bootstrap.0.path:", ""),
    "a metastore password in the file": (
        "metastore: {url: 'jdbc:mysql://db/hive', user: hive, password: hunter2}\n" + FLEETS,
        "a secret must be a reference",
        "",
    ),
    "a metastore password that EMR cannot read": (
        "metastore: {url: 'jdbc:mysql://db/hive', user: hive, password: '${env:P}'}\n" + FLEETS,
        "EMR reads it on the cluster",
        "",
    ),
}


@pytest.mark.parametrize("mistake", WRONG_FIELDS)
def test_a_wrong_preset_is_told_with_its_line(mistake: str, account: Account) -> None:
    text, message, fix = WRONG_FIELDS[mistake]
    with pytest.raises(ConfigError) as caught:
        account.cluster(preset=text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("configs/clusters/small.yaml")
    assert fix in str(caught.value)
    assert caught.value.exit_code == 2


WRONG_ACCOUNTS = {
    "emr.service_role=null": "emr.service_role: is required and not given",
    "emr.instance_profile=null": "emr.instance_profile: is required and not given",
    "emr.subnets=[]": "emr.subnets: is required and not given",
    "emr.runtime_role=arn:aws:iam::123456789012:role/job": "emr.runtime_role: a runtime role needs emr.security_configuration",
    "emr.runtime_role=job": "emr.runtime_role: string should match",
    "emr.subnets=[subnet-1]": "emr.subnets.0: string should match",
    "emr.kms_key=alias/logs": "emr.kms_key: string should match",
    "emr.subnet=subnet-0123456789abcdef0": "emr.subnet: unknown key",
}


@pytest.mark.parametrize("override", WRONG_ACCOUNTS)
def test_a_wrong_account_is_told_before_anything_is_asked(override: str, account: Account) -> None:
    with pytest.raises(ConfigError) as caught:
        account.cluster(override)
    assert WRONG_ACCOUNTS[override] in str(caught.value)


def test_a_presto_job_is_refused_with_what_runs_it_on_emr(account: Account) -> None:
    with pytest.raises(ConfigError) as caught:
        account.cluster(engines=("spark", "presto"))
    assert str(caught.value) == (
        "jobs with engine presto run on the local services only, not on EMR\n  fix: declare `engine: trino` with `dialect: presto`"
    )


def test_an_unknown_preset_names_the_nearest(account: Account) -> None:
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        spec.load(account.project.root, "smal")


def test_a_job_for_trino_needs_a_release_that_has_it(account: Account) -> None:
    with pytest.raises(ConfigError, match=r"emr-spark-8\.0\.0 has no application Trino \(engine trino needs it\)"):
        account.cluster("release=emr-spark-8.0.0", engines=("spark", "trino"))


WARNED = {
    "managed scaling follows YARN only": "applications: [Trino]\nscaling: {unit: instances, min: 1, max: 2}\n",
    "the primary node is spot": "groups: {primary: {type: m5.xlarge, market: spot}}\n",
    "HDFS blocks are lost": "groups: {primary: {type: m5.xlarge}, core: {type: m5.xlarge, market: spot}}\n",
    "less than 7.5 GiB": "groups: {primary: {type: c1.medium}}\n",
    "have GPUs": "groups: {primary: {type: g4dn.xlarge}}\n",
    "name five or more": "fleets: {primary: {on_demand: 1, types: [m5.xlarge]}, core: {spot: 4, types: [m5.xlarge]}}\n",
    "no disks of their own": "groups: {primary: {type: m5.xlarge}, core: {type: m5.xlarge}}\n",
}


@pytest.mark.parametrize("words", WARNED)
def test_what_is_allowed_and_probably_not_meant_is_a_warning(words: str, account: Account) -> None:
    text = WARNED[words]
    if "groups" not in text and "fleets" not in text:
        text += "groups: {primary: {type: m5.xlarge}, core: {type: m5.xlarge}}\n"
    assert any(words in warning for warning in account.cluster(preset=text).warnings)


@pytest.mark.parametrize("env", ["prod", "local_emr"])
def test_every_preset_of_the_project_fits_its_environments(env: str) -> None:
    for name in spec.names(PROJECT):
        cluster = design(spec.load(PROJECT, name), ["spark"], load(PROJECT, env, variables={}))
        assert not [warning for warning in cluster.warnings if "one subnet" not in warning], name


def test_the_instance_types_are_those_that_moto_ships() -> None:
    assert refresh._lines(refresh.instance_types()) == refresh.FILE.read_text(encoding="utf-8")
    assert instances.of_release("emr-7.12.0")["m6gd.xlarge"].architecture == "aarch64"


def test_a_trino_jobs_connection_that_a_cluster_knows_under_another_name_is_a_warning() -> None:
    loaded = load(PROJECT, "prod", variables={})
    planned = [plans.Planned(discover(PROJECT).get(name), {}, ()) for name in ("daily_etl", "carrier_360")]
    found = list(plans._trino_warnings(planned, loaded.settings))
    assert [text.split(":")[0] for text in found] == ["connection airline_ops", "connection search"]
    assert "after its connector, postgresql" in found[0]
