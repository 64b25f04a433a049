"""The handler in front of every service: refuses what the caller's policies do not allow."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs

from botocore.credentials import Credentials

from framework.local.aws.answers import ApiError, send_error, send_rest_error, send_s3_error
from framework.local.aws.iam import needs, policy
from framework.local.aws.iam.resign import resign
from framework.local.aws.json_service import read_body
from framework.local.aws.router import S3, Call, Handler
from framework.local.aws.s3_proxy import Body

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

# Anybody may ask who they are, whatever their policies say (STS API Reference, GetCallerIdentity).
_FREE = frozenset({"sts:GetCallerIdentity"})


@dataclass(frozen=True)
class Principal:
    """Whom a key belongs to.

    Attributes:
        arn: as AWS names the caller in its messages.
        policies: all documents that are attached to it, in whatever way.
        expires: seconds since the epoch, of a role session.
    """

    arn: str
    policies: Sequence[policy.Document]
    expires: float | None = None


class Directory(Protocol):
    """What the guard asks IAM, STS and Secrets Manager."""

    def principal(self, access_key_id: str) -> Principal | None:
        """Whom the key belongs to; None for a key that IAM does not know."""

    def secret_arn(self, name: str, region: str) -> str | None:
        """The ARN of a secret, None when there is none."""


Read = Callable[["WSGIEnvironment"], tuple[str, Mapping[str, Any]]]


class Guard:
    """Wraps a handler: the calls of IAM's principals are checked, all others are passed on.

    Args:
        handler: the service.
        directory: knows the principals.
        keys: of the S3 server, with which the calls of principals are signed anew; None for all other services.
        read: name and parameters of a call of EMR Serverless, whose operation stands in its path; None for all other services.
    """

    def __init__(self, handler: Handler, directory: Directory, keys: Credentials | None = None, read: Read | None = None) -> None:
        self._handler = handler
        self._directory = directory
        self._keys = keys
        self._read = read

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        principal = self._directory.principal(call.access_key_id) if call.access_key_id else None
        if principal is None:
            return self._handler(call, environ, start_response)
        try:
            if principal.expires is not None and principal.expires < time.time():
                raise ApiError("ExpiredToken", "The security token included in the request is expired", 400)
            for need in self._needs(call, environ):
                _check(principal, need, call)
        except ApiError as error:
            if self._read is not None:
                return send_rest_error(start_response, error)
            if call.service != S3:
                return send_error(environ, start_response, error)
            Body(environ).drain()  # the client sends all of it before it reads the answer
            return send_s3_error(start_response, error)
        if call.service == S3 and self._keys is not None:
            resign(environ, self._keys, call.region)
        return self._handler(call, environ, start_response)

    def _needs(self, call: Call, environ: WSGIEnvironment) -> list[needs.Need]:
        if call.service == S3:
            return needs.of_s3(environ, lambda: _peek(environ))
        body = _peek(environ)
        if self._read is not None:
            try:
                return needs.of_serverless(call, *self._read(environ))
            except ApiError:
                return []  # there is no such call: the service itself says so
            finally:
                environ["wsgi.input"] = io.BytesIO(body)
        if call.operation is None:
            return [needs.Need(f"{call.service}:{_action(environ, body)}", _role(body))]
        return needs.of_json(call, _parsed(body), self._directory.secret_arn)


def _check(principal: Principal, need: needs.Need, call: Call) -> None:
    context = {"aws:requestedregion": call.region, "aws:principalarn": principal.arn, **need.context}
    if need.action in _FREE or policy.allows(principal.policies, need.action, need.resource, context):
        return
    # The wording of AWS: IAM User Guide, "Troubleshoot access denied error messages".
    on = f" on resource: {need.resource}" if need.resource != policy.ANY else ""
    why = f"because no identity-based policy allows the {need.action} action"
    message = f"User: {principal.arn} is not authorized to perform: {need.action}{on} {why}"
    _log.info("refused: %s", message)
    raise ApiError("AccessDenied" if call.service == S3 else "AccessDeniedException", message, 403 if call.service == S3 else 400)


def _peek(environ: WSGIEnvironment) -> bytes:
    """The body, which the handler will read again."""
    body = read_body(environ)
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input_terminated"] = False
    return body


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return {}
    return request if isinstance(request, dict) else {}


def _action(environ: WSGIEnvironment, body: bytes) -> str:
    form = parse_qs(body.decode(errors="replace")) or parse_qs(environ.get("QUERY_STRING", ""))
    return (form.get("Action") or [f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '/')}"])[0]


def _role(body: bytes) -> str:
    return (parse_qs(body.decode(errors="replace")).get("RoleArn") or [policy.ANY])[0]
