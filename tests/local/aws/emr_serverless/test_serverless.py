"""EMR Serverless with an unmodified boto3, on the real executor."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local.aws.conftest import EndpointProcess, wait_until

from framework.local.aws.emr_serverless import launches
from framework.local.aws.emr_serverless.store import JobRun

ROLE = "arn:aws:iam::123456789012:role/job"


def run_of(driver: dict[str, Any], **document: Any) -> JobRun:
    return JobRun("00run", "00app", {"jobDriver": driver, **document}, {"attempt": 1})


def test_a_spark_driver_becomes_a_spark_submit_whose_parameters_win() -> None:
    overrides = {"applicationConfiguration": [{"classification": "spark-defaults", "properties": {"spark.a": "1"}}]}
    driver = {"entryPoint": "s3://b/a.py", "entryPointArguments": ["x y"], "sparkSubmitParameters": "--conf spark.a=2 --name 'my job'"}
    work = launches.work(run_of({"sparkSubmit": driver}, configurationOverrides=overrides))
    assert work.args == ["spark-submit", "--conf", "spark.a=1", "--conf", "spark.a=2", "--name", "my job", "s3://b/a.py", "x y"]
    assert work.log_key == "applications/00app/jobs/00run/SPARK_DRIVER"
    assert work.timeout == 720 * 60


def test_a_hive_driver_takes_a_query_or_a_file() -> None:
    assert launches.work(run_of({"hive": {"query": "select 1"}})).args == ["hive", "-e", "select 1"]
    driver = {"query": "s3://b/q.hql", "initQueryFile": "s3://b/i.hql", "parameters": "--hiveconf a=b"}
    work = launches.work(run_of({"hive": driver}, executionTimeoutMinutes=2))
    assert work.args == ["hive", "--hiveconf", "a=b", "-i", "s3://b/i.hql", "-f", "s3://b/q.hql"]
    assert work.timeout == 120


@pytest.fixture
def client(s3_endpoint: EndpointProcess) -> Any:
    return s3_endpoint.client("emr-serverless")


@pytest.fixture
def application(client: Any) -> Iterator[str]:
    created = client.create_application(name="tests", releaseLabel="emr-7.12.0", type="SPARK", tags={"team": "data"})
    yield created["applicationId"]
    for run in client.list_job_runs(applicationId=created["applicationId"])["jobRuns"]:
        if run["state"] not in ("SUCCESS", "FAILED", "CANCELLED"):
            client.cancel_job_run(applicationId=created["applicationId"], jobRunId=run["id"])


def ended(client: Any, application: str, run: str) -> dict[str, Any]:
    """The job run, once it is over."""

    def found() -> dict[str, Any]:
        one: dict[str, Any] = client.get_job_run(applicationId=application, jobRunId=run)["jobRun"]
        return one

    wait_until(lambda: found()["state"] in ("SUCCESS", "FAILED", "CANCELLED"), seconds=300)
    return found()


def state(client: Any, application: str) -> str:
    found: str = client.get_application(applicationId=application)["application"]["state"]
    return found


@pytest.mark.services
def test_an_application_goes_through_its_states(client: Any, application: str) -> None:
    wait_until(lambda: state(client, application) == "CREATED")
    client.start_application(applicationId=application)
    wait_until(lambda: state(client, application) == "STARTED")
    with pytest.raises(ClientError, match=r"must be in one of the following statuses \[CREATED, STOPPED\]. Current status: STARTED"):
        client.delete_application(applicationId=application)
    client.stop_application(applicationId=application)
    wait_until(lambda: state(client, application) == "STOPPED")
    updated = client.update_application(applicationId=application, autoStopConfiguration={"enabled": True, "idleTimeoutMinutes": 5})
    assert updated["application"]["autoStopConfiguration"]["idleTimeoutMinutes"] == 5
    client.delete_application(applicationId=application)
    assert state(client, application) == "TERMINATED"
    assert application in [item["id"] for item in client.list_applications(states=["TERMINATED"])["applications"]]


@pytest.mark.services
def test_the_same_client_token_creates_one_application(client: Any) -> None:
    request = {"name": "once", "releaseLabel": "emr-7.12.0", "type": "HIVE", "clientToken": "token-1"}
    assert client.create_application(**request)["applicationId"] == client.create_application(**request)["applicationId"]
    with pytest.raises(ClientError, match="ConflictException"):
        client.create_application(**{**request, "name": "twice"})


@pytest.mark.services
def test_mistakes_have_awss_codes(client: Any, application: str) -> None:
    with pytest.raises(ClientError, match="ResourceNotFoundException") as refused:
        client.get_application(applicationId="00nothing")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    with pytest.raises(ClientError, match="ValidationException"):
        client.create_application(releaseLabel="emr-99.0.0", type="SPARK")
    with pytest.raises(ClientError, match="ValidationException"):
        client.start_job_run(applicationId=application, executionRoleArn=ROLE, jobDriver={"hive": {"query": "select 1"}})


@pytest.mark.services
def test_tags_are_kept_on_applications(client: Any, application: str) -> None:
    arn = client.get_application(applicationId=application)["application"]["arn"]
    client.tag_resource(resourceArn=arn, tags={"cost": "1"})
    client.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"cost": "1"}


@pytest.mark.services
@pytest.mark.slow
def test_job_runs_execute_fail_with_their_cause_and_can_be_cancelled(client: Any, s3_endpoint: EndpointProcess, application: str) -> None:
    s3 = s3_endpoint.client("s3")
    script = "import sys, time\nfrom pyspark.sql import SparkSession\nprint(SparkSession.builder.getOrCreate().range(5).count())\n"
    script += "time.sleep(float(sys.argv[1]))\nif len(sys.argv) > 2: raise ValueError(sys.argv[2])\n"
    s3.put_object(Bucket="bucket", Key="serverless/job.py", Body=script.encode())

    def start(*args: str) -> str:
        run = client.start_job_run(
            applicationId=application,
            executionRoleArn=ROLE,
            name="a run",
            jobDriver={"sparkSubmit": {"entryPoint": "s3://bucket/serverless/job.py", "entryPointArguments": list(args)}},
            configurationOverrides={"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": "s3://bucket/serverless-logs/"}}},
        )
        return str(run["jobRunId"])

    good, bad, long = start("0"), start("0", "no carrier"), start("600")
    assert ended(client, application, good)["state"] == "SUCCESS"
    key = f"serverless-logs/applications/{application}/jobs/{good}/SPARK_DRIVER/stdout.gz"
    assert gzip.decompress(s3.get_object(Bucket="bucket", Key=key)["Body"].read()) == b"5\n"
    failed = ended(client, application, bad)
    assert failed["state"] == "FAILED"
    assert "ExitCode: 1. Last few exceptions: ValueError: no carrier" in failed["stateDetails"]
    with pytest.raises(ClientError, match="have not ended"):
        client.stop_application(applicationId=application)
    client.cancel_job_run(applicationId=application, jobRunId=long)
    assert ended(client, application, long)["state"] == "CANCELLED"
    shown = client.list_job_runs(applicationId=application, maxResults=2)
    assert len(shown["jobRuns"]) == 2
    assert client.list_job_runs(applicationId=application, nextToken=shown["nextToken"])["jobRuns"][0]["id"] == good
    url = client.get_dashboard_for_job_run(applicationId=application, jobRunId=good)["url"]
    assert b'"state":"SUCCESS"' in s3_endpoint.get(url.removeprefix(s3_endpoint.url))[1]


@pytest.mark.services
@pytest.mark.slow
def test_a_hive_job_run_makes_tables_that_a_later_one_sees(client: Any, s3_endpoint: EndpointProcess) -> None:
    s3 = s3_endpoint.client("s3")
    created = client.create_application(name="hive", releaseLabel="emr-7.12.0", type="HIVE")
    application = str(created["applicationId"])
    init = "CREATE TABLE sold AS SELECT 'a' AS item, 2 AS n; INSERT INTO sold VALUES ('b', 1);"
    s3.put_object(Bucket="bucket", Key="serverless/init.hql", Body=init.encode())
    s3.put_object(Bucket="bucket", Key="serverless/q.hql", Body=b"SELECT item, n FROM sold WHERE n >= ${MIN} ORDER BY item;")

    warehouse = {"hive.metastore.warehouse.dir": "s3://bucket/hive-warehouse"}

    def run(query: str, **driver: str) -> str:
        started = client.start_job_run(
            applicationId=application,
            executionRoleArn=ROLE,
            jobDriver={"hive": {"query": query, **driver}},
            configurationOverrides={
                "applicationConfiguration": [{"classification": "hive-site", "properties": warehouse}],
                "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": "s3://bucket/hive-logs/"}},
            },
        )
        over = ended(client, application, started["jobRunId"])
        assert over["state"] == "SUCCESS", over["stateDetails"]
        key = f"hive-logs/applications/{application}/jobs/{started['jobRunId']}/HIVE_DRIVER/stdout.gz"
        return gzip.decompress(s3.get_object(Bucket="bucket", Key=key)["Body"].read()).decode()

    first = run("s3://bucket/serverless/q.hql", initQueryFile="s3://bucket/serverless/init.hql", parameters="--hivevar MIN=2")
    assert first == "a\t2\n"
    assert run("INSERT OVERWRITE TABLE sold SELECT 'c', 3; SELECT item FROM sold") == "c\n"
    (row,) = s3.list_objects_v2(Bucket="bucket", Prefix="hive-warehouse/sold/part-")["Contents"]
    assert s3.get_object(Bucket="bucket", Key=row["Key"])["Body"].read() == b"c\x013\n"
