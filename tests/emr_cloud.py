"""An account in this process: EMR whose steps end when a test says so, S3 and IAM; and the project's own jobs and presets in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from emr_endpoint import Emr, wait

PROJECT = Path(__file__).parents[1]
_PORT = re.compile(r"http://127\.0\.0\.1:\d+")
BUCKETS = ("cloud-raw", "cloud-warehouse", "cloud-state")
ENVIRONMENT = """\
aws:
  region: us-east-1
  endpoint_url: {url}
  s3_endpoint_url: {url}
  access_key_id: ${{env:CLOUD_KEY}}
  secret_access_key: ${{env:CLOUD_SECRET}}
paths: {{raw: s3://cloud-raw}}
catalog: {{warehouse: s3://cloud-warehouse}}
state: s3://cloud-state/state
"""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str


@dataclass
class Cloud:
    """The account, a project in it (environment `cloud`), and the command.

    Attributes:
        root: the project; its preset and jobs may be changed.
    """

    folder: Path
    root: Path
    emr: Emr
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def served(cls, folder: Path) -> Iterator[Cloud]:
        """Serve one, with empty buckets and the artifacts of the project as it is."""
        with _s3(folder) as s3:
            emr = Emr(folder / "state", s3)
            emr.start()
            try:
                yield cls._made(folder, emr)
            finally:
                emr.stop()

    @classmethod
    def _made(cls, folder: Path, emr: Emr) -> Cloud:
        root = folder / "project"
        for name in ("jobs", "configs"):
            shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        environments = root / "configs" / "env"
        # As prod, but for where everything is.
        settings = yaml.safe_load((environments / "prod.yaml").read_text()) | yaml.safe_load(ENVIRONMENT.format(url=emr.url))
        (environments / "cloud.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        cloud = cls(folder, root, emr, {"CLOUD_KEY": "local", "CLOUD_SECRET": "secret"})
        for bucket in BUCKETS:
            cloud.client("s3").create_bucket(Bucket=bucket)
        return cloud

    def client(self, service: str) -> Any:
        import boto3

        session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="secret", region_name="us-east-1")
        return session.client(service, endpoint_url=self.emr.url)

    def ship(self, environment: str = "cloud") -> None:
        """Put empty objects where the artifacts of a submit go: it uploads nothing then."""
        from framework.config.loader import load
        from framework.emr import package, spec
        from framework.emr.cluster import design
        from framework.emr.package import Machine

        loaded = load(self.root, environment, variables={})
        cluster = design(spec.load(self.root, loaded.settings.emr.cluster), ["spark"], loaded)
        for one in package.artifacts(self.root, Machine(cluster.emr.python, cluster.architecture)):
            self.client("s3").put_object(Bucket="cloud-state", Key=f"state/artifacts/{one.name}", Body=b"")

    def objects(self) -> list[str]:
        """Keys of all that lies below the state prefix."""
        return [item["Key"] for item in self.client("s3").list_objects_v2(Bucket="cloud-state").get("Contents", [])]

    def active(self) -> list[dict[str, Any]]:
        """Clusters that cost money."""
        states = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
        return list(self.emr.api.list_clusters(ClusterStates=states)["Clusters"])

    def end(self) -> None:
        """Terminate what runs."""
        for one in self.active():
            self.emr.api.terminate_job_flows(JobFlowIds=[one["Id"]])
            self.emr.reach(one["Id"], "TERMINATED", "TERMINATED_WITH_ERRORS")

    def shared(self, name: str = "shared", **request: Any) -> str:
        """A waiting cluster with Spark that takes steps."""
        cluster = self.emr.run(Name=name, Applications=[{"Name": "Spark"}], **request)
        self.emr.reach(cluster, "WAITING", "RUNNING")
        return cluster

    def running(self, cluster: str, name: str) -> str:
        """Wait until the step with a name runs; its id."""
        found: list[str] = []

        def runs() -> bool:
            found[:] = [one["Id"] for one in self.emr.steps(cluster) if one["Name"] == name and one["Status"]["State"] == "RUNNING"]
            return bool(found)

        wait(runs)
        return found[0]


@contextmanager
def _s3(folder: Path) -> Iterator[str]:
    """moto's S3 in a process of its own: it leaves the files of its objects open."""
    log = folder / "s3.log"
    with log.open("wb") as out:
        argv = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]
        process = subprocess.Popen(argv, stdout=out, stderr=out, cwd=folder)
    try:
        wait(lambda: _PORT.search(log.read_text()) is not None, 120)
        found = _PORT.search(log.read_text())
        assert found
        yield found[0]
    finally:
        process.kill()
        process.wait()


@dataclass
class Command:
    """`emrjobs` in this process, on a cloud's project."""

    cloud: Cloud
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        for name in [name for name in os.environ if name.startswith(("EMRJOBS", "AWS_"))]:
            self.patch.delenv(name)
        for name, value in {**self.cloud.environment, "EMRJOBS_PROJECT": str(self.cloud.root), "NO_COLOR": "1", "COLUMNS": "200"}.items():
            self.patch.setenv(name, value)
        self.patch.setenv("EMRJOBS_ENV", "cloud")
        self.patch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def __call__(self, *arguments: str) -> Done:
        from framework.cli.main import main

        code = 0
        with self.patch.context() as patch:
            patch.setattr(sys, "argv", ["emrjobs", *arguments])
            try:
                main()
            except SystemExit as exc:
                code = int(exc.code or 0)
        captured = self.capture.readouterr()
        assert "Traceback" not in captured.err, captured.err
        return Done(code, captured.out, captured.err)
