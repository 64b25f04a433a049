"""The EMR API of the local endpoint: calls per second of one core, with a history and without, and memory."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".local" / "bench" / "emr"
# The short history fills one page of ListClusters, so that both answer as much.
SHORT, LONG, STEPS = 51, 1_000, 10
CALLS = 1_000


def results(rounds: int) -> str:
    """A section in Markdown."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with _endpoint("short") as short, _endpoint("long") as long:
        _fill(short, SHORT)
        _fill(long, LONG)
        rows = []
        for name, request in _requests().items():
            costs: dict[str, list[float]] = {"short": [], "long": []}
            for _ in range(rounds + 1):
                for label, one in (("short", short), ("long", long)):
                    costs[label].append(one.cpu_of(name, request, CALLS))
            mean = {label: statistics.median(values[1:]) for label, values in costs.items()}
            ratio = statistics.median(b / a for a, b in zip(costs["short"][1:], costs["long"][1:], strict=True))
            rows.append(f"| {name} | {1 / mean['short']:.0f} | {1 / mean['long']:.0f} | {ratio:.2f} |")
        memory = long.memory()
        delays = long.delays(rounds)
    return "\n".join(
        [
            "## The local EMR endpoint",
            "",
            f"Calls per second of one core (the server's CPU seconds of {CALLS:,} signed calls over one connection), with {SHORT} clusters and",
            f"with {LONG:,} clusters ({LONG * STEPS:,} steps) in the history; a page of either list is full with both.",
            "",
            f"| call | {SHORT} clusters | {LONG:,} clusters | ratio of the times |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Memory of the endpoint with {LONG * STEPS:,} steps in the history, after all these calls: {memory / 2**20:.0f} MiB (RSS).",
            f"From AddJobFlowSteps to RUNNING on a waiting cluster: {statistics.median(delays) * 1000:.0f} ms (worst of {len(delays)}: "
            f"{max(delays) * 1000:.0f} ms).",
        ]
    )


class _Server:
    """One endpoint with the real executor, called over one connection as a client does."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = psutil.Process(process.pid)
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self.cluster = ""

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        scope = "AKIDEXAMPLE/20261123/us-east-1/elasticmapreduce/aws4_request"
        headers = {
            "X-Amz-Target": f"ElasticMapReduce.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00",
        }
        self._connection.request("POST", "/", json.dumps(request), headers)
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"{operation}: {answer}")
        return answer

    def cpu_of(self, operation: str, request: dict[str, Any], calls: int) -> float:
        """CPU seconds of the server for one call."""
        filled = {key: self.cluster if value == "<cluster>" else value for key, value in request.items()}
        if "StepId" in filled:
            filled["StepId"] = self.call("ListSteps", {"ClusterId": self.cluster})["Steps"][0]["Id"]
        before = self._cpu()
        for _ in range(calls):
            self.call(operation.split(",", maxsplit=1)[0], filled)
        return (self._cpu() - before) / calls

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        return int(self._process.memory_info().rss)

    def delays(self, rounds: int) -> list[float]:
        """Seconds until an added step runs."""
        cluster = self.call("RunJobFlow", _job_flow(steps=0, keep_alive=True))["JobFlowId"]
        _until(lambda: self.call("DescribeCluster", {"ClusterId": cluster})["Cluster"]["Status"]["State"] == "WAITING")
        found = []
        for _ in range(max(rounds, 5)):
            begun = time.perf_counter()
            (step,) = self.call("AddJobFlowSteps", {"JobFlowId": cluster, "Steps": [_step()]})["StepIds"]
            _until(lambda step=step: self._state(cluster, step) != "PENDING")
            found.append(time.perf_counter() - begun)
            _until(lambda step=step: self._state(cluster, step) == "COMPLETED")
        self.call("TerminateJobFlows", {"JobFlowIds": [cluster]})
        return found

    def _state(self, cluster: str, step: str) -> str:
        return str(self.call("DescribeStep", {"ClusterId": cluster, "StepId": step})["Step"]["Status"]["State"])

    def close(self) -> None:
        self._connection.close()


def _requests() -> dict[str, dict[str, Any]]:
    return {
        "DescribeCluster": {"ClusterId": "<cluster>"},
        "DescribeStep": {"ClusterId": "<cluster>", "StepId": ""},
        "ListSteps": {"ClusterId": "<cluster>"},
        "ListClusters": {},
        "ListClusters, by state": {"ClusterStates": ["RUNNING", "WAITING"]},
    }


@contextmanager
def _endpoint(name: str) -> Iterator[_Server]:
    log = (FOLDER / f"{name}.log").open("wb")
    argv = [sys.executable, "-m", "framework.local.aws", "--port", "0", "--state", str(FOLDER / name), "--s3", "http://127.0.0.1:9"]
    process = subprocess.Popen(argv, stderr=log, cwd=ROOT)
    try:
        _until(lambda: "serving on " in Path(log.name).read_text())
        port = int(Path(log.name).read_text().split("serving on http://127.0.0.1:", 1)[1].split(" ", 1)[0])
        urllib.request.urlopen(f"http://127.0.0.1:{port}/_emrjobs/health", timeout=10).close()
        server = _Server(process, port)
        yield server
        server.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def _fill(server: _Server, clusters: int) -> None:
    """Clusters of ten steps each, which are terminated before they have started."""
    made: list[str] = []
    for start in range(0, clusters, 10):
        ten = [server.call("RunJobFlow", _job_flow(STEPS, keep_alive=False))["JobFlowId"] for _ in range(min(10, clusters - start))]
        server.call("TerminateJobFlows", {"JobFlowIds": ten})
        made += ten
    active = {"ClusterStates": ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING"]}
    _until(lambda: not server.call("ListClusters", active)["Clusters"], 600)
    server.cluster = made[0]


def _job_flow(steps: int, *, keep_alive: bool) -> dict[str, Any]:
    return {
        "Name": "history",
        "ReleaseLabel": "emr-7.12.0",
        "ServiceRole": "EMR_DefaultRole",
        "JobFlowRole": "EMR_EC2_DefaultRole",
        "Applications": [{"Name": "Spark"}],
        "Configurations": [{"Classification": "spark-defaults", "Properties": {f"spark.key.{number}": "value" for number in range(20)}}],
        "Instances": {
            "KeepJobFlowAliveWhenNoSteps": keep_alive,
            "InstanceGroups": [
                {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1},
                {"InstanceRole": "CORE", "InstanceType": "m5.xlarge", "InstanceCount": 4},
            ],
        },
        "Steps": [_step() for _ in range(steps)],
        "Tags": [{"Key": f"tag{number}", "Value": "value"} for number in range(5)],
    }


def _step() -> dict[str, Any]:
    return {
        "Name": "nothing",
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", "-c", "true", *["argument"] * 20]},
    }


def _until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the endpoint did not get there in time")
        time.sleep(0.005)
