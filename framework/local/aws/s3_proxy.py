"""S3 calls, passed on to the real S3 server byte for byte: path, query and headers are what the signature covers.

Bodies are streamed both ways in pieces of 256 KiB, whatever their size.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import queue
import select
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from framework.local.aws.answers import ApiError, send_s3_error
from framework.local.aws.router import Call

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

_PIECE = 256 * 1024
_IDLE_CONNECTIONS = 32
# They speak of one connection only (RFC 9110, 7.6.1); Transfer-Encoding is set anew for the next one.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "proxy-authenticate"})
# Key of the WSGI environment where the server leaves the headers as they came. WSGI's own HTTP_* keys fold `_` into `-`,
# which would break the signature of metadata such as `x-amz-meta-run_id`.
RAW_HEADERS = "emrjobs.headers"


class S3Proxy:
    """Handler that passes every call on to `url` and its answer back.

    Args:
        url: of the S3 server, `http://host:port`.
        timeout: seconds that the server may stay silent.
    """

    def __init__(self, url: str, timeout: float = 300) -> None:
        parts = urlsplit(url)
        self.url = url
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._timeout = timeout
        self._idle: queue.LifoQueue[_Connection] = queue.LifoQueue(_IDLE_CONNECTIONS)

    def reachable(self) -> bool:
        """Whether the server accepts connections just now."""
        try:
            socket.create_connection((self._host, self._port), timeout=0.5).close()
        except OSError:
            return False
        return True

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = Body(environ)
        try:
            connection, response = self._exchange(environ, body)
        except (OSError, http.client.HTTPException) as error:
            _log.warning("the S3 server at %s did not answer: %s", self.url, error)
            body.drain()
            message = f"The S3 server at {self.url} does not answer ({type(error).__name__}); is it running?"
            return send_s3_error(start_response, ApiError("ServiceUnavailable", message, 503))
        # The server may answer (an error, say) before it has read everything; our client still has to finish.
        body.drain()
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP]
        start_response(f"{response.status} {response.reason}", headers)
        return self._pieces(connection, response)

    def _exchange(self, environ: WSGIEnvironment, body: Body) -> tuple[_Connection, http.client.HTTPResponse]:
        """Send the request and read the answer's head; once more on a new connection if a kept one was dead."""
        while True:
            connection, kept = self._connection()
            try:
                return connection, _send(connection, environ, body)
            except (OSError, http.client.HTTPException):
                connection.close()
                if not kept or body.started:
                    raise

    def _connection(self) -> tuple[_Connection, bool]:
        while True:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                return _Connection(self._host, self._port, timeout=self._timeout), False
            if connection.alive():
                return connection, True
            connection.close()

    def _pieces(self, connection: _Connection, response: http.client.HTTPResponse) -> Iterator[bytes]:
        finished = False
        try:
            while piece := response.read(_PIECE):
                yield piece
            # A shorter body than was announced: fail, so that our client does not take it for the whole.
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            finished = not response.will_close
        finally:
            response.close()
            try:
                if not finished:
                    raise queue.Full
                self._idle.put_nowait(connection)
            except queue.Full:
                connection.close()

    def close(self) -> None:
        """Close the connections that are kept open for the next call."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


class _Connection(http.client.HTTPConnection):
    """http.client without its opinions: the request line as it came, in whatever bytes."""

    def _encode_request(self, request: str) -> bytes:
        return request.encode("latin-1")

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def alive(self) -> bool:
        """Whether an idle connection is still open: a closed one is readable (end of file)."""
        if self.sock is None:
            return False
        if hasattr(select, "poll"):  # select() itself fails for descriptors above 1023
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            return not poll.poll(0)
        return not select.select([self.sock], [], [], 0)[0]


class Body:
    """The request's body, read once."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._stream = environ["wsgi.input"]
        self.chunked = bool(environ.get("wsgi.input_terminated"))
        self._left = int(environ.get("CONTENT_LENGTH") or 0)
        self._ended = not self.chunked and not self._left
        self.started = False

    def pieces(self) -> Iterator[bytes]:
        while not self._ended:
            self.started = True
            piece = self._stream.read(_PIECE if self.chunked else min(_PIECE, self._left))
            if not piece:
                self._ended = True
                if not self.chunked:
                    raise ConnectionError("the client closed the connection before the whole body had come")
                return
            if not self.chunked:
                self._left -= len(piece)
                self._ended = not self._left
            yield piece

    def drain(self) -> None:
        """Read what nobody wanted, in bounded memory, so that the connection can carry the answer."""
        with contextlib.suppress(OSError):
            for _ in self.pieces():
                pass


def _send(connection: _Connection, environ: WSGIEnvironment, body: Body) -> http.client.HTTPResponse:
    connection.putrequest(environ["REQUEST_METHOD"], environ["REQUEST_URI"], skip_host=True, skip_accept_encoding=True)
    headers: list[tuple[str, str]] = environ[RAW_HEADERS]
    for name, value in headers:
        if name.lower() not in _HOP_BY_HOP:
            connection.putheader(name, value.encode("latin-1"))
    if body.chunked:
        connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    try:
        for piece in body.pieces():
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if body.chunked else piece)
        if body.chunked:
            connection.send(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        # The server refused without reading on: its answer is there to be read.
        _log.debug("the S3 server closed its side before the body was sent")
    return connection.getresponse()
