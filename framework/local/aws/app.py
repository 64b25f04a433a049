"""Which handler answers which service.

A service of our own: a handler (most often a `json_service.JsonService`) in a package beside `glue`, and a line in
`Endpoint.__init__` under its signing name. What is not named there goes to moto.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.credentials import Credentials

from framework.local.aws.answers import send_json
from framework.local.aws.emr import EmrService, FaultPage
from framework.local.aws.emr.contract import Executor
from framework.local.aws.emr.delays import Delays
from framework.local.aws.emr_serverless import ServerlessService
from framework.local.aws.emr_serverless import service as serverless
from framework.local.aws.emr_serverless.operations import PAGE_PATH
from framework.local.aws.glue import GlueService
from framework.local.aws.iam import Guard, Sessions
from framework.local.aws.iam.directory import IamDirectory
from framework.local.aws.json_service import JsonService
from framework.local.aws.moto_backend import MotoBackend
from framework.local.aws.router import S3, Call, Handler, Router
from framework.local.aws.s3_proxy import S3Proxy
from framework.local.aws.state import StateStore

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

OWN_PAGES = "/_emrjobs/"
HEALTH = "/_emrjobs/health"
FAULTS = "/_emrjobs/faults"


class Endpoint:
    """All services behind one WSGI application, and their state under one folder.

    Args:
        state: folder of the state; made when missing, readable by this user only (it holds secrets).
        s3: URL of the S3 server.
        executor: runs EMR's steps; without one, EMR is refused. It is closed with the endpoint.
        delays: how long EMR's provisioning takes.
    """

    def __init__(self, state: Path, s3: str, executor: Executor | None = None, delays: Delays | None = None) -> None:
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)
        self._store = StateStore(state)
        self._s3 = S3Proxy(s3)
        self._moto = MotoBackend(self._store)
        self._glue = GlueService(state / "glue.sqlite", otherwise=self._moto)
        self._executor = executor
        directory = IamDirectory(self._moto.backend, self._moto.was_used, self._moto.assume_role)
        roles = Sessions(directory)
        self._emr = EmrService(state / "emr.sqlite", executor, roles, delays or Delays()) if executor else None
        self._serverless = ServerlessService(state / "emr-serverless.sqlite", executor, roles) if executor else None
        # moto's EMR never runs a step and is born successful where it is serverless: refusing is honest, pretending is not.
        unavailable = JsonService({})
        self.handlers: dict[str, Handler] = {
            S3: self._s3,
            "glue": self._glue,
            "elasticmapreduce": self._emr or unavailable,
            "emr-serverless": self._serverless or unavailable,
            "emr-containers": unavailable,
        }
        guarded = {
            name: Guard(handler, directory, _own_keys() if name == S3 else None, serverless.read if name == "emr-serverless" else None)
            for name, handler in self.handlers.items()
        }
        pages: dict[str, Handler] = {HEALTH: self._health}
        if self._emr:
            pages[FAULTS] = FaultPage(self._emr)
        if self._serverless:
            pages[PAGE_PATH] = self._serverless.page
        self.application = Router(guarded, default=Guard(self._moto, directory), pages=pages, reserved=OWN_PAGES)

    def start(self, url: str) -> None:
        """Begin what needs the endpoint's own URL: EMR's clusters, whose steps call it."""
        if self._emr:
            self._emr.start(_runtime(url))
        if self._serverless:
            self._serverless.start(_runtime(url))

    def _health(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        services = {
            "glue": "up",
            "s3": "up" if self._s3.reachable() else f"no server at {self._s3.url}",
            **dict.fromkeys(self._moto.loaded(), "up"),
        }
        return send_json(start_response, 200, {"status": "ok", "services": services})

    def close(self) -> None:
        """Save what is not saved yet and close all files and connections."""
        if self._emr and self._executor:
            self._emr.close()
            if self._serverless:
                self._serverless.close()
            self._executor.close()
        self._moto.save_all()
        self._store.close()
        self._glue.close()
        self._s3.close()


def _runtime(url: str) -> dict[str, str]:
    """The environment in which EMR's steps call AWS: this endpoint, with its own keys where IAM does not know their role."""
    passed = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    return {
        **{name: os.environ[name] for name in passed if name in os.environ},
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _own_keys() -> Credentials | None:
    """The keys of the S3 server, which the endpoint is started with."""
    key_id, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    return Credentials(key_id, secret) if key_id and secret else None
