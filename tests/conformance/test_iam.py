"""The policy that is derived from a job's declaration is enough for its run, and nothing in it is too much."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import sample_figures as figures

from framework.config.loader import Loaded, load
from framework.discovery import discover
from framework.emr.iam import runtime_policy
from framework.errors import EmrjobsError
from framework.ledger import RunRecord
from framework.local.target import open_platform, supervisor
from framework.platform import Platform
from framework.runner import run_job

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]

ACCOUNT = "123456789012"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
DAY = figures.DAYS[0]

Run = Callable[[list[dict[str, Any]]], RunRecord]


@pytest.fixture(scope="module")
def policy(loaded: Loaded) -> dict[str, Any]:
    return runtime_policy(discover(loaded.root).get("daily_etl"), loaded, account=ACCOUNT)


@pytest.fixture(scope="module")
def run_under(platform: Platform, loaded: Loaded) -> Run:
    """Run daily_etl with the keys of a role that has just these statements; S3 is asked through the endpoint, which checks them."""
    endpoint = supervisor(loaded, lambda event: None).up(["aws"])["aws"]
    session = boto3.Session(endpoint["access_key"], endpoint["secret_key"], region_name=endpoint["region"])
    iam, sts = (session.client(name, endpoint_url=endpoint["url"]) for name in ("iam", "sts"))
    # The first run of all is done by the account itself, so that every run here overwrites a partition.
    run_job(discover(platform.root).get("daily_etl"), {"date": DAY}, platform)

    def run(statements: list[dict[str, Any]]) -> RunRecord:
        name = f"job-{uuid.uuid4().hex[:8]}"
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}))
        keys = sts.assume_role(RoleArn=role, RoleSessionName="run")["Credentials"]
        variables = {
            "KEY": keys["AccessKeyId"],
            "SECRET": keys["SecretAccessKey"],
            "TOKEN": keys["SessionToken"],
            "EMRJOBS__AWS__ACCESS_KEY_ID": "${env:ROLE_KEY}",
            "EMRJOBS__AWS__SECRET_ACCESS_KEY": "${env:ROLE_SECRET}",
            "EMRJOBS__AWS__SESSION_TOKEN": "${env:ROLE_TOKEN}",
            "EMRJOBS__AWS__S3_ENDPOINT_URL": "${local:aws.url}",
        }
        with pytest.MonkeyPatch.context() as patch:
            for key in ("KEY", "SECRET", "TOKEN"):
                patch.setenv(f"ROLE_{key}", variables.pop(key))
            settings = load(loaded.root, "embedded", variables=variables)
            with open_platform(settings, lambda event: None) as own:
                return run_job(discover(loaded.root).get("daily_etl"), {"date": DAY}, own)

    return run


def test_the_derived_policy_is_enough(run_under: Run, policy: dict[str, Any]) -> None:
    record = run_under(policy["Statement"])
    assert record.status == "succeeded"
    assert record.output is not None
    assert record.output.partitions == (f"flight_date={DAY}",)


# What this run can do without, and why it is in the policy all the same.
SPARE = {
    "MakeDatabase": "only the first run of all makes the database",
    "ReadAirlinesList": "the declaration does not say that the table is Iceberg; a Hive-layout table is listed",
    "RecordsList": "without it S3 itself answers 403 for a record that is not there, and not 404; the local endpoint always says 404",
}


def test_without_any_one_of_its_statements_the_run_is_refused(run_under: Run, policy: dict[str, Any]) -> None:
    refused = {}
    for statement in policy["Statement"]:
        refused[statement["Sid"]] = _refusal(run_under, [one for one in policy["Statement"] if one is not statement])
    assert {sid for sid, text in refused.items() if text is None} == SPARE.keys()
    # A HEAD that is refused has no body, so that nobody knows the permission.
    assert {sid: text for sid, text in refused.items() if text and not re.search(r"not authorized|AccessDenied|\b403\b", text)} == {}


def _refusal(run_under: Run, statements: list[dict[str, Any]]) -> str | None:
    try:
        run_under(statements)
    except EmrjobsError as exc:
        return str(exc)
    return None
