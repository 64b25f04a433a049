"""PostgreSQL to Parquet: Spark's defaults, hand-made bounds, and what a `Jdbc` input does by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from benchmarks import measure
from framework import Jdbc
from framework.config.loader import load
from framework.engines.spark import conf
from framework.engines.spark.databases import Databases
from framework.local.target import open_platform
from framework.platform import Platform
from framework.sources import jdbc, postgresql

ROOT = FilePath(__file__).parents[1]
ROWS = 5_000_000
SKEWED_ROWS = 2_000_000
OUT = "s3://emrjobs-raw/bench/jdbc"
Write: TypeAlias = Callable[[Any], None]

_COLUMNS = "random() as value, 'name-' || (i % 5000) as name, timestamp '2024-01-01' + i * interval '1 second' as at, (i % 100000) / 100.0 as amount"
TABLES = {
    "bench_even": f"select i as id, (i % 1000)::int as grp, {_COLUMNS} from generate_series(1::bigint, {ROWS}) i",
    # Zipf: the key n/i; nine of ten rows have a key below a thousandth of the largest.
    "bench_skewed": f"select ({SKEWED_ROWS} / i)::bigint * 1000000 + i % 1000 as id, {_COLUMNS} from generate_series(1::bigint, {SKEWED_ROWS}) i",
}


def results(rounds: int) -> str:
    """A section in Markdown."""
    with (
        open_platform(load(ROOT, "embedded"), lambda event: None) as platform,
        _tables(platform),
        platform.spark() as spark,
        tempfile.TemporaryDirectory() as folder,
    ):
        conf.prepare(spark, platform.aws)
        outs: dict[str, Write] = {
            "Parquet on a disk": lambda frame: frame.write.mode("overwrite").parquet(f"{FilePath(folder).as_uri()}/jdbc"),
            "Parquet on S3": lambda frame: frame.write.mode("overwrite").parquet(OUT),
            "nowhere (`noop`)": lambda frame: frame.write.mode("overwrite").format("noop").save(),
        }
        lines = []
        for table, what, default_goal, manual_goal in (
            ("bench_even", f"{ROWS:,} rows, dense key", " (3)", " (1.5)"),
            ("bench_skewed", f"{SKEWED_ROWS:,} rows, Zipf-skewed key", "", " (2)"),
        ):
            contenders = _contenders(spark, platform, table)
            for out, write in outs.items():
                costs = measure.in_turn(rounds, {name: partial(_cost, read, write) for name, read in contenders.items()})
                seconds = " | ".join(f"{measure.median(costs[name]):.1f}" for name in contenders)
                goals = ("", "") if "noop" in out else (default_goal, manual_goal)
                ratios = [measure.ratio(costs, peer, "ours") for peer in ("default", "manual")]
                lines.append(
                    f"| {what} | {out} | {seconds} | {' | '.join(f'{ratio:.2f}{goal}' for ratio, goal in zip(ratios, goals, strict=True))} |"
                )
    return "\n".join(
        [
            "## PostgreSQL to Parquet",
            "",
            "Manual bounds are a key's least and greatest value in 4 partitions, with fetchsize 10000. A `Jdbc` input takes its values in",
            "binary. To Parquet, most of the time goes into Spark's writer, which is the same for all, and to S3 into the server too, which",
            "shares the two cores. `noop` computes every row and writes none.",
            "",
            "| what | to | Spark's default, s | manual bounds, s | `Jdbc` input, s | times as fast as default (goal) | as manual (goal) |",
            "|---|---|---|---|---|---|---|",
            *lines,
        ]
    )


def _cost(read: Callable[[Write], None], write: Write) -> measure.Cost:
    return measure.block(lambda: read(write))


def _contenders(spark: Any, platform: Platform, table: str) -> dict[str, Callable[[Write], None]]:
    """Ways to read a table, each of which hands its frame to what writes it."""
    read = jdbc.resolve("rows", Jdbc("airline_ops", table), {}, platform.settings.connections, platform.resolver, where="benchmarks")
    plain = {key: read.properties[key] for key in ("driver", "user", "password")} | {"url": read.url, "dbtable": table}
    low, high = spark.read.format("jdbc").options(**plain).load().selectExpr("min(id)", "max(id)").head()
    bounds = {"partitionColumn": "id", "lowerBound": str(low), "upperBound": str(high + 1), "numPartitions": "4", "fetchsize": "10000"}

    def ours(write: Write) -> None:
        with Databases(spark, {"rows": read}) as databases:
            write(databases.frame(read))

    def spark_reads(options: dict[str, str], write: Write) -> None:
        write(spark.read.format("jdbc").options(**plain, **options).load())

    return {"default": partial(spark_reads, {}), "manual": partial(spark_reads, bounds), "ours": ours}


@contextmanager
def _tables(platform: Platform) -> Iterator[None]:
    with postgresql.connect(platform.open_connection("airline_ops")) as connection:
        connection.autocommit = True
        for name, query in TABLES.items():
            connection.execute(f"drop table if exists {name}")  # type: ignore[call-overload]
            connection.execute(f"create table {name} as {query}")  # type: ignore[call-overload]
            connection.execute(f"alter table {name} alter column amount type numeric(12,2)")  # type: ignore[call-overload]
            connection.execute(f"create index on {name} (id)")  # type: ignore[call-overload]
            connection.execute(f"analyze {name}")  # type: ignore[call-overload]
        try:
            yield
        finally:
            connection.execute(f"drop table {', '.join(TABLES)}")  # type: ignore[call-overload]
