"""Spark steps: real spark-submit with S3A on the local S3."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest
from local.aws.conftest import wait_until

from .builders import step
from .conftest import Cluster

pytestmark = [pytest.mark.services, pytest.mark.slow]

SCRIPT = """
import os, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
rows = spark.read.text("s3://bucket/in/words.txt")
rows.groupBy("value").count().coalesce(1).write.mode("overwrite").csv(sys.argv[1])
print("environment:", open("environment/name").read(), spark.conf.get("spark.my"), os.environ.get("FROM_CLUSTER"))
if len(sys.argv) > 2:
    import helper

    loader = spark._jvm.Thread.currentThread().getContextClassLoader()
    print("brought:", helper.NAME, loader.getResource("from-the-jar.txt") is not None)
    raise ValueError(sys.argv[2])
"""

LONG = """
import os, time
from pyspark.sql import SparkSession
while not os.path.exists({go_on!r}):
    time.sleep(0.1)
print("at last:", SparkSession.builder.getOrCreate().range(3).count())
"""


@pytest.fixture
def archive(cluster: Cluster) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("name")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"venv1"))
    cluster.s3.put_object(Bucket="bucket", Key="env.tar.gz", Body=packed.getvalue())
    cluster.put("in/words.txt", "a\nb\na\n")
    return "s3://bucket/env.tar.gz#environment"


def test_a_script_reads_and_writes_s3_with_its_archive_and_the_clusters_configuration(cluster: Cluster, archive: str) -> None:
    export = {"Classification": "export", "Properties": {"FROM_CLUSTER": "spark-env"}}
    defaults = {"Classification": "spark-defaults", "Properties": {"spark.my": "default"}}
    env = {"Classification": "spark-env", "Properties": {}, "Configurations": [export]}
    cluster.executor.prepare(type(cluster.spec)(**{**vars(cluster.spec), "configurations": [defaults, env]}))
    uri = cluster.put("app/job.py", SCRIPT)
    outcome = cluster.run(step("spark-submit", "--master", "yarn", "--archives", archive, uri, "s3://bucket/out/client"))
    assert outcome.succeeded, cluster.log("s-1", "stderr")
    assert "environment: venv1 default spark-env" in cluster.log("s-1", "stdout")
    assert " WARN SparkConf: " not in cluster.log("s-1", "stderr")
    parts = cluster.s3.list_objects_v2(Bucket="bucket", Prefix="out/client/part-")["Contents"]
    assert sorted(cluster.get(parts[0]["Key"]).decode().split()) == ["a,2", "b,1"]


def test_the_examples_of_spark_run(cluster: Cluster) -> None:
    outcome = cluster.run(step("/usr/lib/spark/bin/run-example", "SparkPi", "2"))
    assert outcome.succeeded, cluster.log("s-1", "stderr")
    assert cluster.log("s-1", "stdout").startswith("Pi is roughly 3.")


def test_in_cluster_mode_the_drivers_output_and_its_error_are_in_the_containers_logs(cluster: Cluster, archive: str) -> None:
    uri = cluster.put("app/job.py", SCRIPT)
    helper = cluster.put("app/helper.py", "NAME = 'a module'\n")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as jar:
        jar.writestr("from-the-jar.txt", "here")
    cluster.s3.put_object(Bucket="bucket", Key="app/own.jar", Body=packed.getvalue())
    brought = ("--py-files", helper, "--jars", "s3://bucket/app/own.jar", "--archives", archive)
    args = ("--deploy-mode", "cluster", "--conf", "spark.my=x", *brought, uri, "s3://bucket/out/cluster", "no carrier")
    outcome = cluster.run(step("spark-submit", *args))
    assert (outcome.exit_code, outcome.message) == (1, "ValueError: no carrier")
    assert "/containers/application_" in str(outcome.log_file)
    said = gzip.decompress(cluster.get(str(outcome.log_file).removeprefix("s3://bucket/"))).decode()
    assert "environment: venv1 x" in said
    assert "brought: a module True" in said
    assert " WARN SparkConf: " not in said
    assert "(state: FINISHED)" in cluster.log("s-1", "stderr")
    assert cluster.s3.list_objects_v2(Bucket="bucket", Prefix="out/cluster/_SUCCESS")["KeyCount"] == 1


def test_a_step_that_does_not_wait_for_its_application_completes_while_that_runs_on(cluster: Cluster) -> None:
    go_on = cluster.root / "go-on"
    uri = cluster.put("app/long.py", LONG.format(go_on=str(go_on)))
    never = "spark.yarn.submit.waitAppCompletion=false"
    outcome = cluster.run(step("spark-submit", "--deploy-mode", "cluster", "--conf", never, uri))
    assert outcome.succeeded, cluster.log("s-1", "stderr")
    assert "(state: ACCEPTED)" in cluster.log("s-1", "stderr")
    (application,) = [path.name for path in (cluster.root / "j-1/work").glob("application_*")]
    assert cluster.executor.outcome("j-1", application) is None
    go_on.touch()
    wait_until(lambda: cluster.executor.outcome("j-1", application) is not None, seconds=120)
    key = f"logs/j-1/containers/{application}/{application.replace('application', 'container')}_01_000001/stdout.gz"
    assert gzip.decompress(cluster.get(key)) == b"at last: 3\n"
