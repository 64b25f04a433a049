"""A way to a server that can be cut, or be answered for: a TCP proxy of this process."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time

_CHUNK = 65536
_BODY = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
_SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


class Proxy:
    """Passes connections on to a server on this machine until it is told otherwise.

    Attributes:
        port: where it listens.
        struck: connections that were cut, or requests that were refused.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.struck = 0
        self._slow_until = 0.0
        self._after: int | None = None
        self._cuts = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._listen, daemon=True).start()

    def slow_down(self, seconds: float) -> None:
        """Answer every request with 503 SlowDown for a while, as S3 does when it is asked too often."""
        self._slow_until = time.monotonic() + seconds
        self._close_all()

    def cut(self, after: int, times: int) -> None:
        """Close the next connections, `times` of them, when the server has sent so many bytes more."""
        with self._lock:
            self._after, self._cuts = after, times

    def _close_all(self) -> None:
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if time.monotonic() < self._slow_until:
                self._refuse(client)
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                with self._lock:
                    self._open |= {client, server}
                there = threading.Thread(target=self._pump, args=(client, server, False), daemon=True)
                there.start()
                self._pump(server, client, True)
                there.join()
                with self._lock:
                    self._open -= {client, server}

    def _refuse(self, client: socket.socket) -> None:
        """Read one request to its end, as far as its client sends it, and refuse it."""
        client.settimeout(0.5)
        head = b""
        while b"\r\n\r\n" not in head and (part := client.recv(_CHUNK)):
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        missing = int(length[1]) - len(body) if length and b"100-continue" not in head else 0
        with contextlib.suppress(TimeoutError):
            while missing > 0 and (part := client.recv(_CHUNK)):
                missing -= len(part)
        self.struck += 1
        client.sendall(_SLOW_DOWN)

    def _pump(self, source: socket.socket, sink: socket.socket, from_server: bool) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while part := source.recv(_CHUNK):
                sink.sendall(part)
                if not from_server:
                    continue
                with self._lock:
                    sent += len(part) if self._after is not None else 0
                    hit = self._after is not None and sent > self._after and self._cuts > 0
                    if hit:
                        self._cuts -= 1
                        self.struck += 1
                if hit:
                    break
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
