"""Answers in AWS's own shapes: JSON and XML errors, and the exception that becomes one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 413: "Content Too Large", 500: "Internal Server Error"}
_REASONS |= {501: "Not Implemented", 503: "Service Unavailable"}

# Key of the WSGI environment: a function that closes the connection without an answer.
ABORT = "emrjobs.abort"

JSON_1_1 = "application/x-amz-json-1.1"


class ApiError(Exception):
    """Answers a call with an AWS error. Never leaves this process, so it is not part of `framework.errors`.

    Args:
        code: AWS's error code, such as `EntityNotFoundException`.
        message: one sentence, in AWS's wording where that is known.
        status: HTTP status.
        members: what the error's shape has beside its message.
    """

    def __init__(self, code: str, message: str, status: int = 400, members: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = members or {}


def send(
    start_response: StartResponse, status: int, body: bytes, content_type: str, headers: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    """One whole answer with its length."""
    start_response(
        f"{status} {_REASONS.get(status, 'Status')}",
        [("Content-Type", content_type), ("Content-Length", str(len(body))), ("x-amzn-RequestId", str(uuid.uuid4())), *headers],
    )
    return [body]


def send_json(start_response: StartResponse, status: int, content: Any, content_type: str = "application/json") -> list[bytes]:
    """A JSON answer."""
    return send(start_response, status, json.dumps(content, separators=(",", ":")).encode(), content_type)


def send_error(environ: WSGIEnvironment, start_response: StartResponse, error: ApiError) -> list[bytes]:
    """An error in the protocol that the caller speaks: JSON where it named a target or sent JSON, else XML.

    botocore reads the code from `__type` (json), `x-amzn-ErrorType` (rest-json) or `<Error><Code>` (query and S3).
    """
    if "HTTP_X_AMZ_TARGET" in environ or "json" in environ.get("CONTENT_TYPE", ""):
        body = json.dumps({"__type": error.code, **error.members, "message": error.message, "Message": error.message}).encode()
        return send(start_response, error.status, body, JSON_1_1, [("x-amzn-ErrorType", error.code)])
    inner = f"<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
    return send_xml(start_response, error.status, f"<ErrorResponse>{inner}<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>")


def send_rest_error(start_response: StartResponse, error: ApiError) -> list[bytes]:
    """An error of a rest-json service."""
    body = json.dumps({"message": error.message}).encode()
    return send(start_response, error.status, body, "application/json", [("x-amzn-ErrorType", error.code)])


def send_s3_error(start_response: StartResponse, error: ApiError) -> list[bytes]:
    """An error in S3's own shape, whose root is `<Error>`."""
    inner = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    return send_xml(start_response, error.status, f"<Error>{inner}<RequestId>{uuid.uuid4()}</RequestId></Error>")


def send_xml(start_response: StartResponse, status: int, content: str) -> list[bytes]:
    """An XML answer."""
    return send(start_response, status, f'<?xml version="1.0" encoding="UTF-8"?>{content}'.encode(), "application/xml")
