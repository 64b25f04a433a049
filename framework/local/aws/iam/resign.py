"""S3 calls of a principal, signed anew with the keys that the S3 server knows.

The body stays a stream: its hash is signed as the client stated it. Only a body whose every chunk is signed by the client
(`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, what S3A of Hadoop 3.3 sends over plain HTTP) is taken out of its chunks.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from framework.local.aws.s3_proxy import RAW_HEADERS

if TYPE_CHECKING:
    from wsgiref.types import InputStream, WSGIEnvironment

_HASH = "x-amz-content-sha256"
_SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
# Of the client's own signature, or set anew here.
_DROPPED = frozenset({"authorization", "x-amz-date", "x-amz-security-token", _HASH, "date"})


def resign(environ: WSGIEnvironment, keys: Credentials, region: str) -> None:
    """Change the request in place, so that the S3 server takes it for one of `keys`."""
    headers = [(name, value) for name, value in environ[RAW_HEADERS] if name.lower() not in _DROPPED]
    stated = next((value for name, value in environ[RAW_HEADERS] if name.lower() == _HASH), "UNSIGNED-PAYLOAD")
    if stated.startswith(_SIGNED_CHUNKS):
        headers = _unchunked(environ, headers)
        stated = "UNSIGNED-PAYLOAD"
    path, _, query = environ["REQUEST_URI"].partition("?")
    if "X-Amz-Signature=" in query:
        kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if not name.lower().startswith("x-amz-")]
        query = urlencode(kept, quote_via=quote)
        environ["QUERY_STRING"] = query
        environ["REQUEST_URI"] = f"{path}?{query}" if query else path
    host = next((value for name, value in headers if name.lower() == "host"), "localhost")
    request = AWSRequest(environ["REQUEST_METHOD"], f"http://{host}{environ['REQUEST_URI']}")
    for name, value in headers:
        if name.lower() == "host" or name.lower().startswith("x-amz-"):
            request.headers[name] = value
    _Signer(keys, region, stated).add_auth(request)
    own = {name.lower() for name in request.headers}
    environ[RAW_HEADERS] = [pair for pair in headers if pair[0].lower() not in own] + list(request.headers.items())


class _Signer(S3SigV4Auth):
    """Signs a body that it does not read, by the hash that the client stated."""

    def __init__(self, keys: Credentials, region: str, stated: str) -> None:
        super().__init__(keys, "s3", region)
        self._stated = stated

    def payload(self, request: AWSRequest) -> str:
        return self._stated


def _unchunked(environ: WSGIEnvironment, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Take the body out of its `aws-chunked` coding; returns the headers of what is left."""
    length = next(value for name, value in headers if name.lower() == "x-amz-decoded-content-length")
    environ["wsgi.input"] = _Stream(_pieces(environ["wsgi.input"]), int(length))
    environ["CONTENT_LENGTH"] = length
    environ["wsgi.input_terminated"] = False
    kept = []
    for name, value in headers:
        lower = name.lower()
        if lower in ("content-length", "x-amz-decoded-content-length", "x-amz-trailer"):
            continue
        if lower == "content-encoding":
            codings = [coding.strip() for coding in value.split(",") if coding.strip() not in ("", "aws-chunked")]
            if codings:
                kept.append((name, ", ".join(codings)))
            continue
        kept.append((name, value))
    return [*kept, ("Content-Length", length)]


def _pieces(stream: InputStream) -> Iterator[bytes]:
    """`<size in hex>;chunk-signature=<signature>` CRLF data CRLF, ..., a chunk of size 0, trailers (S3 API Reference, "Chunked upload")."""
    while size := int(stream.readline().split(b";")[0] or b"0", 16):
        while size:
            piece = stream.read(min(size, 256 * 1024))
            if not piece:
                raise ConnectionError("the client closed the connection in the middle of a chunk")
            size -= len(piece)
            yield piece
        stream.readline()
    while stream.readline().strip():
        continue


class _Stream(io.RawIOBase):
    """Read `length` bytes of what an iterator yields; then the iterator is run to its end, so that nothing is left on the connection."""

    def __init__(self, pieces: Iterator[bytes], length: int) -> None:
        self._pieces = pieces
        self._left = length
        self._rest = b""
        self._finish()

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        size = len(self._rest) if size < 0 else size
        result, self._rest = self._rest[:size], self._rest[size:]
        self._left -= len(result)
        self._finish()
        return result

    def _finish(self) -> None:
        if self._left <= 0:
            for _ in self._pieces:
                pass
