"""The policy of a job's runtime role names what the job declares, and nothing else."""

from __future__ import annotations

from typing import Any

from clusters import PROJECT

from framework.config.loader import load
from framework.discovery import discover
from framework.emr import iam

ACCOUNT = "123456789012"


def statements(job: str) -> dict[str, Any]:
    policy = iam.runtime_policy(discover(PROJECT).get(job), load(PROJECT, "prod", variables={}), account=ACCOUNT)
    return {one["Sid"]: one for one in policy["Statement"]}


def test_a_job_reads_its_inputs_and_writes_its_output() -> None:
    found = statements("daily_etl")
    assert found["ReadWeatherObjects"]["Resource"] == ["arn:aws:s3:::example-prod-raw/weather/date=*"]
    assert found["ReadWeatherObjects"]["Action"] == ["s3:GetObject"]
    assert found["LookAirlines"]["Resource"] == [
        f"arn:aws:glue:eu-west-1:{ACCOUNT}:catalog",
        f"arn:aws:glue:eu-west-1:{ACCOUNT}:database/reference",
        f"arn:aws:glue:eu-west-1:{ACCOUNT}:table/reference/airlines",
    ]
    assert "glue:UpdateTable" not in found["LookAirlines"]["Action"]
    assert f"arn:aws:glue:eu-west-1:{ACCOUNT}:table/marts/daily_performance" in found["LookOutput"]["Resource"]
    assert found["WriteOutputObjects"]["Resource"] == ["arn:aws:s3:::example-prod-warehouse/marts.db/daily_performance*"]
    assert found["ReadSecrets"]["Resource"] == [f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:prod/airline_ops-??????"]


def test_a_job_without_a_database_gets_no_secret() -> None:
    assert "ReadSecrets" not in statements("carrier_scorecard")


def test_no_statement_allows_everything() -> None:
    for job in discover(PROJECT):
        for name, one in statements(job.name).items():
            assert "*" not in one["Resource"], name
            assert not [action for action in one["Action"] if "*" in action], name


def test_the_nodes_read_artifacts_and_write_logs_only() -> None:
    policies = iam.cluster_policies(load(PROJECT, "prod", variables={}), account=ACCOUNT)
    nodes = {one["Sid"]: one for one in policies["nodes"]["Statement"]}
    assert nodes["LogsObjects"]["Action"] == ["s3:PutObject"]
    assert nodes["ArtifactsObjects"]["Action"] == ["s3:GetObject"]
    assert policies["service_role_trust"]["Statement"][0]["Principal"] == {"Service": "elasticmapreduce.amazonaws.com"}
    assert policies["service_role"]["Statement"][1]["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/emrjobs-nodes"
