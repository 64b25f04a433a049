"""A service that speaks AWS's JSON 1.1 protocol (`X-Amz-Target: <prefix>.<Operation>`), as a table of functions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from framework.local.aws.answers import JSON_1_1, ApiError, send_error, send_json
from framework.local.aws.router import Call, Handler

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

# Real services refuse bodies of a few MiB; this only keeps a mistake from filling the memory.
MAX_BODY = 64 * 1024 * 1024

Operation = Callable[[dict[str, Any], Call], dict[str, Any]]


def read_body(environ: WSGIEnvironment, limit: int = MAX_BODY) -> bytes:
    """The whole body of a request, whether its length is declared or it comes in chunks.

    Raises:
        ApiError: it is larger than `limit` bytes.
    """
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        body = stream.read(limit + 1)
    else:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = b"" if length > limit else stream.read(length)
        if length > limit:
            raise ApiError("RequestEntityTooLarge", f"The request has {length} bytes; the limit is {limit}.", 413)
    if len(body) > limit:
        raise ApiError("RequestEntityTooLarge", f"The request is larger than {limit} bytes.", 413)
    return bytes(body)


class JsonService:
    """Dispatches on the operation's name; what is not in the table goes to `otherwise`, or is refused.

    Args:
        operations: by name as in the API ("GetTable"). A function takes the request and the call, returns the answer, and
            raises ApiError.
        otherwise: for a service of which we answer only a part.
    """

    def __init__(self, operations: Mapping[str, Operation], otherwise: Handler | None = None) -> None:
        self._operations = dict(operations)
        self._otherwise = otherwise

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        operation = self._operations.get(call.operation or "")
        if operation is None:
            if self._otherwise is not None:
                return self._otherwise(call, environ, start_response)
            return send_error(environ, start_response, unsupported(call))
        try:
            answer = operation(parse_json(read_body(environ)), call)
        except ApiError as error:
            return send_error(environ, start_response, error)
        except Exception:
            _log.exception("%s.%s failed", call.service, call.operation)
            return send_error(environ, start_response, ApiError("InternalServiceException", f"{call.operation} failed; see the log.", 500))
        return send_json(start_response, 200, answer, JSON_1_1)


def unsupported(call: Call) -> ApiError:
    """The answer to an operation that this endpoint does not have. Status 400, so that clients do not retry."""
    name = call.operation or "This operation"
    return ApiError("UnsupportedOperation", f"{name} of {call.service or 'this service'} is not supported by the local endpoint.")


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body.

    Raises:
        ApiError: SerializationException.
    """
    try:
        request = json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError("SerializationException", f"The request is not JSON: {error}.") from error
    if not isinstance(request, dict):
        raise ApiError("SerializationException", "The request is not a JSON object.")
    return request
