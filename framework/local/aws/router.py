"""Who is called: the service, region and operation of a request, and the handler that answers it.

Every AWS client signs for one service, and the signature's credential scope names it
(`<access key>/<date>/<region>/<service>/aws4_request`: IAM User Guide, "Create a signed AWS API request"). So one URL can
serve them all, whatever host name the client used.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from framework.local.aws.answers import ApiError, send_error

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

# moto's default account; the only one that this endpoint knows.
ACCOUNT_ID = "123456789012"
DEFAULT_REGION = "us-east-1"
S3 = "s3"
S3_CONTROL = "s3-control"
# Path of the whole S3 Control API; it signs as `s3` and is another service.
_S3_CONTROL_PATH = "/v20180820/"
_CREDENTIAL = re.compile(r"Credential=([^,\s]+)")
_CBOR_PATH = re.compile(r"^/service/[^/]+/operation/(?P<operation>\w+)$")
# Either marks a presigned S3 URL whose credential names no scope.
_S3_QUERY_KEYS = frozenset({"X-Amz-Signature", "AWSAccessKeyId"})


@dataclass(frozen=True)
class Call:
    """What a request says about itself before its body is read.

    Attributes:
        service: the signing name ("glue", "elasticmapreduce", "s3"); empty when nothing names one.
        region: of the credential scope.
        access_key_id: who signed; None for an anonymous call.
        operation: from X-Amz-Target or the path; None where only the body (query protocol) or the URL (REST) says.
    """

    service: str
    region: str = DEFAULT_REGION
    access_key_id: str | None = None
    operation: str | None = None


class Handler(Protocol):
    """Answers the calls of one service: a WSGI application that is also told who is called."""

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]: ...


def identify(environ: WSGIEnvironment) -> Call:
    """Read service, region, caller and operation off a request.

    Unsigned requests: those that name a target or post a form belong to some service with an unsigned operation (STS
    AssumeRoleWithWebIdentity), left to the default handler with an empty service; all others are anonymous S3.
    """
    path = environ.get("PATH_INFO", "")
    operation = _operation(environ, path)
    scope = _credential_scope(environ)
    if scope is not None:
        access_key, region, service = scope
        if service == S3 and path.startswith(_S3_CONTROL_PATH):
            service = S3_CONTROL
        return Call(service.lower(), region or DEFAULT_REGION, access_key, operation)
    # Signature version 2, which only S3 still has: "AWS <access key>:<signature>".
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    if authorization.startswith("AWS ") and ":" in authorization:
        return Call(S3, access_key_id=authorization[4:].split(":", 1)[0])
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if _S3_QUERY_KEYS & query.keys():
        return Call(S3)
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    if operation is not None or form or "Action" in query:
        return Call("", operation=operation)
    return Call(S3)


def _credential_scope(environ: WSGIEnvironment) -> tuple[str, str, str] | None:
    """(access key, region, service) of a version 4 signature in the header or, presigned, in the query."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    credential = None
    if authorization.startswith("AWS4-"):
        match = _CREDENTIAL.search(authorization)
        credential = match.group(1) if match else None
    elif "X-Amz-Credential=" in environ.get("QUERY_STRING", ""):
        credential = parse_qs(environ["QUERY_STRING"]).get("X-Amz-Credential", [None])[0]
    if not credential:
        return None
    # An access key may itself hold slashes (SeaweedFS allows any text), so count from the end.
    parts = credential.split("/")
    if authorization.startswith("AWS4-ECDSA-") and len(parts) >= 4:  # version 4A: no region in the scope
        return "/".join(parts[:-3]), "", parts[-2]
    if len(parts) >= 5 and parts[-1] == "aws4_request":
        return "/".join(parts[:-4]), parts[-3], parts[-2]
    return None


def _operation(environ: WSGIEnvironment, path: str) -> str | None:
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return str(target).rpartition(".")[2]
    match = _CBOR_PATH.match(path)
    return match.group("operation") if match else None


class Router:
    """The WSGI application: identifies each call and gives it to the handler of its service.

    Args:
        handlers: by signing name.
        default: answers every service that has no handler of its own.
        pages: our own paths (such as the health page), by exact path; they win over everything.
        reserved: path prefix of `pages`; anything else under it is refused instead of being taken for an S3 bucket.
    """

    def __init__(self, handlers: Mapping[str, Handler], default: Handler, pages: Mapping[str, Handler], reserved: str) -> None:
        self._handlers = dict(handlers)
        self._default = default
        self._pages = dict(pages)
        self._reserved = reserved

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith(self._reserved):
            page = self._pages.get(path)
            if page is None:
                known = ", ".join(sorted(self._pages))
                return send_error(environ, start_response, ApiError("NotFound", f"There is no page {path}; known: {known}.", 404))
            return page(Call(""), environ, start_response)
        call = identify(environ)
        handler = self._handlers.get(call.service, self._default)
        started = time.perf_counter()
        try:
            return handler(call, environ, start_response)
        except ApiError as error:
            return send_error(environ, start_response, error)
        finally:
            _log.debug(
                "%s %s %s %.1f ms", call.service or "-", call.operation or environ["REQUEST_METHOD"], path,
                (time.perf_counter() - started) * 1000,
            )  # fmt: skip
