"""`carrier_360`, four systems in one statement: the framework's part beside the same SQL by Trino's own client."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import measure
from framework import query
from framework.config.loader import load
from framework.discovery import discover
from framework.engines.trino import statement
from framework.jobs import Sql
from framework.local.target import open_platform
from framework.platform import Platform
from framework.runner import run_job

ROOT = Path(__file__).parents[1]
LOG = ROOT / ".local" / "bench" / "federated.log"
DAY = dt.date(2013, 1, 15)


def results(rounds: int) -> str:
    """A section in Markdown."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform:
        if platform.catalog.find("marts.daily_performance") is None:
            run_job(discover(ROOT).get("daily_etl"), {"date": DAY}, platform)
        body = discover(ROOT).get("carrier_360").body
        assert isinstance(body, Sql)
        sql = statement.of(body.text, {"date": DAY}, "trino", where="carrier_360").text
        make = ["make", "-s", "run", "JOB=carrier_360", f"DATE={DAY}"]
        costs = measure.in_turn(
            rounds,
            {
                "client": lambda: measure.block(_client(platform, sql)),
                "query": lambda: measure.block(lambda: query.run_trino_query(platform, sql, 1000)),
                "make": lambda: measure.command(make, log=LOG),
            },
        )
        record = next(iter(platform.ledger.list(job="carrier_360")))
    own, ours, whole = (measure.median(costs[name]) for name in ("client", "query", "make"))
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in record.phases.items())
    return "\n".join(
        [
            "## The federated join: `carrier_360`",
            "",
            "One day: an Iceberg mart, a Parquet table, PostgreSQL and OpenSearch. The command also writes, checks and publishes the rows.",
            "",
            "| what | s | over the client, s | goal |",
            "|---|---|---|---|",
            f"| the SELECT by Trino's client | {own:.2f} | | |",
            f"| the same by `emrjobs query`, without the command's start | {ours:.2f} | {ours - own:.2f} | 5 % + 0.3 |",
            f"| `make run JOB=carrier_360`, warm, with its checks | {whole:.2f} | {whole - own:.2f} | 3 |",
            "",
            f"Seconds of the last run's phases: {phases}.",
        ]
    )


def _client(platform: Platform, sql: str) -> Callable[[], Any]:
    from trino.dbapi import connect

    at = urlsplit(platform.trino_url(("airline_ops", "search")))

    def act() -> Any:
        with connect(host=at.hostname, port=at.port, user="bench", catalog="iceberg") as connection:
            return connection.cursor().execute(sql).fetchall()

    return act
