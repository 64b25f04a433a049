"""`aws`: the AWS-compatible endpoint, a program of this project (`python -m framework.local.aws`)."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Settings, check_http

_CODE = Path(__file__).parent / "aws"


class AwsEndpoint:
    """One URL for every AWS API; S3 calls are handed on to the S3 server, so both take the same keys.

    Settings: none. Endpoint values: url, host, port, region, access_key, secret_key.
    """

    name = "aws"
    needs = ("s3",)
    ports = (PortSpec("http"),)
    # Steps of the local EMR: they write down their end and push their last logs.
    work_timeout = 15.0

    def __init__(self, settings: Settings) -> None:
        pass

    def fingerprint(self) -> str:
        # The endpoint is part of this project: an edit has to reach the running server.
        code = sorted((str(path.relative_to(_CODE)), path.stat().st_mtime_ns) for path in _CODE.rglob("*.py"))
        return json.dumps([metadata.version("moto"), sys.executable, code])

    def prepare(self, ctx: Context) -> None:
        """Nothing to do: the endpoint makes its own state folder."""

    def launch(self, ctx: Context) -> Launch:
        argv = [
            *(sys.executable, "-m", "framework.local.aws"),
            *("--host", HOST, "--port", str(ctx.port("http"))),
            *("--state", str(ctx.data), "--s3", ctx.endpoints["s3"]["url"]),
        ]
        own = {
            # Calls that the endpoint itself makes must never reach a real account.
            "AWS_PROFILE": None,
            "AWS_SESSION_TOKEN": None,
            "AWS_ENDPOINT_URL": None,
            "AWS_ACCESS_KEY_ID": ctx.endpoints["s3"]["access_key"],
            "AWS_SECRET_ACCESS_KEY": ctx.endpoints["s3"]["secret_key"],
            "AWS_DEFAULT_REGION": ctx.endpoints["s3"]["region"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONUNBUFFERED": "1",
        }
        # Its state is saved on SIGTERM.
        return Launch(argv, env=own, cwd=ctx.root, stop_timeout=15.0, start_timeout=60.0)

    def probe(self, ctx: Context) -> None:
        self.check(ctx)

    def check(self, ctx: Context) -> None:
        check_http(ctx.port("http"), "/_emrjobs/health")

    def endpoint(self, ctx: Context) -> Endpoint:
        port, s3 = ctx.port("http"), ctx.endpoints["s3"]
        values = {
            "url": f"http://{HOST}:{port}",
            "host": HOST,
            "port": str(port),
            "region": s3["region"],
            "access_key": s3["access_key"],
            "secret_key": s3["secret_key"],
        }
        return Endpoint(self.name, values, secret=frozenset({"secret_key"}))
