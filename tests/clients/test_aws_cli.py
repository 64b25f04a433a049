"""The AWS CLI: clusters with groups and with fleets, steps of each type, waiting, cancelling, default roles."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.conftest import BUCKET, Done, Target, client

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(900)]

LOGS = f"s3://{BUCKET}/logs/"
Aws = Callable[..., Done]

PYSPARK = """\
import sys
from pyspark.sql import SparkSession, functions as F

spark = SparkSession.builder.getOrCreate()
source, target = sys.argv[1:3]
words = spark.read.text(source).select(F.explode(F.split("value", " ")).alias("word"))
words.groupBy("word").count().orderBy("word").coalesce(1).write.csv(target)
print("wrote", target)
"""


@pytest.fixture(scope="module")
def aws(target: Target) -> Aws:
    """`aws`, as a user has it."""
    program = str(client("aws", "awscli==1.46.3") / "aws")
    return lambda *argv, **options: target.run([program, *argv], **options)


@pytest.fixture(scope="module")
def words(target: Target) -> str:
    return target.put("in/words.txt", "to be or not\nto be\n")


@pytest.fixture(scope="module")
def cluster(aws: Aws, target: Target) -> str:
    """A cluster that stays, with all applications of the steps below."""
    made = aws(
        *("emr", "create-cluster", "--name", "clients", "--release-label", "emr-7.12.0", "--log-uri", LOGS),
        *("--applications", "Name=Spark", "Name=Hadoop", "Name=Hive", "Name=Pig"),
        *("--service-role", "EMR_DefaultRole", "--ec2-attributes", "InstanceProfile=EMR_EC2_DefaultRole"),
        *("--instance-groups", "InstanceGroupType=MASTER,InstanceCount=1,InstanceType=m5.xlarge"),
        "InstanceGroupType=CORE,InstanceCount=2,InstanceType=m5.xlarge",
        "--no-auto-terminate",
    )
    identity: str = made.json["ClusterId"]
    target.settled(identity)
    aws("emr", "wait", "cluster-running", "--cluster-id", identity)
    return identity


def step_of(aws: Aws, target: Target, cluster: str, step: str) -> tuple[str, str]:
    """Add one step, wait for its end; its state and the reason of a failure."""
    added = aws("emr", "add-steps", "--cluster-id", cluster, "--steps", step)
    identity = (added.json["StepIds"] if added.out.lstrip().startswith("{") else added.out.split())[-1]
    target.settled(cluster, identity)
    status = aws("emr", "describe-step", "--cluster-id", cluster, "--step-id", identity).json["Step"]["Status"]
    waited = aws("emr", "wait", "step-complete", "--cluster-id", cluster, "--step-id", identity, ok=False)
    assert (waited.code == 0) == (status["State"] == "COMPLETED")
    return status["State"], status.get("FailureDetails", {}).get("Message", "")


def test_default_roles_are_made(aws: Aws, target: Target) -> None:
    # The command of docs/emr-clients.md: the CLI reads the service principal off EMR's own host name; only IAM is called.
    made = aws("emr", "create-default-roles", "--endpoint-url", "https://elasticmapreduce.us-east-1.amazonaws.com")
    assert {role["Role"]["RoleName"] for role in made.json} >= {"EMR_DefaultRole", "EMR_EC2_DefaultRole"}
    (emr,) = [one["Role"] for one in made.json if one["Role"]["RoleName"] == "EMR_DefaultRole"]
    assert emr["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "elasticmapreduce.amazonaws.com"}
    assert {"EMR_DefaultRole"} <= {role["RoleName"] for role in aws("iam", "list-roles").json["Roles"]}


def test_a_spark_step_reads_and_writes_s3(aws: Aws, cluster: str, words: str, target: Target) -> None:
    script = target.put("code/words.py", PYSPARK)
    out = f"s3://{BUCKET}/out/spark/"
    assert step_of(
        aws, target, cluster, f"Type=Spark,Name=words,ActionOnFailure=CONTINUE,Args=[--deploy-mode,client,{script},{words},{out}]"
    ) == (
        "COMPLETED",
        "",
    )
    assert target.text(f"{out}part") == "be,2\nnot,1\nor,1\nto,2\n"


def test_a_streaming_step_runs_mapper_and_reducer(aws: Aws, cluster: str, words: str, target: Target) -> None:
    mapper = target.put(
        "code/mapper.py", "#!/usr/bin/env python3\nimport sys\nfor line in sys.stdin:\n    print(*line.split(), sep='\\n')\n"
    )
    out = f"s3://{BUCKET}/out/streaming"
    arguments = ["-files", mapper, "-mapper", "mapper.py", "-reducer", "uniq -c", "-input", words, "-output", out]
    step = {"Type": "STREAMING", "Name": "words", "ActionOnFailure": "CONTINUE", "Args": arguments}
    assert step_of(aws, target, cluster, json.dumps([step])) == ("COMPLETED", "")
    counts = dict(reversed(line.split()) for line in target.text(f"{out}/part").splitlines())
    assert counts == {"be": "2", "not": "1", "or": "1", "to": "2"}


def test_a_hive_step_runs_its_script_with_its_variables(aws: Aws, cluster: str, words: str, target: Target) -> None:
    out = f"s3://{BUCKET}/out/hive"
    script = target.put(
        "code/words.hql",
        "CREATE EXTERNAL TABLE lines (line STRING) LOCATION '${INPUT}';\n"
        "INSERT OVERWRITE DIRECTORY '${OUTPUT}' SELECT word, count(*) FROM lines LATERAL VIEW explode(split(line, ' ')) w AS word "
        "GROUP BY word ORDER BY word;\n",
    )
    step = f"Type=HIVE,Name=words,ActionOnFailure=CONTINUE,Args=[-f,{script},-d,INPUT=s3://{BUCKET}/in,-d,OUTPUT={out}]"
    assert step_of(aws, target, cluster, step) == ("COMPLETED", "")
    assert [line.split("\x01")[0] for line in target.text(f"{out}/").splitlines()] == ["be", "not", "or", "to"]


def test_a_pig_step_runs_its_script(aws: Aws, cluster: str, words: str, target: Target) -> None:
    out = f"s3://{BUCKET}/out/pig"
    script = target.put(
        "code/words.pig",
        "lines = LOAD '$INPUT' AS (line:chararray);\n"
        "words = FOREACH lines GENERATE FLATTEN(TOKENIZE(line)) AS word;\n"
        "groups = GROUP words BY word;\n"
        "counts = FOREACH groups GENERATE group, COUNT(words);\n"
        "STORE counts INTO '$OUTPUT';\n",
    )
    step = f"Type=PIG,Name=words,ActionOnFailure=CONTINUE,Args=[-f,{script},-p,INPUT={words},-p,OUTPUT={out}]"
    assert step_of(aws, target, cluster, step) == ("COMPLETED", "")
    assert sorted(target.text(f"{out}/part").splitlines()) == ["be\t2", "not\t1", "or\t1", "to\t2"]


def test_a_custom_jar_step_runs_a_command_and_s3_dist_cp_copies(aws: Aws, cluster: str, words: str, target: Target) -> None:
    jar = "Type=CUSTOM_JAR,ActionOnFailure=CONTINUE,Jar=command-runner.jar"
    assert step_of(aws, target, cluster, f'{jar},Name=say,Args=["bash","-c","echo hello"]') == ("COMPLETED", "")
    copy = f"{jar},Name=copy,Args=[s3-dist-cp,--src,s3://{BUCKET}/in,--dest,s3://{BUCKET}/out/copy]"
    assert step_of(aws, target, cluster, copy) == ("COMPLETED", "")
    assert target.text(f"s3://{BUCKET}/out/copy/") == target.text(words)


def test_a_failing_step_says_why_and_the_cluster_goes_on(aws: Aws, cluster: str, target: Target) -> None:
    script = target.put("code/broken.py", "raise ValueError('no such day')\n")
    state, message = step_of(aws, target, cluster, f"Type=Spark,Name=broken,ActionOnFailure=CONTINUE,Args=[{script}]")
    assert state == "FAILED"
    assert "no such day" in message
    described = aws("emr", "describe-cluster", "--cluster-id", cluster).json["Cluster"]
    assert described["Status"]["State"] in ("WAITING", "RUNNING")


def test_a_running_step_is_cancelled(aws: Aws, cluster: str, target: Target) -> None:
    jar = "Type=CUSTOM_JAR,Name=long,ActionOnFailure=CONTINUE,Jar=command-runner.jar"
    added = aws("emr", "add-steps", "--cluster-id", cluster, "--steps", f"{jar},Args=[sleep,600]", f"{jar},Args=[sleep,600]").json[
        "StepIds"
    ]
    cancelled = aws(
        *("emr", "cancel-steps", "--cluster-id", cluster, "--step-ids", *added, "--step-cancellation-option", "TERMINATE_PROCESS")
    ).json["CancelStepsInfoList"]
    assert {info["Status"] for info in cancelled} == {"SUBMITTED"}
    for identity in added:
        target.settled(cluster, identity)
        status = aws("emr", "describe-step", "--cluster-id", cluster, "--step-id", identity).json["Step"]["Status"]["State"]
        assert status in ("CANCELLED", "FAILED")


def test_a_transient_cluster_with_fleets_runs_its_steps_and_ends(aws: Aws, target: Target, tmp_path: Path) -> None:
    fleet = [
        {"InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1, "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}]},
        {"InstanceFleetType": "CORE", "TargetOnDemandCapacity": 1, "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}]},
        {
            "InstanceFleetType": "TASK",
            "TargetSpotCapacity": 2,
            "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}, {"InstanceType": "m5a.xlarge"}],
            "LaunchSpecifications": {
                "SpotSpecification": {
                    "TimeoutDurationMinutes": 10,
                    "TimeoutAction": "SWITCH_TO_ON_DEMAND",
                    "AllocationStrategy": "price-capacity-optimized",
                }
            },
        },
    ]
    action = target.put("code/bootstrap.sh", "#!/bin/bash\necho prepared $1\n")
    made = aws(
        *("emr", "create-cluster", "--name", "fleets", "--release-label", "emr-7.12.0", "--log-uri", LOGS, "--auto-terminate"),
        *("--applications", "Name=Spark", "--service-role", "EMR_DefaultRole", "--ec2-attributes", "InstanceProfile=EMR_EC2_DefaultRole"),
        *("--instance-fleets", json.dumps(fleet), "--bootstrap-actions", f"Path={action},Name=prepare,Args=[node]"),
        *("--steps", 'Type=CUSTOM_JAR,Name=say,ActionOnFailure=TERMINATE_CLUSTER,Jar=command-runner.jar,Args=["echo","done"]'),
    )
    identity = made.json["ClusterId"]
    target.settled(identity)
    aws("emr", "wait", "cluster-terminated", "--cluster-id", identity)
    described = aws("emr", "describe-cluster", "--cluster-id", identity).json["Cluster"]
    assert described["Status"]["State"] == "TERMINATED"
    assert described["Status"]["StateChangeReason"]["Code"] == "ALL_STEPS_COMPLETED"
    assert described["InstanceCollectionType"] == "INSTANCE_FLEET"
    (master,) = target.emr.list_instances(ClusterId=identity, InstanceFleetType="MASTER")["Instances"]
    aws("s3", "cp", "--quiet", f"{LOGS}{identity}/node/{master['Ec2InstanceId']}/bootstrap-actions/1/stdout.gz", str(tmp_path))
    assert gzip.decompress((tmp_path / "stdout.gz").read_bytes()) == b"prepared node\n"


def test_a_cluster_is_terminated(aws: Aws, target: Target, cluster: str, tmp_path: Path) -> None:
    # The last one of this file: the others use the cluster.
    aws("emr", "terminate-clusters", "--cluster-ids", cluster)
    target.settled(cluster)
    aws("emr", "wait", "cluster-terminated", "--cluster-id", cluster)
    listed = aws("emr", "list-clusters", "--terminated").json["Clusters"]
    assert cluster in {one["Id"] for one in listed}
    aws("s3", "cp", "--recursive", "--quiet", f"{LOGS}{cluster}/", str(tmp_path))
    kinds = {file.name for file in (tmp_path / "steps").rglob("*.gz")}
    assert kinds >= {"controller.gz", "stdout.gz", "stderr.gz", "syslog.gz"}
