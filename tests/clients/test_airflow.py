"""Airflow's own EMR operators: create, add steps, sense, terminate; the state of each task is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clients.conftest import BUCKET, Target, client

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(900)]

DAG = """\
import datetime as dt
import json
import sys

from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator, EmrCreateJobFlowOperator, EmrTerminateJobFlowOperator
from airflow.providers.amazon.aws.sensors.emr import EmrJobFlowSensor, EmrStepSensor
from airflow.sdk import DAG, setup, teardown

request = json.loads(REQUEST)
steps = json.loads(STEPS)

with DAG("emr", schedule=None, start_date=dt.datetime(2026, 1, 1)) as dag:
    create = EmrCreateJobFlowOperator(task_id="create", job_flow_overrides=request).as_setup()
    add = EmrAddStepsOperator(task_id="add", job_flow_id=create.output, steps=steps)
    watch = EmrStepSensor(
        task_id="watch", job_flow_id=create.output, step_id="{{ task_instance.xcom_pull('add')[0] }}", poke_interval=1, timeout=120
    )
    end = EmrTerminateJobFlowOperator(task_id="end", job_flow_id=create.output, waiter_delay=1).as_teardown(setups=create)
    gone = EmrJobFlowSensor(task_id="gone", job_flow_id=create.output, poke_interval=1, timeout=120)
    create >> add >> watch >> end >> gone

if __name__ == "__main__":
    run = dag.test()
    print("STATES", json.dumps({one.task_id: str(one.state) for one in run.get_task_instances()}))
    sys.exit(0)
"""


@pytest.fixture(scope="module")
def python(target: Target) -> str:
    binaries = client("airflow", "apache-airflow==3.3.2", "apache-airflow-providers-amazon[aiobotocore]==9.39.0")
    home = {"AIRFLOW_HOME": str(target.folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    target.run([str(binaries / "airflow"), "db", "migrate"], **home)
    return str(binaries / "python")


def states(target: Target, python: str, folder: Path, request: dict[str, object], steps: list[dict[str, object]]) -> dict[str, str]:
    """Run the DAG once; the state of each task."""
    source = DAG.replace("REQUEST", repr(json.dumps(request))).replace("STEPS)", repr(json.dumps(steps)) + ")", 1)
    (folder / "emr.py").write_text(source)
    connection = {"conn_type": "aws", "extra": {"endpoint_url": target.env["AWS_ENDPOINT_URL"], "region_name": "us-east-1"}}
    done = target.run(
        [python, "emr.py"],
        cwd=folder,
        AIRFLOW_HOME=str(target.folder / "airflow"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(folder),
        AIRFLOW_CONN_AWS_DEFAULT=json.dumps(connection),
        AWS_ENDPOINT_URL=None,
    )
    found: dict[str, str] = json.loads(done.out.split("STATES ", 1)[1].splitlines()[0])
    return found


def test_unmodified_operators_run_a_step_and_end_the_cluster(target: Target, python: str, tmp_path: Path) -> None:
    from clients.test_boto3 import request, step

    assert states(target, python, tmp_path, request("airflow"), [step("say", "echo", "hello")]) == dict.fromkeys(
        ("create", "add", "watch", "end", "gone"), "success"
    )
    (cluster,) = [one for one in target.emr.list_clusters()["Clusters"] if one["Name"] == "airflow"]
    target.settled(cluster["Id"])
    listed = target.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"logs/{cluster['Id']}/steps/")["Contents"]
    assert any(item["Key"].endswith("stdout.gz") for item in listed)


def test_a_failed_step_fails_its_task_and_the_cluster_still_ends(target: Target, python: str, tmp_path: Path) -> None:
    from clients.test_boto3 import request, step

    found = states(target, python, tmp_path, request("airflow-failing"), [step("fail", "bash", "-c", "exit 3")])
    assert (found["create"], found["add"], found["watch"], found["end"]) == ("success", "success", "failed", "success")
    (cluster,) = [one for one in target.emr.list_clusters()["Clusters"] if one["Name"] == "airflow-failing"]
    target.settled(cluster["Id"])
