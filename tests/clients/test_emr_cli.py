"""emr-cli 0.0.19: package, deploy and run a project, as a step on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.conftest import BUCKET, Target, client
from clients.test_boto3 import request

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]

CODE = f"s3://{BUCKET}/emr-cli/"
MAIN = """\
import sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.range(5).selectExpr("sum(id) AS total").coalesce(1).write.mode("overwrite").json(sys.argv[1])
print("total written")
"""


@pytest.fixture(scope="module")
def emr(target: Target) -> str:
    return str(client("emr-cli", "emr-cli==0.0.19", "build") / "emr")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emr-cli") / "project"
    folder.mkdir()
    (folder / "main.py").write_text(MAIN)
    return folder


def test_a_project_is_packaged_deployed_and_run_with_its_output_shown(emr: str, project: Path, target: Target) -> None:
    cluster = target.emr.run_job_flow(**request("emr-cli"))["JobFlowId"]
    target.settled(cluster)
    place = ("--entry-point", "main.py", "--s3-code-uri", CODE)
    target.run([emr, "package", "--entry-point", "main.py"], cwd=project)
    target.run([emr, "deploy", *place], cwd=project)
    out = f"s3://{BUCKET}/out/emr-cli/"
    run = ("run", *place, "--cluster-id", cluster, "--job-name", "total", "--job-args", out, "--show-stdout")
    done = target.run([emr, *run], cwd=project)
    assert "Job completed successfully!" in done.out
    assert "total written" in done.out
    assert target.text(f"{out}part") == '{"total":10}\n'
    target.emr.terminate_job_flows(JobFlowIds=[cluster])
