"""The RunJobFlow request of each preset, whole: after a change that was meant, `pytest tests/emr --update-acceptance`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session
from botocore.validate import validate_parameters
from clusters import PROJECT, Account

from framework.config.loader import load
from framework.emr import spec
from framework.emr.cluster import design
from framework.emr.request import run_job_flow
from framework.emr.step import cluster_overrides

EXPECTED = Path(__file__).parent / "expected"


def checked(request: dict[str, Any]) -> dict[str, Any]:
    validate_parameters(request, get_session().get_service_model("emr").operation_model("RunJobFlow").input_shape)
    return request


@pytest.mark.parametrize("name", spec.names(PROJECT))
def test_a_preset_asks_for_what_it_always_did(name: str, request: pytest.FixtureRequest) -> None:
    engines = ["trino"] if "trino" in name else ["spark"]
    cluster = design(spec.load(PROJECT, name), engines, load(PROJECT, "prod", variables={}))
    text = json.dumps(checked(run_job_flow(cluster, jobs=["daily_etl"], submit_id="20260101T000000000-daily_etl-abcdef")), indent=1) + "\n"
    file = EXPECTED / f"{name}.json"
    if request.config.getoption("--update-acceptance"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_every_cluster_ends_by_itself(account: Account) -> None:
    for lifetime in ("transient", "long_running"):
        text = f"lifetime: {lifetime}\ngroups: {{primary: {{type: m5.xlarge}}}}\n"
        made = run_job_flow(account.cluster(preset=text), jobs=["a"], submit_id="r")
        assert made["AutoTerminationPolicy"]["IdleTimeout"] >= 60
        assert made["Instances"]["KeepJobFlowAliveWhenNoSteps"] is (lifetime == "long_running")


def test_the_account_goes_into_the_request(account: Account) -> None:
    made = checked(
        run_job_flow(
            account.cluster(
                "emr.security_configuration=secure",
                "emr.runtime_role=arn:aws:iam::123456789012:role/job",
                "emr.kms_key=arn:aws:kms:eu-west-1:123456789012:key/k",
                "emr.security_groups={primary: sg-1, core: sg-2, service_access: sg-3, additional: [sg-4]}",
                "emr.tags={team: data}",
                "emr.logs=s3://logs/emr",
            ),
            jobs=["a"],
            submit_id="r",
            steps=[{"Name": "s", "HadoopJarStep": {"Jar": "command-runner.jar"}}],
        )
    )
    assert made["SecurityConfiguration"] == "secure"
    assert made["StepExecutionRoleArn"] == "arn:aws:iam::123456789012:role/job"
    assert made["LogEncryptionKmsKeyId"] == "arn:aws:kms:eu-west-1:123456789012:key/k"
    assert made["Instances"]["ServiceAccessSecurityGroup"] == "sg-3"
    assert made["Instances"]["AdditionalSlaveSecurityGroups"] == ["sg-4"]
    assert made["LogUri"] == "s3://logs/emr/"
    assert {"Key": "team", "Value": "data"} in made["Tags"]
    assert {"Key": "emrjobs:run", "Value": "r"} in made["Tags"]
    assert made["Name"].endswith(" r")


def test_an_external_metastore_takes_the_place_of_glue_and_keeps_its_password_out(account: Account) -> None:
    text = """\
    applications: [Hive, Trino]
    metastore:
      url: jdbc:mysql://hive.example.internal:3306/hive
      user: hive
      password: ${secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:hive-AbCdEf}
    groups: {primary: {type: m5.xlarge}}
    classifications: {hive-site: {hive.exec.parallel: "true"}}
    """
    made = run_job_flow(account.cluster(preset=text), jobs=["a"], submit_id="r")
    found = {one["Classification"]: one["Properties"] for one in made["Configurations"]}
    assert found["hive-site"] == {
        "hive.exec.parallel": "true",
        "javax.jdo.option.ConnectionDriverName": "org.mariadb.jdbc.Driver",
        "EMR.secret@javax.jdo.option.ConnectionPassword": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hive-AbCdEf",
        "javax.jdo.option.ConnectionURL": "jdbc:mysql://hive.example.internal:3306/hive",
        "javax.jdo.option.ConnectionUserName": "hive",
    }
    assert found["trino-connector-hive"] == {"hive.metastore": "thrift"}
    assert "spark-hive-site" not in found
    assert "trino-connector-postgresql" not in found, "its password is in a store that EMR cannot read"


def test_a_metastore_that_runs_already_is_what_spark_hive_and_trino_are_pointed_at(account: Account) -> None:
    hive = ("catalog.kind=hive", "catalog.uri=thrift://metastore.example.internal:9083")
    text = "applications: [Hive, Trino]\ngroups: {primary: {type: m5.xlarge}}\n"
    made = run_job_flow(account.cluster(*hive, preset=text), jobs=["a"], submit_id="r")
    found = {one["Classification"]: one["Properties"] for one in made["Configurations"]}
    uris = {"hive.metastore.uris": "thrift://metastore.example.internal:9083"}
    assert found["spark-hive-site"] == found["hive-site"] == uris
    for name, kind in (("hive", ("hive.metastore", "thrift")), ("iceberg", ("iceberg.catalog.type", "hive_metastore"))):
        properties = found[f"trino-connector-{name}"]
        assert properties[kind[0]] == kind[1]
        assert properties["hive.metastore.uri"] == "thrift://metastore.example.internal:9083"
        assert not [key for key in properties if key.startswith(("fs.", "s3."))]


class Local:
    """Stands for the services of this machine; remembers which settings were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def text(self, value: str, *, key: str) -> str:
        self.asked.append(key)
        return "1"


def test_a_step_gets_the_services_of_this_machine_that_its_job_names_and_no_other_is_started() -> None:
    local = Local()
    found = cluster_overrides(load(PROJECT, "local_emr", variables={}), ["a=b"], local, {"search"})  # type: ignore[arg-type]
    assert {"a=b", 'connections.search.host="1"', 'connections.search.port="1"'} <= set(found)
    assert [key for key in local.asked if key.startswith("connections.")] == ["connections.search.host", "connections.search.port"]


def test_a_job_of_the_embedded_target_finds_its_connections_on_the_local_emr() -> None:
    embedded, emr = (load(PROJECT, env, variables={}).settings.connections for env in ("embedded", "local_emr"))
    assert {name: one.kind for name, one in emr.items()} == {name: one.kind for name, one in embedded.items()}
