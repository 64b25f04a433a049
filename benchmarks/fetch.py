"""Five million rows of a lake table to Python: `fetch_batches` and `fetch_arrow` against Trino's own client with its defaults."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from framework import query
from framework.config.loader import load
from framework.local.target import open_platform
from framework.platform import Platform

ROOT = Path(__file__).parents[1]
ROWS = 5_000_000
TABLE = "bench.orders"
QUERY = f"SELECT orderkey, custkey, orderstatus, totalprice, orderdate, clerk FROM {TABLE}"
SMALL = f"{QUERY} WHERE orderkey <= (SELECT max(orderkey) / 4 FROM {TABLE})"


def results(rounds: int) -> str:
    """A section in Markdown."""
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform:
        _make(platform)
    ways = ("client", "batches", "table")
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    quarter = _measure("batches", SMALL)  # and the server is warm for all
    for _ in range(rounds):
        for way in ways:
            found[way].append(_measure(way, QUERY))
    titles = {"client": "Trino's client, defaults, row by row", "batches": "`fetch_batches`", "table": "`fetch_arrow`"}
    lines = [
        f"## {ROWS:,} rows x 6 columns of a lake table to Python",
        "",
        "bigint, bigint, varchar, double, date, varchar; each in a process of its own, from the query to the last row. The server has the",
        "spooling protocol on, which the client asks for by itself.",
        "",
        "| how | s | rows/s | times as fast (goal 3) | peak memory, MiB |",
        "|---|---|---|---|---|",
    ]
    for way in ways:
        seconds = statistics.median(one["seconds"] for one in found[way])
        faster = statistics.median(peer["seconds"] / one["seconds"] for peer, one in zip(found["client"], found[way], strict=True))
        memory = statistics.median(one["memory"] for one in found[way])
        lines.append(f"| {titles[way]} | {seconds:.1f} | {ROWS / seconds:,.0f} | {faster:.2f} | {memory:,.0f} |")
    return "\n".join(
        [
            *lines,
            "",
            f"A quarter of the rows by `fetch_batches`: peak memory {quarter['memory']:,.0f} MiB, of which {quarter['before']:,.0f} MiB before the query.",
        ]
    )


def _make(platform: Platform) -> None:
    from framework.engines.trino.client import TrinoClient

    if platform.catalog.find(TABLE) is not None:
        return
    platform.catalog.ensure_database("bench")
    client = TrinoClient(platform.trino_url(()), "bench")
    columns = "orderkey, custkey, orderstatus, totalprice, orderdate, clerk"
    client.execute(f"CREATE TABLE iceberg.{TABLE} AS SELECT {columns} FROM tpch.sf10.orders WHERE orderkey <= 20000000")


def _measure(way: str, sql: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.fetch", way, sql], cwd=ROOT, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _client(platform: Platform, sql: str) -> Callable[[], int]:
    from urllib.parse import urlsplit

    from trino.dbapi import connect

    at = urlsplit(platform.trino_url(()))

    def act() -> int:
        with connect(host=at.hostname, port=at.port, user="bench", catalog="iceberg") as connection:
            return sum(1 for _ in connection.cursor().execute(sql))

    return act


def _arrow(platform: Platform, sql: str, *, whole: bool) -> Callable[[], int]:
    import pyarrow.dataset
    import pyarrow.fs
    import pyarrow.parquet  # noqa: F401

    platform.trino_url(())

    def act() -> int:
        with query.fetch(platform, sql, {}) as found:
            assert found.unloads
            return int(found.table().num_rows) if whole else sum(batch.num_rows for batch in found.batches())

    return act


def main() -> None:
    """One measurement in this process, printed as JSON: seconds, rows, MiB before and at the peak."""
    way, sql = sys.argv[1:]
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform:
        act = _client(platform, sql) if way == "client" else _arrow(platform, sql, whole=way == "table")
        before = _memory()
        begun = time.perf_counter()
        rows = act()
        seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "rows": rows, "before": before, "memory": _memory()}))


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
