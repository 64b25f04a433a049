"""Every service without a handler of its own: answered by moto, and saved after each call that changes something.

The only module that imports moto (5.2.x; what it uses beside `DomainDispatcherApplication`: `BackendDict` and the
attribute `service` of the applications it makes). moto is imported by the first call that needs it, 1.2 CPU s and 50 MB.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote_to_bytes

from framework.local.aws import pickling
from framework.local.aws.answers import ApiError, send_error
from framework.local.aws.json_service import read_body, unsupported
from framework.local.aws.router import ACCOUNT_ID, DEFAULT_REGION, Call
from framework.local.aws.state import Request, Snapshot, StateStore

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

# Read by moto when its modules are imported.
_ENVIRONMENT = {
    # `aws emr create-default-roles` attaches AWS's own policies. Costs 0.1 s and 15 MB at the first IAM call.
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
    # AMIs of EC2's own catalogue are of no use here and slow the first EC2 call down.
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
}

# An operation that starts with one of these words changes nothing worth saving.
_READS = re.compile(
    r"^(Get|List|Describe|BatchGet|BatchCheck|Search|Query|Head|Scan|Lookup|Check|Simulate|Test|Verify|Validate|Filter|Decrypt|Encrypt"
    r"|ReEncrypt|GenerateDataKey|GenerateRandom|GenerateMac|Sign|Select|Estimate|Preview|Decode|DeriveSharedSecret)(?![a-z])"
)
# Operations that wait by design; they run without the lock, and what they change is saved with the next change.
_WAITING = frozenset({("sqs", "ReceiveMessage"), ("awslambda", "Invoke"), ("stepfunctions", "StartSyncExecution")})
# Additions that come often and give the same result when repeated: see `state`.
_JOURNALED = frozenset(
    {("logs", "PutLogEvents")}
    | {("dynamodb", name) for name in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")}
)
_JOURNAL_LIMIT = 16 * 1024 * 1024
# Services whose calls change other services' state: everything that differs is saved.
_REACHING = frozenset({"cloudformation", "resourcegroupstaggingapi", "stepfunctions", "events", "awslambda"})


@dataclass
class _Service:
    """Bookkeeping of one moto service.

    Attributes:
        changes: counts, under the moto lock, what `saved` has to catch up with.
        volatile: the state cannot be saved.
        proven: types of objects that were seen to come back from a snapshot.
    """

    name: str
    changes: int = 0
    saved: int = 0
    journal_bytes: int = 0
    digest: bytes = b""
    volatile: bool = False
    proven: set[type] = field(default_factory=set)
    save_lock: threading.Lock = field(default_factory=threading.Lock)


class MotoBackend:
    """The default handler. Loads moto and the saved state on the first call.

    Calls run one at a time: moto's objects are not safe between threads, and a snapshot must not see half a change. An
    answer to a change is sent after the change is on disk; callers that wait together share one save.

    Args:
        store: where the state is kept.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._services: dict[str, _Service] = {}
        self._dispatcher: Any = None

    def loaded(self) -> list[str]:
        """Names of the moto services in use since the start."""
        return sorted(self._services)

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self._load()
        body = read_body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ["RAW_URI"] = environ.get("REQUEST_URI", "")
        with self._lock:
            application = self._dispatcher.get_application(environ)
        service = self._service(application.service)
        operation = call.operation or _action(environ, body)
        try:
            if (service.name, operation) in _WAITING:
                answer = _run(application, environ)
            else:
                answer = self._run_and_keep(service, application, operation, environ, body)
        except NotImplementedError:
            return send_error(environ, start_response, unsupported(Call(service.name, operation=operation)))
        except ApiError as error:
            return send_error(environ, start_response, error)
        except Exception:
            _log.exception("%s %s failed", service.name, operation or environ["REQUEST_METHOD"])
            return send_error(environ, start_response, ApiError("InternalFailure", f"{operation or 'The call'} failed; see the log.", 500))
        start_response(answer.status, answer.headers)
        return [answer.body]

    def backend(self, service: str, region: str) -> Any:
        """moto's object of a service in a region, to be read only; IAM and STS have the region `aws`."""
        self._load()
        return _backend((service, ACCOUNT_ID, region))

    def was_used(self, service: str) -> bool:
        """Whether a service has any state; asked without loading moto."""
        return service in self._services or self._store.has(service)

    def assume_role(self, role: str, session: str, seconds: float) -> tuple[str, str, str]:
        """Begin a session of a role, of any length; returns its key id, secret and token. It is on disk then."""
        self._load()
        from moto.core.utils import utcnow

        with self._lock:
            iam, sts = (_backend((name, ACCOUNT_ID, "aws")) for name in (_IAM, _STS))
            now = utcnow()
            ended = [one for one in sts.assumed_roles if one.expiration < now]
            sts.assumed_roles = [one for one in sts.assumed_roles if one.expiration >= now]
            for one in ended:
                iam.access_keys.pop(one.access_key_id, None)
            made = sts.assume_role(DEFAULT_REGION, session, role, None, int(seconds), None)
        for name in (_IAM, _STS):
            self._save(self._service(name))
        return made.access_key_id, made.secret_access_key, made.session_token

    def save_all(self) -> None:
        """Save every service in use whose state differs from its last snapshot."""
        if self._dispatcher is not None:
            for name in _instantiated():
                self._save(self._service(name), everything=True)

    def _service(self, name: str) -> _Service:
        with self._lock:
            return self._services.setdefault(name, _Service(name))

    def _run_and_keep(self, service: _Service, application: Any, operation: str | None, environ: WSGIEnvironment, body: bytes) -> _Answer:
        """Run one call and, when it changed something, have that on disk before returning."""
        with self._lock:
            request = _request(environ, body) if (service.name, operation) in _JOURNALED else None
            answer = _run(application, environ)
            if not answer.ok or not _changes(operation, environ["REQUEST_METHOD"]):
                return answer
            service.changes += 1
            change = service.changes
            if request is not None and service.journal_bytes < _JOURNAL_LIMIT and not service.volatile:
                # Still under the lock: the journal has the order in which the calls ran.
                self._store.append(service.name, request)
                service.journal_bytes += len(body)
                return answer
        if service.name in _REACHING:
            self.save_all()
        else:
            self._save(service, up_to=change)
            if service.name == _STS:
                # The keys of its sessions are IAM's.
                self._save(self._service(_IAM))
        return answer

    def _save(self, service: _Service, up_to: int | None = None, everything: bool = False) -> None:
        with service.save_lock:
            if service.volatile or (not everything and up_to is not None and service.saved >= up_to):
                return  # cannot be saved, or another caller's save already holds this change
            with self._lock:
                change = service.changes
                try:
                    content, types = _snapshot(service.name)
                    if not types <= service.proven:
                        # What cannot be read back has to be known now, not at the next start.
                        pickling.loads(content, _resolve)
                        service.proven |= types
                except Exception as error:  # whatever foreign classes raise when they are pickled
                    service.volatile = True
                    _log.warning("the state of %s cannot be saved and is lost when the endpoint stops: %s", service.name, error)
                    return
                service.journal_bytes = 0
                digest = hashlib.blake2b(content, digest_size=16).digest()
                if digest != service.digest or not everything:
                    self._store.save(Snapshot(service.name, _writer(), content))
                    service.digest = digest
                service.saved = change

    def _load(self) -> None:
        with self._lock:
            if self._dispatcher is None:
                self._dispatcher = self._start()

    def _start(self) -> Any:
        os.environ.update(_ENVIRONMENT)
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        _spare_other_partitions()
        _forget_deleted_objects()
        dispatcher = DomainDispatcherApplication(create_backend_app)
        for snapshot in self._store.snapshots():
            self._restore(snapshot)
        self._replay(dispatcher)
        return dispatcher

    def _restore(self, snapshot: Snapshot) -> None:
        try:
            _apply(snapshot)
        except Exception as error:  # whatever an unpickled class of another version raises
            aside = self._store.set_aside(snapshot.service)
            _log.error(
                "the saved state of %s (written by %s) cannot be read by %s (%s: %s): it was set aside as %s and the service starts empty",
                snapshot.service, snapshot.writer, _writer(), type(error).__name__, error, aside.name,
            )  # fmt: skip
        else:
            self._service(snapshot.service)

    def _replay(self, dispatcher: Any) -> None:
        for name, request in self._store.journal():
            environ = _environ(request)
            answer = _run(dispatcher.get_application(environ), environ)
            service = self._service(name)
            service.journal_bytes += len(request.body)
            if not answer.ok:
                _log.error("a journaled call of %s was refused when it was repeated: %s", name, answer.body[:200].decode(errors="replace"))


