"""Real clients, unmodified, each in an environment of its own, against the local endpoint as a user starts it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from framework.local import shell_env
from framework.local.artifacts import cache_dir
from framework.local.seaweedfs import buckets
from framework.local.supervisor import Supervisor

BUCKET = "clients"


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Target:
    """The endpoint, and how a shell is pointed at it."""

    env: Mapping[str, str]
    folder: Path
    s3: Any = field(repr=False)
    emr: Any = field(repr=False)

    def run(self, argv: Sequence[str], *, cwd: Path | None = None, timeout: float = 300, ok: bool = True, **variables: str | None) -> Done:
        """Run a command as in a shell after `eval "$(emrjobs local env)"`; `variables` add to it, None removes."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EMRJOBS", "PYTHON", "VIRTUAL_ENV"))}
        environment = clean | dict(self.env) | {"HOME": str(self.folder), "AWS_PAGER": "", "COLUMNS": "200"}
        for name, value in variables.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        done = subprocess.run(
            list(argv), cwd=cwd or self.folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if ok:
            assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}"
        return Done(done.returncode, done.stdout, done.stderr)

    def put(self, key: str, text: str) -> str:
        """An object of the clients' bucket; returns its URI."""
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())
        return f"s3://{BUCKET}/{key}"

    def text(self, uri: str) -> str:
        """Everything below a prefix (the files of a job's output), in the order of their names."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        found = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return "".join(self.s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().decode() for item in found)

    def settled(self, cluster: str, step: str | None = None, seconds: float = 180) -> None:
        """Wait until a cluster is ready or gone, or a step has ended: the clients' own waiters look every 30 s only."""
        deadline = time.monotonic() + seconds
        while True:
            if step:
                state = self.emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"]["State"]
            else:
                state = self.emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"]
            if state in ("COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED", "WAITING", "TERMINATED", "TERMINATED_WITH_ERRORS"):
                return
            assert time.monotonic() < deadline, f"{cluster} {step or ''} is still {state}"
            time.sleep(0.3)  # another process's state, which nothing announces


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """S3 and the AWS endpoint, started by the supervisor as `emrjobs local up s3 aws` does."""
    import boto3

    root = tmp_path_factory.mktemp("clients")
    (root / "home").mkdir()
    supervisor = Supervisor(root, {}, lambda event: None)
    try:
        endpoints = supervisor.up(["s3", "aws"])
        buckets(endpoints["s3"], [BUCKET])
        env = shell_env(endpoints)
        session = boto3.Session(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], region_name=env["AWS_DEFAULT_REGION"])
        make: Callable[[str], Any] = lambda service: session.client(service, endpoint_url=env["AWS_ENDPOINT_URL"])  # noqa: E731
        yield Target(env, root / "home", make("s3"), make("emr"))
    finally:
        supervisor.down()


def client(name: str, *requirements: str) -> Path:
    """The bin folder of an environment with just this client, made once per user and set of requirements."""
    key = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    folder = cache_dir() / "clients" / f"{name}-{key}"
    if not (folder / ".ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        uv = str(Path(sys.executable).with_name("uv"))
        base = getattr(sys, "_base_executable", sys.executable)
        subprocess.run([uv, "venv", "--quiet", "--python", base, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *requirements], check=True)
        (folder / ".ready").touch()
    return folder / "bin"
