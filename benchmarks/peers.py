"""The tools that others submit with, in an environment of their own, and this machine's AWS endpoint, to which they talk."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".local" / "bench" / "peers"
BUCKET = "emrjobs-state"


def install() -> None:
    """emr-cli and the AWS CLI, below PEERS."""
    if (PEERS / "bin" / "aws").exists():
        return
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(PEERS)], check=True)
    packages = ["emr-cli==0.0.19", "awscli==1.46.3", "setuptools<80"]
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(PEERS / "bin" / "python"), *packages], check=True
    )


def endpoint(emrjobs: str) -> dict[str, str]:
    """The environment with the local AWS endpoint, which is started."""
    subprocess.run([emrjobs, "local", "up"], check=True, capture_output=True)
    printed = subprocess.run([emrjobs, "local", "env"], check=True, capture_output=True, text=True).stdout
    exports = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines() if line.startswith("export "))
    return {**os.environ, **{name: shlex.split(value)[0] for name, value in exports.items()}}


def client(service: str, env: dict[str, str]) -> Any:
    """A boto3 client of the endpoint that `env` names."""
    import boto3

    session = boto3.Session(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    return session.client(service, endpoint_url=env["AWS_ENDPOINT_URL"])
