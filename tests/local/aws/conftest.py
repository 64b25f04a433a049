"""The endpoint as a process of its own, and requests to its parts without one."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from framework.local.aws.router import Call

Environ = dict[str, Any]


@dataclass
class Answer:
    """What a handler answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def environ(method: str = "POST", uri: str = "/", body: bytes = b"", **headers: str) -> Environ:
    """A WSGI environment; header names with underscores for dashes."""
    path, _, query = uri.partition("?")
    result: Environ = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": uri,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        key = name.upper()
        result[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    return result


def signed(service: str, region: str = "us-east-1") -> str:
    """An Authorization header of Signature Version 4 for a service."""
    scope = f"AKIDEXAMPLE/20261123/{region}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"


def answer(application: Callable[[Environ, Any], Iterable[bytes]], request: Environ) -> Answer:
    """Call a WSGI application."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    chunks = application(request, lambda status, headers, exc_info=None: started.append((status, headers)))
    body = b"".join(chunks)
    status, headers = started[-1]
    return Answer(int(status[:3]), {name.lower(): value for name, value in headers}, body)


class ServiceError(Exception):
    """A JSON service refused a call."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def call_json(handler: Any, service: str, operation: str, region: str = "us-east-1", /, **request: Any) -> Any:
    """One call of a JSON 1.1 service; raises ServiceError with AWS's code."""
    body = json.dumps(request).encode()
    call = Call(service, region, "AKIDEXAMPLE", operation)
    header = environ(
        body=body, x_amz_target=f"X.{operation}", content_type="application/x-amz-json-1.1", authorization=signed(service, region)
    )
    result = answer(lambda env, start: handler(call, env, start), header)
    if result.status >= 400:
        raise ServiceError(result.json["__type"], result.json["message"])
    return result.json


KEYS = ("local", "local-secret")
"""The keys of the endpoint and of its S3 server."""


@dataclass
class EndpointProcess:
    """`python -m framework.local.aws`, which may be killed and started again on the same state."""

    state: Path
    s3: str
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.state.with_name(self.state.name + ".log")

    def start(self) -> None:
        already = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "framework.local.aws", "--port", "0", "--state", str(self.state), "--s3", self.s3],
                env={**os.environ, "AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1]},
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = self.log.read_bytes()[already:].decode()
            if "serving on " in text:
                self.url = text.split("serving on ", 1)[1].split(" ", 1)[0]
                break
            assert self.process.poll() is None, text
            _tick()
        health = json.loads(urllib.request.urlopen(f"{self.url}/_emrjobs/health", timeout=10).read())
        assert health["status"] == "ok"

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def client(self, service: str, keys: tuple[str, str, str | None] | None = None, **options: Any) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(retries={"max_attempts": 1}, max_pool_connections=20, **options)
        key_id, secret, token = keys or (*KEYS, None)
        session = boto3.Session(key_id, secret, token, region_name="us-east-1")
        return session.client(service, endpoint_url=self.url, config=config)

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


def _tick() -> None:
    # A condition is being polled that nothing announces: another process's start.
    time.sleep(0.05)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll a condition of another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true in time"
        _tick()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointProcess]:
    """A running endpoint without an S3 server behind it."""
    one = EndpointProcess(tmp_path_factory.mktemp("endpoint") / "state", "http://127.0.0.1:9")
    one.start()
    yield one
    if one.process is not None and one.process.poll() is None:
        one.kill()


@pytest.fixture(autouse=True)
def _no_aws_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointProcess]:
    """An endpoint in front of a SeaweedFS of its own."""
    folder = tmp_path_factory.mktemp("s3")
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert weed, "pip install 'emrjobs[local]'"
    credentials = [{"accessKey": "local", "secretKey": "local-secret"}]
    identities = {"identities": [{"name": "local", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
    (folder / "identities.json").write_text(json.dumps(identities))
    (folder / "data").mkdir()
    ports = _free_ports(4)
    flags = f"-ip=127.0.0.1 -ip.bind=127.0.0.1 -dir={folder}/data -s3 -s3.config={folder}/identities.json -s3.port={ports[0]}"
    flags += f" -master.port={ports[1]} -volume.port={ports[2]} -filer.port={ports[3]} -s3.port.iceberg=0 -s3.port.lance=0"
    flags += " -master.telemetry=false -volume.preStopSeconds=0 -master.electionTimeout=1s -volume.max=100 -master.volumeSizeLimitMB=64"
    settings = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "GOMEMLIMIT": "400MiB"}
    with (folder / "weed.log").open("wb") as log:
        server = subprocess.Popen([weed, "server", *flags.split()], env=settings, stdout=log, stderr=log, cwd=folder)
    one = EndpointProcess(folder / "state", f"http://127.0.0.1:{ports[0]}")
    try:
        one.start()
        s3 = one.client("s3")
        wait_until(lambda: _works(lambda: s3.create_bucket(Bucket="bucket")))
        wait_until(lambda: _works(lambda: s3.put_object(Bucket="bucket", Key="ready", Body=b"")))
        yield one
    finally:
        if one.process is not None and one.process.poll() is None:
            one.kill()
        server.send_signal(signal.SIGKILL)
        server.wait(timeout=10)


def _free_ports(count: int) -> list[int]:
    """Ports whose gRPC sibling (port + 10000) is a port too and free."""
    found: list[int] = []
    for port in range(12000 + os.getpid() % 5000, 22000):
        if all(_is_free(one) for one in (port, port + 10000)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _works(action: Any) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        action()
    except (ClientError, BotoCoreError):
        return False
    return True
