"""boto3: every waiter of EMR against clusters and steps that really change their states."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from clients.conftest import BUCKET, Target

pytestmark = [pytest.mark.slow, pytest.mark.services]


def request(name: str, **more: Any) -> dict[str, Any]:
    instances = {
        "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}],
        "KeepJobFlowAliveWhenNoSteps": True,
    }
    return {
        "Name": name,
        "ReleaseLabel": "emr-7.12.0",
        "LogUri": f"s3://{BUCKET}/logs",
        "Applications": [{"Name": "Spark"}],
        "Instances": instances,
        "JobFlowRole": "EMR_EC2_DefaultRole",
        "ServiceRole": "EMR_DefaultRole",
        **more,
    }


def step(name: str, *command: str) -> dict[str, Any]:
    jar = {"Jar": "command-runner.jar", "Args": list(command)}
    return {"Name": name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}


def test_every_waiter_comes_to_its_end(target: Target) -> None:
    emr = target.emr
    assert sorted(emr.waiter_names) == ["cluster_running", "cluster_terminated", "step_complete"]
    soon = {"Delay": 1, "MaxAttempts": 120}
    cluster = emr.run_job_flow(**request("waiters"))["JobFlowId"]
    emr.get_waiter("cluster_running").wait(ClusterId=cluster, WaiterConfig=soon)
    (one,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("say", "bash", "-c", "echo out; echo err >&2")])["StepIds"]
    emr.get_waiter("step_complete").wait(ClusterId=cluster, StepId=one, WaiterConfig=soon)
    emr.terminate_job_flows(JobFlowIds=[cluster])
    emr.get_waiter("cluster_terminated").wait(ClusterId=cluster, WaiterConfig=soon)
    logs = {
        name: gzip.decompress(target.s3.get_object(Bucket=BUCKET, Key=f"logs/{cluster}/steps/{one}/{name}.gz")["Body"].read()).decode()
        for name in ("stdout", "stderr", "controller")
    }
    assert (logs["stdout"], logs["stderr"]) == ("out\n", "err\n")
    assert "INFO total process run time" in logs["controller"]


def test_a_waiter_for_a_failed_step_says_so(target: Target) -> None:
    from botocore.exceptions import WaiterError

    emr = target.emr
    cluster = emr.run_job_flow(**request("failing", Steps=[step("fail", "bash", "-c", "exit 3")]))["JobFlowId"]
    (one,) = emr.list_steps(ClusterId=cluster)["Steps"]
    with pytest.raises(WaiterError, match="FAILED"):
        emr.get_waiter("step_complete").wait(ClusterId=cluster, StepId=one["Id"], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    emr.terminate_job_flows(JobFlowIds=[cluster])
