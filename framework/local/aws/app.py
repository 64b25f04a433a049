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
from framework.local.aws.glue import GlueService
from framework.local.aws.iam import Guard
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


class Endpoint:
    """All services behind one WSGI application, and their state under one folder.

    Args:
        state: folder of the state; made when missing, readable by this user only (it holds secrets).
        s3: URL of the S3 server.
    """

    def __init__(self, state: Path, s3: str) -> None:
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)
        self._store = StateStore(state)
        self._s3 = S3Proxy(s3)
        self._moto = MotoBackend(self._store)
        self._glue = GlueService(state / "glue.sqlite", otherwise=self._moto)
        # moto's EMR never runs a step and is born successful where it is serverless: refusing is honest, pretending is not.
        unavailable = JsonService({})
        self.handlers: dict[str, Handler] = {
            S3: self._s3,
            "glue": self._glue,
            "elasticmapreduce": unavailable,
            "emr-serverless": unavailable,
            "emr-containers": unavailable,
        }
        directory = IamDirectory(self._moto.backend)
        guarded = {name: Guard(handler, directory, _own_keys() if name == S3 else None) for name, handler in self.handlers.items()}
        self.application = Router(guarded, default=Guard(self._moto, directory), pages={HEALTH: self._health}, reserved=OWN_PAGES)

    def _health(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        services = {
            "glue": "up",
            "s3": "up" if self._s3.reachable() else f"no server at {self._s3.url}",
            **dict.fromkeys(self._moto.loaded(), "up"),
        }
        return send_json(start_response, 200, {"status": "ok", "services": services})

    def close(self) -> None:
        """Save what is not saved yet and close all files and connections."""
        self._moto.save_all()
        self._store.close()
        self._glue.close()
        self._s3.close()


def _own_keys() -> Credentials | None:
    """The keys of the S3 server, which the endpoint is started with."""
    key_id, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    return Credentials(key_id, secret) if key_id and secret else None
