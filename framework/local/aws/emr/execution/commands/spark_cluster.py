"""spark-submit in cluster mode: the driver runs in a container's folder with logs of its own, and the step reports on it.

On EMR the step's process is YARN's client, and the driver's output is in the containers' logs; here the driver runs beside the
step, and its output goes to the same place below the LogUri.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from framework.local.aws.emr.contract import Work, WorkKind
from framework.local.aws.emr.execution import daemons
from framework.local.aws.emr.execution.commands.spark import Prepared, bring, spark_environment
from framework.local.aws.emr.execution.node import Node
from framework.local.aws.emr.execution.workspace import ClusterFolder, WorkFolder, read_json, write_json

CONTAINERS = "EMRJOBS_CONTAINERS"
"""Environment variable: the folder that takes `application_*/container_*/` logs of this piece of work."""

_FIRST_REPORTS = 1.0  # seconds between reports, doubled up to a minute


def run(node: Node, prepared: Prepared) -> int:
    """Run the driver in a container of its own; returns the exit code of YARN's client: 0, or 1 when the application failed."""
    application = _next_application(node)
    container = application.replace("application", "container") + "_01_000001"
    if not prepared.waits:
        return _leave(node, prepared, application, container)
    logs = Path(os.environ[CONTAINERS]) / application / container
    cwd = node.root / "mnt/yarn/usercache/hadoop/appcache" / application / container
    logs.mkdir(parents=True)
    cwd.mkdir(parents=True)
    bring(prepared, node, cwd)
    _say(f"Submitted application {application}")
    _say(f"local node: no YARN; the driver runs as one process in {container}, its output is in that container's logs")
    argv = [str(node.spark_home / "bin/spark-submit"), *prepared.submission.argv()]
    env = spark_environment({**prepared.driver_env, "CONTAINER_ID": container, "LOCAL_DIRS": str(cwd.parent)})
    env["PYTHONUNBUFFERED"] = "1"
    with (logs / "stdout").open("ab") as out, (logs / "stderr").open("ab") as err:
        driver = subprocess.Popen(argv, stdout=out, stderr=err, cwd=cwd, env=env)
    code = _report(driver, application)
    if code == 0:
        _say(f"Application report for {application} (state: FINISHED)\n\t final status: SUCCEEDED")
        return 0
    _say(f"Application report for {application} (state: FINISHED)\n\t final status: FAILED")
    _say(f"local node: the driver ended with exit code {code}")
    sys.stderr.write(f'Exception in thread "main" org.apache.spark.SparkException: Application {application} finished with failed status\n')
    return 1


def _leave(node: Node, prepared: Prepared, application: str, container: str) -> int:
    """Start the driver as a piece of work of its own, which outlives the step: spark.yarn.submit.waitAppCompletion=false."""
    step = WorkFolder(Path(os.environ[CONTAINERS]).parent).order()
    argv = (str(node.spark_home / "bin/spark-submit"), *prepared.submission.argv())
    cluster = ClusterFolder(node.root.parent)
    folder = cluster.work(application)
    variables = {"PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON", "python3"), **prepared.driver_env}
    variables |= {"CONTAINER_ID": container, "LOCAL_DIRS": str(folder.path)}
    work = Work(
        id=application,
        kind=WorkKind.APPLICATION,
        name=step.work.name,
        jar="command-runner.jar",
        args=("env", *(f"{key}={value}" for key, value in variables.items()), *argv),
        log_key=f"{step.cluster_id}/containers/{application}/{container}",
    )
    folder.create(replace(step, work=work))
    bring(prepared, node, folder.cwd)
    env = {name: value for name, value in os.environ.items() if name not in (CONTAINERS, "EMRJOBS_SYSLOG", "EMR_STEP_ID")}
    agent = folder.start_agent(env)
    daemons.record(cluster, application, agent.pid)
    _say(f"Submitted application {application}")
    _say(f"local node: no YARN; the driver runs as one process in {container}, its output is in that container's logs")
    _say(f"Application report for {application} (state: ACCEPTED)")
    return 0


def _report(driver: subprocess.Popen[bytes], application: str) -> int:
    pause = _FIRST_REPORTS
    _say(f"Application report for {application} (state: ACCEPTED)")
    while True:
        try:
            return driver.wait(pause)
        except subprocess.TimeoutExpired:
            _say(f"Application report for {application} (state: RUNNING)")
            pause = min(pause * 2, 60.0)


def _next_application(node: Node) -> str:
    """`application_<start of the cluster in ms>_<number>`, unique on the cluster."""
    from filelock import FileLock

    file = node.root / "mnt/yarn/applications.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        known = read_json(file) or {"began": int(time.time() * 1000), "number": 0}
        known["number"] += 1
        write_json(file, known)
    return f"application_{known['began']}_{known['number']:04d}"


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%y/%m/%d %H:%M:%S')} INFO Client: {text}\n")
    sys.stderr.flush()
