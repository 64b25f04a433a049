"""The local AWS endpoint served in this process, with an executor whose work ends when a test says so, and boto3 in front of it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emr_executor import FakeExecutor

from framework.local.aws.app import Endpoint
from framework.local.aws.emr.delays import Delays
from framework.local.aws.server import make_server

PROVISIONING = 0.05


@dataclass
class Emr:
    """The endpoint, and the calls that tests make most often. `restart` begins again on the same state."""

    state: Path
    s3: str = "http://127.0.0.1:9"
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    delays: Delays = field(default_factory=lambda: Delays(provisioning=PROVISIONING))

    def start(self) -> None:
        self._endpoint = Endpoint(self.state, self.s3, self.executor, self.delays)
        self._server = make_server("127.0.0.1", 0, self._endpoint)
        self.url = f"http://127.0.0.1:{self._server.bind_addr[1]}"
        self._endpoint.start(self.url)
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self._thread.start()
        self.api = self.client()

    def stop(self) -> None:
        self.api.close()
        self._server.stop()
        self._thread.join()
        self._endpoint.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def client(self, **config: Any) -> Any:
        import boto3
        from botocore.config import Config

        session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="secret", region_name="us-east-1")
        return session.client("emr", endpoint_url=self.url, config=Config(retries={"max_attempts": 0}, **config))

    def run(self, *jars: str, keep_alive: bool = True, instances: dict[str, Any] | None = None, **request: Any) -> str:
        """RunJobFlow with one step per jar; the cluster's id."""
        steps = request.pop("Steps", [step(jar) for jar in jars])
        base = {"InstanceGroups": [group("MASTER")], "KeepJobFlowAliveWhenNoSteps": keep_alive}
        answer = self.api.run_job_flow(
            **{
                "Name": "test",
                "ReleaseLabel": "emr-7.12.0",
                "ServiceRole": "EMR_DefaultRole",
                "JobFlowRole": "EMR_EC2_DefaultRole",
                "Instances": instances if instances is not None else base,
                "Steps": steps,
                **request,
            }
        )
        return str(answer["JobFlowId"])

    def add(self, cluster: str, *jars: str, action: str = "CONTINUE") -> list[str]:
        return list(self.api.add_job_flow_steps(JobFlowId=cluster, Steps=[step(jar, action) for jar in jars])["StepIds"])

    def cluster(self, cluster: str) -> dict[str, Any]:
        return dict(self.api.describe_cluster(ClusterId=cluster)["Cluster"])

    def state_of(self, cluster: str) -> str:
        return str(self.cluster(cluster)["Status"]["State"])

    def steps(self, cluster: str) -> list[dict[str, Any]]:
        """Oldest first."""
        pages = self.api.get_paginator("list_steps").paginate(ClusterId=cluster)
        return [item for page in pages for item in page["Steps"]][::-1]

    def step_states(self, cluster: str) -> list[str]:
        return [item["Status"]["State"] for item in self.steps(cluster)]

    def reach(self, cluster: str, *states: str) -> dict[str, Any]:
        """Wait until the cluster is in one of these states; its status."""
        wait(lambda: self.state_of(cluster) in states)
        return dict(self.cluster(cluster)["Status"])

    def reach_steps(self, cluster: str, *states: str) -> None:
        wait(lambda: self.step_states(cluster) == list(states))

    def faults(self, method: str, rules: Any = None) -> tuple[int, Any]:
        body = None if rules is None else json.dumps(rules).encode()
        request = urllib.request.Request(f"{self.url}/_emrjobs/faults", data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Poll a state that is asked over the API."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the state was not reached in time"
        time.sleep(0.01)


def step(jar: str, action: str = "CONTINUE", name: str | None = None) -> dict[str, Any]:
    return {"Name": name or jar, "ActionOnFailure": action, "HadoopJarStep": {"Jar": jar, "Args": ["a", "b"]}}


def group(role: str, count: int = 1, kind: str = "m5.xlarge", **more: Any) -> dict[str, Any]:
    return {"InstanceRole": role, "InstanceType": kind, "InstanceCount": count, **more}
