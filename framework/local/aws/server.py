"""The HTTP server: cheroot, as it keeps connections open, streams both ways, and gives the raw request URI and headers."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from cheroot import wsgi

from framework.errors import ServiceUnavailable
from framework.local.aws.answers import ABORT
from framework.local.aws.app import HEALTH, Endpoint
from framework.local.aws.emr.delays import Delays
from framework.local.aws.emr.execution.executor import LocalExecutor
from framework.local.aws.s3_proxy import RAW_HEADERS

_log = logging.getLogger(__name__)

# A call occupies one thread; long ones are S3 transfers and SQS long polls. Idle connections occupy none.
_THREADS = 24
# Seconds that an idle connection is kept: longer than what AWS's clients keep theirs (60 s in the Java SDK).
_IDLE = 75


class _Gateway(wsgi.Gateway_10):
    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]  # cheroot's stubs say None
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ[ABORT] = self._abort
        environ[RAW_HEADERS] = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.req.inheaders.items()]
        return environ

    def _abort(self) -> None:
        with contextlib.suppress(OSError):
            self.req.conn.socket.shutdown(socket.SHUT_RDWR)


class _Server(wsgi.Server):
    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        _log.log(level, "%s", msg, exc_info=traceback)


def make_server(host: str, port: int, endpoint: Endpoint) -> Any:
    """A cheroot server that is bound and listening: connections wait from here on."""
    server = _Server((host, port), endpoint.application, numthreads=_THREADS, request_queue_size=256, timeout=_IDLE, shutdown_timeout=2)
    server.gateway = _Gateway
    server.keep_alive_conn_limit = 512
    server.prepare()
    return server


def serve(host: str, port: int, state: Path, s3: str, delays: Delays) -> None:
    """Serve until SIGTERM or SIGINT, then save and return.

    Raises:
        ServiceUnavailable: the port is taken, or another endpoint uses the state folder.
    """
    from filelock import FileLock, Timeout

    state.mkdir(parents=True, exist_ok=True)
    lock = FileLock(state / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ServiceUnavailable(f"another endpoint already uses {state}", fix="stop it, or give this one its own --state") from error
    with lock:
        endpoint = Endpoint(state, s3, LocalExecutor(state / "emr", s3=s3), delays)
        try:
            _serve(host, port, endpoint)
        finally:
            endpoint.close()


def _serve(host: str, port: int, endpoint: Endpoint) -> None:
    try:
        server = make_server(host, port, endpoint)
    except OSError as error:
        raise ServiceUnavailable(f"cannot listen on {host}:{port}: {error}", fix="give another --port") from error
    done = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        done.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    endpoint.start(f"http://{host}:{server.bind_addr[1]}")
    accepting = threading.Thread(target=server.serve, name="accept", daemon=True)
    accepting.start()
    _log.info("serving on http://%s:%d (health: %s)", host, server.bind_addr[1], HEALTH)
    done.wait()
    _log.info("stopping")
    server.stop()
    accepting.join(timeout=5)
