"""PrestoDB's protocol for Trino's Python client: the same one from before the fork, but for the names of its headers.

What differs is translated between the client and the wire, by a transport adapter of requests.
"""

from __future__ import annotations

import io
import json
from collections.abc import MutableMapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

_OURS, _THEIRS = "x-trino-", "x-presto-"


def session() -> requests.Session:
    """A session for one connection of Trino's client (its argument `http_session`) to a Presto server."""
    made = requests.Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter())
    return made


class _Adapter(HTTPAdapter):
    def add_headers(self, request: requests.PreparedRequest, **options: Any) -> None:
        _rename(request.headers, _OURS, _THEIRS)

    def build_response(self, req: requests.PreparedRequest, resp: HTTPResponse) -> requests.Response:
        body = _translated(resp.read(decode_content=True))
        _rename(resp.headers, _THEIRS, _OURS)
        for header in ("content-encoding", "content-length"):
            resp.headers.pop(header, None)
        translated = HTTPResponse(io.BytesIO(body), resp.headers, resp.status, reason=resp.reason, preload_content=False)
        resp.release_conn()
        return super().build_response(req, translated)


def _rename(headers: MutableMapping[str, Any], before: str, after: str) -> None:
    for name in [name for name in headers if name.lower().startswith(before)]:
        headers[after + name[len(before) :]] = headers.pop(name)


def _translated(body: bytes) -> bytes:
    """An answer with its columns' types as Trino describes them; any other body as it is."""
    if b'"columns"' not in body:
        return body
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    for column in answer.get("columns") or ():
        column["typeSignature"] = _signature(column["typeSignature"])
    return json.dumps(answer).encode()


def _signature(signature: dict[str, Any]) -> dict[str, Any]:
    kind, arguments = signature["rawType"], signature["arguments"]
    if kind.startswith("time"):  # in milliseconds always; Trino says how precise they are
        return {**signature, "arguments": [{"kind": "LONG", "value": 3}]}
    if kind == "row":  # types of fields are mere texts here: such values stay as JSON has them
        return {**signature, "rawType": "unknown", "arguments": []}
    return {**signature, "arguments": [{**argument, "value": _inner(argument["value"])} for argument in arguments]}


def _inner(value: Any) -> Any:
    return _signature(value) if isinstance(value, dict) and "rawType" in value else value
