from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from framework.local.aws.app import Endpoint
from framework.local.aws.server import make_server

from .conftest import signed

MIB = 1024 * 1024


class Upstream(BaseHTTPRequestHandler):
    """A stand-in for the S3 server that shows what reached it, or misbehaves."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, list[tuple[str, str]], int]]

    def handle_one(self) -> None:
        if self.path.startswith("/refuse"):
            self._reply(403, b"<Error/>", close=True)
            return
        size = self._body()
        self.seen.append((self.command, self.path, list(self.headers.items()), size))
        if self.path.startswith("/short"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
        elif self.path.startswith("/cached"):
            self.send_response(304)
            self.send_header("ETag", '"x"')
            self.end_headers()
        elif self.path.startswith("/large"):
            self._reply(200, b"x" * 3 * MIB)
        else:
            self._reply(200, b"%d bytes" % size)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one  # noqa: N815

    def _body(self) -> int:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        size = 0
        while length := int(self.rfile.readline(), 16):
            size += len(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return size

    def _reply(self, status: int, body: bytes, close: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = close

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    Upstream.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def connection(upstream: ThreadingHTTPServer, tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to an endpoint in this process, in front of the upstream."""
    yield from _served(Endpoint(tmp_path / "state", f"http://127.0.0.1:{upstream.server_port}"))


def _served(endpoint: Endpoint) -> Iterator[http.client.HTTPConnection]:
    server = make_server("127.0.0.1", 0, endpoint)
    server.expiration_interval = 0.02
    thread = threading.Thread(target=server.serve)
    thread.start()
    client = http.client.HTTPConnection("127.0.0.1", server.bind_addr[1], timeout=20)
    yield client
    client.close()
    server.stop()
    thread.join()
    endpoint.close()


def exchange(connection: http.client.HTTPConnection, method: str, path: str, **options: Any) -> tuple[int, bytes]:
    headers = {"Authorization": signed("s3"), **options.pop("headers", {})}
    connection.request(method, path, headers=headers, **options)
    response = connection.getresponse()
    return response.status, response.read()


def test_path_query_and_headers_reach_the_server_as_the_client_signed_them(connection: http.client.HTTPConnection) -> None:
    path = "/bucket//a%2Fb/%7Ec+d%20e?x-id=GetObject&list-type=2&prefix=a%2F&empty="
    headers = {"Host": "bucket.s3.local:1234", "x-amz-meta-run_id": "7", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}
    assert exchange(connection, "GET", path, headers=headers)[0] == 200
    ((_, seen_path, seen_headers, _),) = Upstream.seen
    assert seen_path == path
    seen = {name.lower(): value for name, value in seen_headers}
    assert (seen["host"], seen["x-amz-meta-run_id"]) == ("bucket.s3.local:1234", "7")
    assert seen["authorization"] == signed("s3")
    assert not {"x-forwarded-for", "x-forwarded-host", "via"} & seen.keys()


def test_bodies_of_declared_and_of_unknown_length_are_passed_on(connection: http.client.HTTPConnection) -> None:
    assert exchange(connection, "PUT", "/b/k", body=b"x" * 3 * MIB) == (200, b"%d bytes" % (3 * MIB))
    pieces = (b"y" * 100_000 for _ in range(7))
    assert exchange(connection, "PUT", "/b/k", body=pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}) == (
        200,
        b"700000 bytes",
    )


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(connection: http.client.HTTPConnection) -> None:
    with socket.create_connection((connection.host, connection.port), timeout=20) as raw:
        head = f"PUT /b/k HTTP/1.1\r\nHost: x\r\nAuthorization: {signed('s3')}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 100 Continue")
        raw.sendall(b"hello")
        answered = b""
        while b"5 bytes" not in answered:
            piece = raw.recv(4096)
            assert piece, answered
            answered += piece
    assert answered.startswith(b"HTTP/1.1 200")


def test_head_and_not_modified_have_no_body_and_keep_the_connection(connection: http.client.HTTPConnection) -> None:
    assert exchange(connection, "HEAD", "/large") == (200, b"")
    assert exchange(connection, "GET", "/cached") == (304, b"")
    status, body = exchange(connection, "GET", "/large")
    assert (status, len(body)) == (200, 3 * MIB)


def test_a_refusal_before_the_body_was_read_is_passed_on_and_the_connection_stays_usable(connection: http.client.HTTPConnection) -> None:
    assert exchange(connection, "PUT", "/refuse", body=b"x" * 8 * MIB) == (403, b"<Error/>")
    assert exchange(connection, "GET", "/b/k") == (200, b"0 bytes")


def test_a_body_that_breaks_off_is_not_passed_off_as_whole(connection: http.client.HTTPConnection) -> None:
    with pytest.raises(http.client.IncompleteRead):
        exchange(connection, "GET", "/short")


def test_a_kept_connection_that_the_server_has_closed_is_replaced(connection: http.client.HTTPConnection) -> None:
    for _ in range(3):
        assert exchange(connection, "GET", "/b/k") == (200, b"0 bytes")
        assert exchange(connection, "GET", "/refuse")[0] == 403


def test_without_an_s3_server_the_answer_says_so(tmp_path: Path) -> None:
    served = _served(Endpoint(tmp_path / "state", "http://127.0.0.1:9"))
    client = next(served)
    status, body = exchange(client, "PUT", "/b/k", body=b"x")
    assert status == 503
    assert b"<Error><Code>ServiceUnavailable</Code>" in body
    assert b"http://127.0.0.1:9 does not answer" in body
    next(served, None)