@dataclass(frozen=True)
class _Answer:
    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def ok(self) -> bool:
        return self.status < "4"


def _run(application: Any, environ: WSGIEnvironment) -> _Answer:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        started.append((status, headers))

    chunks = application(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close:
            close()
    status, headers = started[-1]
    if status.startswith("404") and body.startswith(b"<!doctype html>"):
        # Flask found no route: moto does not have the operation.
        raise NotImplementedError
    return _Answer(status, headers, body)


def _action(environ: Mapping[str, Any], body: bytes) -> str | None:
    """The operation of a query-protocol call, from its form or its query string."""
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        match = re.search(rb"(?:^|&)Action=(\w+)", body)
        if match:
            return match.group(1).decode()
    action: list[str | None] = list(parse_qs(environ.get("QUERY_STRING", "")).get("Action", [])) or [None]
    return action[0]


def _changes(operation: str | None, method: str) -> bool:
    """Whether a call may change state: by its operation's first word, or for REST by its method."""
    if operation is None:
        return method not in ("GET", "HEAD", "OPTIONS")
    return _READS.match(operation) is None


def _request(environ: Mapping[str, Any], body: bytes) -> Request:
    headers = [(key[5:].replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_")]
    headers.append(("CONTENT-TYPE", environ.get("CONTENT_TYPE", "")))
    return Request(environ["REQUEST_METHOD"], environ.get("REQUEST_URI") or "/", headers, body.decode())


def _environ(request: Request) -> dict[str, Any]:
    body = request.body.encode()
    path, _, query = request.uri.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "REQUEST_URI": request.uri,
        "RAW_URI": request.uri,
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
    for name, value in request.headers:
        key = name.upper().replace("-", "_")
        environ["CONTENT_TYPE" if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    return environ


def _writer() -> str:
    return f"moto {importlib.metadata.version('moto')}, Python {sys.version_info.major}.{sys.version_info.minor}"


# A place of moto's state: (service, account, region), as in iam_backends["123456789012"]["aws"].
_Place = tuple[str, str, str]


def _places() -> dict[int, tuple[_Place, Any]]:
    """Every backend object that moto has made so far, by id()."""
    from moto.core.base_backend import BackendDict

    return {
        id(backend): ((_module(backends), account, region), backend)
        for backends in list(BackendDict._instances)
        for account, region, backend in backends.iter_backends()
    }


def _module(backends: Any) -> str:
    # moto.<module>.models; BackendDict's own name is boto3's, which differs ("lambda", "awslambda").
    return str(backends.backend.__module__.split(".")[1])


def _instantiated() -> list[str]:
    return sorted({service for (service, _, _), _ in _places().values()})


def _snapshot(service: str) -> tuple[bytes, set[type]]:
    """The attributes of a service's backends in all accounts and regions; backends in them are references."""
    places = _places()
    content = {place[1:]: vars(backend) for place, backend in places.values() if place[0] == service}
    if service == _IAM:
        content = {place: _without_aws_policies(attributes) for place, attributes in content.items()}

    def reference(value: object) -> Any | None:
        found = places.get(id(value))
        if found:
            return found[0]
        if type(value).__name__ == "AWSManagedPolicy":
            policy: Any = value
            return _AWS_POLICY, policy.account_id, policy.arn, policy.attachment_count
        return None

    return pickling.dumps(content, reference)


def _apply(snapshot: Snapshot) -> None:
    content = pickling.loads(snapshot.content, _resolve)
    for (account, region), attributes in content.items():
        # In place, so that other services' references to this backend stay true.
        current = vars(_backend((snapshot.service, account, region)))
        if snapshot.service == _IAM:
            attributes[_POLICIES] = current[_POLICIES] | attributes[_POLICIES]
        current.update(attributes)


def _resolve(reference: tuple[Any, ...]) -> Any:
    if reference[0] != _AWS_POLICY:
        return _backend((reference[0], reference[1], reference[2]))
    _, account, arn, attachments = reference
    policy = _backend((_IAM, account, arn.split(":")[1])).managed_policies[arn]
    policy.attachment_count = attachments
    return policy


def _backend(place: _Place) -> Any:
    from moto.backends import get_backend

    service, account, region = place
    return get_backend(service)[account][region]


# IAM is full of AWS's own 1,500 policies, 4 MB of text: they are left out of its snapshots and referred to by ARN.
_IAM, _POLICIES, _AWS_POLICY = "iam", "managed_policies", "aws policy"
_STS = "sts"


def _without_aws_policies(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in attributes.items() if name != "aws_managed_policies"}
    own = {arn: policy for arn, policy in kept[_POLICIES].items() if type(policy).__name__ != "AWSManagedPolicy"}
    return {**kept, _POLICIES: own}


def _spare_other_partitions() -> None:
    """AWS's policies for the partition `aws` only: moto makes a backend for each of six when it looks an access key up."""
    from moto.iam.models import IAMBackend

    load = IAMBackend._init_aws_policies

    def load_here(backend: Any) -> Any:
        return load(backend) if backend.region_name == "aws" else []

    IAMBackend._init_aws_policies = load_here


def _forget_deleted_objects() -> None:
    """moto lists every object it ever made, for a page of its own server; in a process that runs for days that is a leak."""
    from moto.core.common_models import BaseModel

    def new(cls: Any, *arguments: Any, **named: Any) -> Any:
        return super(BaseModel, cls).__new__(cls)

    BaseModel.__new__ = new
