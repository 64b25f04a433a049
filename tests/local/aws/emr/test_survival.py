"""The endpoint is killed while a real step runs: nothing is lost, and nothing is left behind."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from local.aws.conftest import EndpointProcess, wait_until

pytestmark = pytest.mark.services


@pytest.fixture
def mortal(s3_endpoint: EndpointProcess, tmp_path: Path) -> Iterator[EndpointProcess]:
    """An endpoint of its own that may be killed, on the shared S3 server."""
    one = EndpointProcess(tmp_path / "state", s3_endpoint.s3)
    one.start()
    yield one
    for cluster in one.client("emr").list_clusters(ClusterStates=["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"])["Clusters"]:
        one.client("emr").terminate_job_flows(JobFlowIds=[cluster["Id"]])
        wait_until(lambda cluster=cluster: _cluster(one.client("emr"), cluster["Id"])["State"].startswith("TERMINATED"))  # type: ignore[misc]
    one.kill()


def _cluster(emr: Any, cluster_id: str) -> dict[str, Any]:
    status: dict[str, Any] = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]
    return status


def run_cluster(emr: Any, *scripts: str) -> tuple[str, list[str]]:
    """A cluster with one step per script; returns its id and those of the steps."""
    steps = [
        {
            "Name": f"step {number}",
            "ActionOnFailure": "CONTINUE",
            "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", "-c", script]},
        }
        for number, script in enumerate(scripts)
    ]
    cluster_id = emr.run_job_flow(
        Name="mortal",
        ReleaseLabel="emr-7.12.0",
        Applications=[{"Name": "Spark"}],
        LogUri="s3://bucket/survival/",
        Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True},
        JobFlowRole="EMR_EC2_DefaultRole",
        ServiceRole="EMR_DefaultRole",
        Steps=steps,
    )["JobFlowId"]
    return cluster_id, [step["Id"] for step in reversed(emr.list_steps(ClusterId=cluster_id)["Steps"])]


def test_a_running_step_goes_on_and_the_next_one_follows_after_a_kill_of_the_endpoint(mortal: EndpointProcess, tmp_path: Path) -> None:
    emr, go_on = mortal.client("emr"), tmp_path / "go-on"
    begun = tmp_path / "begun"
    waiting = f"echo begun; touch {begun}; until [ -e {go_on} ]; do sleep 0.05; done; echo done; exit 3"
    cluster_id, (first, second) = run_cluster(emr, waiting, "echo after")

    def log() -> str:
        s3, key = mortal.client("s3"), f"survival/{cluster_id}/steps/{first}/stdout.gz"
        if not s3.list_objects_v2(Bucket="bucket", Prefix=key).get("Contents"):
            return ""
        return gzip.decompress(s3.get_object(Bucket="bucket", Key=key)["Body"].read()).decode()

    wait_until(begun.exists)
    wait_until(lambda: log() == "begun\n")  # pushed while it runs
    mortal.kill()
    go_on.touch()
    mortal.start()
    emr = mortal.client("emr")
    wait_until(lambda: emr.describe_step(ClusterId=cluster_id, StepId=second)["Step"]["Status"]["State"] == "COMPLETED")
    status = emr.describe_step(ClusterId=cluster_id, StepId=first)["Step"]["Status"]
    assert status["State"] == "FAILED"
    assert status["FailureDetails"]["Message"] == "done"
    assert log() == "begun\ndone\n"


def test_terminating_after_a_kill_of_the_endpoint_leaves_no_process(mortal: EndpointProcess, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    cluster_id, _ = run_cluster(mortal.client("emr"), f"touch {begun}; (setsid sleep 5678 &); sleep 5678")
    wait_until(begun.exists)
    mortal.kill()
    mortal.start()
    emr = mortal.client("emr")
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
    wait_until(lambda: _cluster(emr, cluster_id)["State"] == "TERMINATED")
    wait_until(lambda: not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "5678"]])
    ours = [one for one in psutil.process_iter() if _belongs(one, cluster_id)]
    assert not ours


def _belongs(process: psutil.Process, cluster_id: str) -> bool:
    try:
        return process.environ().get("EMR_CLUSTER_ID") == cluster_id
    except (psutil.Error, OSError):
        return False
