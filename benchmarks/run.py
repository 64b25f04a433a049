"""`daily_etl`: a warm `make run` against spark-submit, and the framework's own part inside one warm session."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from benchmarks import handwritten, measure
from framework import Jdbc, Path
from framework.config.loader import load
from framework.discovery import discover
from framework.engines.spark import conf
from framework.jobs import Job
from framework.local import artifacts, spark_jvm
from framework.local.target import open_platform
from framework.platform import Platform
from framework.runner import run_job
from jobs._weather import SCHEMA

ROOT = FilePath(__file__).parents[1]
LOG = ROOT / ".local" / "bench" / "run.log"
DAY = "2013-01-15"
PEER_TABLE = "marts.handwritten_performance"


def results(rounds: int) -> str:
    """A section in Markdown."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform:
        _connect_peer(platform)
        whole = _whole(rounds, platform)
        inside = _inside(rounds, platform)
    submit, make = measure.median(whole["spark-submit"]), measure.median(whole["make run"])
    day, year = inside
    return "\n".join(
        [
            "## daily_etl, whole command",
            "",
            "| command | wall s | ratio | goal |",
            "|---|---|---|---|",
            f"| spark-submit of `benchmarks/handwritten.py`, cold, without checks | {submit:.1f} | 1 | |",
            f"| `make run JOB=daily_etl`, warm, with its checks | {make:.1f} | {measure.ratio(whole, 'make run', 'spark-submit'):.2f} | 0.5 |",
            "",
            "## daily_etl, inside one warm session",
            "",
            "The hand-written function reads, aggregates and overwrites partitions: in place, and staged and published as `run_job` does it",
            "(`spark.wap.id` and `CALL publish_changes`, the same writes). `run_job` also looks its inputs up, takes a lease, counts the rows of",
            "each input, and keeps two records and a log; without its checks, and with them. What that takes (its own part) does not grow",
            "with the data: the goal of 1.05 is kept where the writes take twenty times as long as that.",
            "",
            "| what | in place, s | staged and published, s | `run_job` without checks, s | its own part, ms "
            "| ratio to the same writes (goal 1.05) | ratio to in place | with its 9 checks, s |",
            "|---|---|---|---|---|---|---|---|",
            *_rows("one day (894 flights, 1 partition)", day),
            *_rows("the year (336,776 flights, 365 partitions)", year),
        ]
    )


def _connect_peer(platform: Platform) -> None:
    connection = platform.settings.connections["airline_ops"]
    text = platform.resolver.text
    os.environ["BENCH_JDBC_URL"] = f"jdbc:postgresql://{text(connection.host)}:{text(connection.port)}/{connection.database}"
    os.environ["BENCH_JDBC_USER"] = text(connection.user)
    os.environ["BENCH_JDBC_PASSWORD"] = text(connection.password)


def _whole(rounds: int, platform: Platform) -> dict[str, list[measure.Cost]]:
    def quiet(*args: Any) -> None: ...

    jars = artifacts.ensure_jars("spark", quiet)
    properties = conf.derive(platform.settings, platform.aws, project=str(ROOT))
    keys = platform.aws.credentials()
    assert keys is not None
    # As a team would: properties in a file, jars by --jars, the AWS SDK's keys in the environment.
    folder = LOG.parent / "spark"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "spark-defaults.conf"
    chain = "spark.sql.catalog.spark_catalog.client.credentials-provider"
    file.write_text("".join(f"{key} {value}\n" for key, value in properties.items() if key != chain), encoding="utf-8")
    file.chmod(0o600)
    env = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": keys[0],
        "AWS_SECRET_ACCESS_KEY": keys[1],
        "JAVA_HOME": str(artifacts.ensure_jdk(spark_jvm.JAVA, quiet)),
        "PYSPARK_PYTHON": sys.executable,
    }
    submit = [
        str(FilePath(sys.executable).with_name("spark-submit")),
        *("--properties-file", str(file), "--jars", ",".join(map(str, jars))),
        *(str(ROOT / "benchmarks" / "handwritten.py"), DAY, PEER_TABLE),
    ]
    run = ["make", "-C", str(ROOT), "run", "JOB=daily_etl", f"DATE={DAY}"]
    return measure.in_turn(
        rounds,
        {"spark-submit": lambda: measure.command(submit, env=env, log=LOG), "make run": lambda: measure.command(run, log=LOG)},
        warm_up=2,
    )


def _rows(what: str, costs: dict[str, list[measure.Cost]]) -> list[str]:
    cells = [f"{measure.median(costs[name]):.2f}" for name in ("in place", "same writes", "run_job")]
    own = statistics.median(ours.wall - peer.wall for ours, peer in zip(costs["run_job"], costs["same writes"], strict=True))
    cells += [f"{1000 * own:.0f}", *(f"{measure.ratio(costs, 'run_job', peer):.2f}" for peer in ("same writes", "in place"))]
    checked = costs.get("run_job with checks")
    return [f"| {what} | {' | '.join(cells)} | {f'{measure.median(checked):.2f}' if checked else ''} |"]


def _inside(rounds: int, platform: Platform) -> list[dict[str, list[measure.Cost]]]:
    """Costs for one day, and for the year."""
    daily = discover(ROOT).get("daily_etl")
    with platform.spark() as spark:
        conf.prepare(spark, platform.aws)

        @contextlib.contextmanager
        def same_session(_: Mapping[str, str]) -> Iterator[Any]:
            yield spark

        platform._start_spark = same_session
        return [
            # A run of one day is so short that it takes the JVM ten of them to compile what it needs, and many to tell them apart.
            _compare(spark, platform, daily, DAY, PEER_TABLE, 3 * rounds, warm_up=10),
            _compare(spark, platform, year(daily), None, f"{PEER_TABLE}_of_year", rounds, warm_up=2),
        ]


def _compare(
    spark: Any, platform: Platform, job: Job, day: str | None, peer_table: str, rounds: int, warm_up: int
) -> dict[str, list[measure.Cost]]:
    given = {"date": DAY}
    # A commit writes down a table's whole history: each contender begins with none.
    plain, checked = (replace(job, output=replace(job.output, name=f"{peer_table}_{suffix}")) for suffix in ("by_run_job", "checked"))
    for table in (peer_table, f"{peer_table}_staged", plain.output.name, checked.output.name):
        spark.sql(f"DROP TABLE IF EXISTS {table}")
    contenders = {
        "in place": lambda: measure.block(lambda: handwritten.daily_performance(spark, day, peer_table)),
        "same writes": lambda: measure.block(lambda: handwritten.daily_performance(spark, day, f"{peer_table}_staged", atomic=True)),
        "run_job": lambda: measure.block(lambda: run_job(replace(plain, checks=None), given, platform)),
    }
    if job.checks:
        contenders["run_job with checks"] = lambda: measure.block(lambda: run_job(checked, given, platform))
    return measure.in_turn(rounds, contenders, warm_up=warm_up)


def year(daily: Job) -> Job:
    """`daily_etl` over everything; its checks are about one day."""
    inputs = {**daily.inputs, "flights": Jdbc("airline_ops", "flights"), "weather": Path("{raw}/weather/", "json", SCHEMA)}
    return replace(daily, inputs=inputs, output=replace(daily.output, name="marts.yearly_performance"), checks=None)
