"""What runs on clusters acts as its role."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local.aws.conftest import EndpointProcess, wait_until

from framework.local.aws.iam.sessions import Sessions

ROLE = "arn:aws:iam::123456789012:role/etl"


class Iam:
    """Knows one role, in the profile of the same name; its sessions' keys are numbered."""

    def __init__(self) -> None:
        self.sessions: list[str] = []

    def role_of_profile(self, name: str) -> str | None:
        return ROLE if name == "etl" else None

    def knows_role(self, arn: str) -> bool:
        return arn == ROLE

    def trust_policy(self, role: str) -> None:
        return None

    def assume(self, role: str, session: str, seconds: float) -> tuple[str, str, str]:
        assert role == ROLE
        self.sessions.append(session)
        return f"ASIA{len(self.sessions)}", "secret", "token"


def test_a_session_is_begun_once_per_role_and_name_and_serves_all_that_runs_there() -> None:
    iam = Iam()
    sessions = Sessions(iam)
    first = sessions.of_profile("etl", "i-1")
    assert first == {"AWS_ACCESS_KEY_ID": "ASIA1", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    assert sessions.of_profile("etl", "i-1") == first
    assert sessions.of_profile("etl", "i-2") != first
    assert sessions.of_role(ROLE, "s-1")["AWS_ACCESS_KEY_ID"] == "ASIA3"
    assert iam.sessions == ["i-1", "i-2", "s-1"]


def test_a_role_that_iam_does_not_know_gives_no_keys() -> None:
    sessions = Sessions(Iam())
    assert sessions.of_profile("EMR_EC2_DefaultRole", "i-1") == {}
    assert sessions.of_role("arn:aws:iam::123456789012:role/other", "s-1") == {}


# ------------------------------------------------------------------------------------------- steps of the real endpoint

TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
)
# Says who it is, reads its own object and tries another's.
SCRIPT = """
import boto3
from botocore.exceptions import ClientError

print(boto3.client("sts").get_caller_identity()["Arn"])
s3 = boto3.client("s3")
for key in ("own/a", "others/a"):
    try:
        print(key, s3.get_object(Bucket="bucket", Key=f"roles/{key}")["Body"].read().decode())
    except ClientError as exc:
        print(key, exc.response["Error"]["Code"])
"""


@pytest.fixture
def make_role(s3_endpoint: EndpointProcess) -> Callable[[], str]:
    """A role, in a profile of its name, that may read below `roles/own/`."""

    def make() -> str:
        iam, name = s3_endpoint.client("iam"), f"node-{uuid.uuid4().hex[:8]}"
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/roles/own/*"}
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return name

    return make


def run(endpoint: EndpointProcess, profile: str, **step: Any) -> list[str]:
    """Run the script as a step of a cluster with this profile; the lines that it printed."""
    import gzip

    s3, emr = endpoint.client("s3"), endpoint.client("emr")
    for key in ("own/a", "others/a"):
        s3.put_object(Bucket="bucket", Key=f"roles/{key}", Body=b"here")
    cluster = emr.run_job_flow(
        Name="roles",
        ReleaseLabel="emr-7.12.0",
        LogUri="s3://bucket/role-logs/",
        ServiceRole="EMR_DefaultRole",
        JobFlowRole=profile,
        Instances={
            "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}],
            "KeepJobFlowAliveWhenNoSteps": True,
        },
    )["JobFlowId"]
    jar = {"Jar": "command-runner.jar", "Args": ["python3", "-c", SCRIPT]}
    (one,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[{"Name": "who", "HadoopJarStep": jar}], **step)["StepIds"]

    def state() -> str:
        return str(emr.describe_step(ClusterId=cluster, StepId=one)["Step"]["Status"]["State"])

    wait_until(lambda: state() not in ("PENDING", "RUNNING"), seconds=180)
    assert state() == "COMPLETED"
    text = s3.get_object(Bucket="bucket", Key=f"role-logs/{cluster}/steps/{one}/stdout.gz")["Body"].read()
    emr.terminate_job_flows(JobFlowIds=[cluster])
    return gzip.decompress(text).decode().splitlines()


@pytest.mark.services
def test_a_step_has_the_permissions_of_its_clusters_profile_and_its_logs_arrive_all_the_same(
    s3_endpoint: EndpointProcess, make_role: Callable[[], str]
) -> None:
    name = make_role()
    who, own, others = run(s3_endpoint, name)
    assert who.startswith(f"arn:aws:sts::123456789012:assumed-role/{name}/i-")
    assert (own, others) == ("own/a here", "others/a AccessDenied")


@pytest.mark.services
def test_a_step_with_an_execution_role_has_that_roles_permissions(s3_endpoint: EndpointProcess, make_role: Callable[[], str]) -> None:
    name = make_role()
    who, own, others = run(s3_endpoint, "unknown-profile", ExecutionRoleArn=f"arn:aws:iam::123456789012:role/{name}")
    assert who.startswith(f"arn:aws:sts::123456789012:assumed-role/{name}/s-")
    assert (own, others) == ("own/a here", "others/a AccessDenied")


@pytest.mark.services
def test_a_profile_that_iam_does_not_know_leaves_the_endpoints_own_keys(s3_endpoint: EndpointProcess) -> None:
    _, own, others = run(s3_endpoint, "EMR_EC2_DefaultRole")
    assert (own, others) == ("own/a here", "others/a here")


@pytest.mark.services
def test_a_cluster_and_a_job_run_end_when_their_role_trusts_another_service(
    s3_endpoint: EndpointProcess, make_role: Callable[[], str]
) -> None:
    name = make_role()
    arn = f"arn:aws:iam::123456789012:role/{name}"
    emr, serverless = s3_endpoint.client("emr"), s3_endpoint.client("emr-serverless")
    instances = {"InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}]}
    request = {"Name": "untrusting", "ReleaseLabel": "emr-7.12.0", "ServiceRole": name, "JobFlowRole": "nodes", "Instances": instances}
    cluster = emr.run_job_flow(**request)["JobFlowId"]
    application = serverless.create_application(releaseLabel="emr-7.12.0", type="SPARK")["applicationId"]
    driver = {"sparkSubmit": {"entryPoint": "s3://bucket/none.py"}}
    run = serverless.start_job_run(applicationId=application, executionRoleArn=arn, jobDriver=driver)["jobRunId"]

    def status() -> dict[str, Any]:
        return dict(emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"])

    def job_run() -> dict[str, Any]:
        return dict(serverless.get_job_run(applicationId=application, jobRunId=run)["jobRun"])

    wait_until(lambda: status()["State"] == "TERMINATED_WITH_ERRORS")
    assert status()["StateChangeReason"] == {"Code": "VALIDATION_ERROR", "Message": f"EMR service role {arn} is invalid"}
    wait_until(lambda: job_run()["state"] == "FAILED")
    assert job_run()["stateDetails"].startswith(f"Could not assume runtime role {arn} because it doesn't exist or isn't setup with")


@pytest.mark.services
@pytest.mark.slow
def test_a_session_is_still_held_to_its_role_after_the_endpoint_was_killed(tmp_path: Path) -> None:
    endpoint = EndpointProcess(tmp_path / "state", "http://127.0.0.1:9")
    endpoint.start()
    try:
        role = endpoint.client("iam").create_role(RoleName="etl", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        keys = endpoint.client("sts").assume_role(RoleArn=role, RoleSessionName="run")["Credentials"]
        endpoint.kill()
        endpoint.start()
        session = (keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
        with pytest.raises(ClientError, match="AccessDeniedException"):
            endpoint.client("ssm", session).get_parameter(Name="any")
    finally:
        endpoint.kill()
