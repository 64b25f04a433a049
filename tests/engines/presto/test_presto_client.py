"""Trino's client in Presto's protocol, against a server that answers as PrestoDB does."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from builders import attempt

from framework.engines.presto.client import PrestoClient
from framework.publish.trino import Column


def signature(kind: str, *arguments: Any) -> dict[str, Any]:
    return {"rawType": kind, "typeArguments": [], "literalArguments": [], "arguments": [{"kind": "X", "value": one} for one in arguments]}


COLUMNS = [
    {"name": "n", "type": "bigint", "typeSignature": signature("bigint")},
    {"name": "at", "type": "timestamp", "typeSignature": signature("timestamp")},
    {"name": "days", "type": "array(date)", "typeSignature": signature("array", signature("date"))},
    {
        "name": "pair",
        "type": "row(a integer)",
        "typeSignature": signature("row", {"fieldName": {"name": "a", "delimited": False}, "typeSignature": "integer"}),
    },
]
ROW = [1, "2024-01-02 03:04:05.678", ["2024-01-02", None], [7]]


class Server(ThreadingHTTPServer):
    asked: list[tuple[dict[str, str], str]]


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        sql = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append(({name.lower(): value for name, value in self.headers.items()}, sql))
        answer = {"id": "q", "infoUri": "x", "stats": {"state": "FINISHED", "processedRows": 5}, "columns": COLUMNS, "data": [ROW]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Presto-Set-Session", "join_distribution_type=BROADCAST")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Answers)
    made.asked = []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def client(server: Server) -> PrestoClient:
    return PrestoClient(f"http://127.0.0.1:{server.server_port}", "ann", {"ops_password": "a=b, c%d"})


def test_every_header_has_prestos_name_and_credentials_come_encoded(client: PrestoClient, server: Server) -> None:
    client.execute("SELECT 'ü'", session={"query_max_run_time": "5m"})
    ((headers, sql),) = server.asked
    assert sql == "SELECT 'ü'"
    told = {name.removeprefix("x-presto-"): value for name, value in headers.items() if name.startswith("x-presto-")}
    assert (told["user"], told["catalog"], told["session"]) == ("ann", "hive", "query_max_run_time=5m")
    assert told["extra-credential"] == "ops_password=a%3Db%2C+c%25d"
    assert not [name for name in headers if name.startswith("x-trino-")]


def test_values_have_their_types_and_a_row_stays_a_list(client: PrestoClient) -> None:
    result = client.execute("SELECT 1")
    assert result.rows == [[1, dt.datetime(2024, 1, 2, 3, 4, 5, 678000), [dt.date(2024, 1, 2), None], [7]]]
    assert (result.columns, result.read_rows) == (["n", "at", "days", "pair"], 5)


def test_columns_of_a_table_are_typed_as_those_of_a_query(client: PrestoClient, server: Server) -> None:
    wanted = [Column("n", "bigint"), Column("at", "timestamp"), Column("days", "array(date)"), Column("pair", "row(a integer)")]
    assert client.columns('"hive"."a"."b"') == wanted
    assert server.asked[-1][1] == 'SELECT * FROM (\nSELECT * FROM "hive"."a"."b"\n) LIMIT 0'


def test_a_server_that_is_gone_is_told_by_its_name(client: PrestoClient, server: Server) -> None:
    server.shutdown()
    server.server_close()
    assert f"Presto at {client.url} does not answer" in str(attempt(lambda: client.execute("SELECT 1")))
