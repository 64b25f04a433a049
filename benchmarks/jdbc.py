"""PostgreSQL to Parquet on S3: Spark's defaults, hand-made bounds, and what a `Jdbc` input does by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

from benchmarks import measure
from framework import Jdbc
from framework.config.loader import load
from framework.engines.spark import conf
from framework.engines.spark.databases import Databases
from framework.local.target import open_platform
from framework.platform import Platform
from framework.sources import jdbc

ROOT = FilePath(__file__).parents[1]
ROWS = 5_000_000
SKEWED_ROWS = 2_000_000
OUT = "s3://emrjobs-raw/bench/jdbc"

_COLUMNS = "random() as value, 'name-' || (i % 5000) as name, timestamp '2024-01-01' + i * interval '1 second' as at, (i % 100000) / 100.0 as amount"
TABLES = {
    "bench_even": f"select i as id, (i % 1000)::int as grp, {_COLUMNS} from generate_series(1::bigint, {ROWS}) i",
    # Zipf: the key n/i; nine of ten rows have a key below a thousandth of the largest.
    "bench_skewed": f"select ({SKEWED_ROWS} / i)::bigint * 1000000 + i % 1000 as id, {_COLUMNS} from generate_series(1::bigint, {SKEWED_ROWS}) i",
}


def results(rounds: int) -> str:
    """A section in Markdown."""
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform, _tables(platform), platform.spark() as spark:
        conf.prepare(spark, platform.aws)
        even = _compare(spark, platform, "bench_even", rounds)
        skewed = _compare(spark, platform, "bench_skewed", rounds)
    default, manual, skew = (
        measure.ratio(costs, peer, "Jdbc input") for costs, peer in ((even, "default"), (even, "manual"), (skewed, "manual"))
    )
    read = measure.ratio(even, "manual, read only", "Jdbc input, read only")
    skew_read = measure.ratio(skewed, "manual, read only", "Jdbc input, read only")
    return "\n".join(
        [
            "## PostgreSQL to Parquet on S3",
            "",
            "Manual bounds are a key's least and greatest value in 4 partitions, with fetchsize 10000. `noop` computes every row and writes none:",
            "to Parquet, most of the time goes into Spark's writer, which is the same for all. A `Jdbc` input takes its values in binary.",
            "",
            "| what | Spark's default, s | manual bounds, s | `Jdbc` input, s | times as fast as default (goal) | as manual (goal) | as manual, `noop` |",
            "|---|---|---|---|---|---|---|",
            f"| {ROWS:,} rows, dense key | {_cells(even)} | {default:.2f} (3) | {manual:.2f} (1.5) | {read:.2f} |",
            f"| {SKEWED_ROWS:,} rows, Zipf-skewed key | {_cells(skewed)} | {measure.ratio(skewed, 'default', 'Jdbc input'):.2f} "
            f"| {skew:.2f} (2) | {skew_read:.2f} |",
        ]
    )


def _cells(costs: dict[str, list[measure.Cost]]) -> str:
    return " | ".join(f"{measure.median(costs[name]):.1f}" for name in ("default", "manual", "Jdbc input"))


def _compare(spark: Any, platform: Platform, table: str, rounds: int) -> dict[str, list[measure.Cost]]:
    read = jdbc.resolve("rows", Jdbc("airline_ops", table), {}, platform.settings.connections, platform.resolver, where="benchmarks")
    plain = {key: read.properties[key] for key in ("driver", "user", "password")} | {"url": read.url, "dbtable": table}
    low, high = spark.read.format("jdbc").options(**plain).load().selectExpr("min(id)", "max(id)").head()
    bounds = {"partitionColumn": "id", "lowerBound": str(low), "upperBound": str(high + 1), "numPartitions": "4", "fetchsize": "10000"}

    def ours(write: Callable[[Any], None]) -> None:
        with Databases(spark, {"rows": read}) as databases:
            write(databases.frame(read))

    def spark_reads(options: dict[str, str], write: Callable[[Any], None]) -> None:
        write(spark.read.format("jdbc").options(**plain, **options).load())

    def parquet(frame: Any) -> None:
        frame.write.mode("overwrite").parquet(OUT)

    def noop(frame: Any) -> None:
        frame.write.mode("overwrite").format("noop").save()

    return measure.in_turn(
        rounds,
        {
            "default": lambda: measure.block(lambda: spark_reads({}, parquet)),
            "manual": lambda: measure.block(lambda: spark_reads(bounds, parquet)),
            "Jdbc input": lambda: measure.block(lambda: ours(parquet)),
            "manual, read only": lambda: measure.block(lambda: spark_reads(bounds, noop)),
            "Jdbc input, read only": lambda: measure.block(lambda: ours(noop)),
        },
    )


@contextmanager
def _tables(platform: Platform) -> Iterator[None]:
    import psycopg

    entry, text = platform.settings.connections["airline_ops"], platform.resolver.text
    with psycopg.connect(
        host=text(entry.host),
        port=text(entry.port),
        user=text(entry.user),
        password=text(entry.password or ""),
        dbname=entry.database,
        autocommit=True,
    ) as connection:
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
