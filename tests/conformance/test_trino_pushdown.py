"""What of a federated statement reaches the systems that it reads, by their own logs."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sample_figures as figures

from framework import query
from framework.local.supervisor import Supervisor
from framework.platform import Platform

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]

SQL = """
SELECT f.carrier, count(*) AS flights, max(a.name) AS name
FROM airline_ops.public.flights AS f
JOIN search.default.airports AS a ON a.faa = f.dest
WHERE f.flight_date = DATE '2013-01-15' AND a.tzone = 'America/Chicago'
GROUP BY f.carrier
"""


def test_filters_and_only_the_needed_columns_reach_postgresql_and_opensearch(platform: Platform) -> None:
    logs = platform.root / ".local" / "logs"
    text = platform.resolver.text
    airports = figures.read("airports.csv")
    central = airports[airports.tzone == "America/Chicago"].faa
    flights = figures.flights_of(dt.date(2013, 1, 15))
    expected = flights[flights.dest.isin(central)].groupby("carrier").size().to_dict()
    with postgresql_logs_statements(platform), opensearch_logs_queries(text("${local:opensearch.url}"), "airports"):
        in_postgresql = found(logs / "postgres.log", r'SELECT (.*) FROM "airline_ops"\."public"\."flights" WHERE (.*)')
        in_opensearch = found(logs / "opensearch.log", r"\[airports\].* source\[(.*)\], id\[\]")
        columns, rows, _ = query.run_trino_query(platform, SQL, 100)
        assert columns == ["carrier", "flights", "name"]
        assert {carrier: number for carrier, number, _ in rows} == expected
        asked, predicate = in_postgresql().groups()
        source: Any = json.loads(in_opensearch()[1])
    assert {name.strip('" ') for name in asked.split(",")} == {"carrier", "dest"}
    assert '"flight_date" =' in predicate
    assert sorted(source["_source"]["includes"]) == ["faa", "name"]
    assert source["query"]["bool"]["filter"] == [{"term": {"tzone": {"value": "America/Chicago", "boost": 1.0}}}]


def found(log: Path, pattern: str) -> Callable[[], re.Match[str]]:
    """Waits for a line that is written from now on."""
    start = log.stat().st_size

    def wait() -> re.Match[str]:
        deadline = time.monotonic() + 120
        while True:
            with log.open("rb") as file:
                file.seek(start)
                written = file.read().decode(errors="replace")
            if match := re.search(pattern, written):
                return match
            assert time.monotonic() < deadline, written[-2000:]
            threading.Event().wait(0.1)

    return wait


@contextmanager
def postgresql_logs_statements(platform: Platform) -> Iterator[None]:
    database = platform.open_connection("airline_ops")
    login = {"host": database.host, "port": database.port, "user": database.user, "password": database.password}
    with psycopg.connect(**login, dbname=database.name, autocommit=True) as connection:
        try:
            # For connections that are opened from now on, of which Trino makes one for each scan.
            connection.execute("ALTER DATABASE airline_ops SET log_statement = 'all'")
            yield
        finally:
            connection.execute("ALTER DATABASE airline_ops RESET log_statement")


@contextmanager
def opensearch_logs_queries(url: str, index: str) -> Iterator[None]:
    def threshold(value: str | None) -> None:
        body = json.dumps({"index.search.slowlog.threshold.query.trace": value}).encode()
        request = urllib.request.Request(f"{url}/{index}/_settings", body, {"Content-Type": "application/json"}, method="PUT")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["acknowledged"]

    threshold("0ms")
    try:
        yield
    finally:
        threshold(None)


# The last one: it stops what the others read.
def test_a_query_over_the_lake_starts_neither_postgresql_nor_opensearch(platform: Platform, emrjobs: Any) -> None:
    services = Supervisor(platform.root)
    names = ["postgres", "opensearch"]
    services.down(names)
    try:
        done = emrjobs("query", "--engine", "trino", "--format", "csv", "SELECT count(*) AS n FROM reference.airlines")
        assert (done.code, done.out.split()) == (0, ["n", "16"]), done.err
        assert [one.state for one in services.status(names)] == ["stopped", "stopped"]
        asked = emrjobs("query", "--engine", "trino", "--format", "csv", "SHOW TABLES FROM airline_ops.public LIKE 'flights'")
        assert (asked.code, asked.out.split()) == (0, ["Table", "flights"]), asked.err
        assert [one.state for one in services.status(names)] == ["running", "stopped"]
    finally:
        services.up(["postgres"])
