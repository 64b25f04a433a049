"""An executor in front of a real endpoint and S3 server."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from local.aws.conftest import KEYS, EndpointProcess, wait_until

from framework.local.aws.emr.contract import ClusterSpec, Outcome, Work
from framework.local.aws.emr.execution.executor import LocalExecutor

# Of this process alone: a run beside it has clusters of the same id.
MARK = f"executor-tests-{os.getpid()}"


@dataclass
class Cluster:
    """A cluster whose work is waited for."""

    executor: LocalExecutor
    spec: ClusterSpec
    s3: Any
    root: Path
    _ended: set[str] = field(default_factory=set)
    _condition: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.executor.watch(self._on_end)

    def _on_end(self, cluster_id: str, work_id: str) -> None:
        with self._condition:
            self._ended.add(work_id)
            self._condition.notify_all()

    def start(self, work: Work) -> None:
        self.executor.start(self.spec, work)

    def wait(self, work_id: str, seconds: float = 400) -> Outcome:
        with self._condition:
            assert self._condition.wait_for(lambda: work_id in self._ended, seconds), f"{work_id} did not end"
        outcome = self.executor.outcome(self.spec.id, work_id)
        assert outcome is not None
        return outcome

    def run(self, work: Work) -> Outcome:
        self.start(work)
        return self.wait(work.id)

    def put(self, key: str, text: str) -> str:
        self.s3.put_object(Bucket="bucket", Key=key, Body=text.encode())
        return f"s3://bucket/{key}"

    def get(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket="bucket", Key=key)["Body"].read()
        return content

    def log(self, work_id: str, name: str) -> str:
        return gzip.decompress(self.get(f"logs/j-1/steps/{work_id}/{name}.gz")).decode()

    def child_runs(self, work_id: str) -> None:
        """Wait until the work's own process has said so in its standard output."""
        stdout = self.root / "j-1/work" / work_id / "logs/stdout"
        wait_until(lambda: stdout.exists() and "begun" in stdout.read_text())


def spec_of(endpoint: EndpointProcess, **changes: Any) -> ClusterSpec:
    runtime = {"AWS_ENDPOINT_URL": endpoint.url, "AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1]}
    values: dict[str, Any] = {"applications": ["Spark", "Hive"], "log_uri": "s3://bucket/logs/", "runtime": runtime, **changes}
    return ClusterSpec("j-1", "a cluster", "emr-7.12.0", **values)


@pytest.fixture
def cluster(s3_endpoint: EndpointProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    # The executor itself pushes logs too, with the endpoint's own keys.
    for key, value in spec_of(s3_endpoint).runtime.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    executor = LocalExecutor(tmp_path / "emr", mark=MARK)
    one = Cluster(executor, spec_of(s3_endpoint), s3_endpoint.client("s3"), tmp_path / "emr")
    executor.prepare(one.spec)
    yield one
    executor.release("j-1")
    executor.close()
