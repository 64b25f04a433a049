"""`daily_etl`: a warm `make run` against spark-submit, and the framework's own part inside one warm session."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import handwritten, measure
from framework.config.loader import load
from framework.discovery import discover
from framework.engines.spark import conf
from framework.jobs import Job
from framework.local import artifacts, spark_jvm
from framework.local.target import open_platform
from framework.platform import Platform
from framework.runner import run_job

ROOT = Path(__file__).parents[1]
LOG = ROOT / ".local" / "bench" / "run.log"
DAY = "2013-01-15"
PEER_TABLE = "marts.handwritten_performance"


def results(rounds: int) -> str:
    """A section in Markdown."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform:
        _connect_peer(platform)
        whole = _whole(rounds, platform)
        inside = _inside(max(rounds, 7), platform)
    submit, make = measure.median(whole["spark-submit"]), measure.median(whole["make run"])
    hand, bare, full = (measure.median(inside[name]) for name in ("hand-written", "run_job", "run_job with checks"))
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
            "| what | wall s | ratio | goal |",
            "|---|---|---|---|",
            f"| the hand-written function: read, aggregate, overwrite the partition | {hand:.2f} | 1 | |",
            f"| `run_job` without checks: resolve, stage, publish, two records, a log | {bare:.2f} | {measure.ratio(inside, 'run_job', 'hand-written'):.2f} | 1.05 |",
            f"| `run_job` with its 9 checks on the staged rows | {full:.2f} | {measure.ratio(inside, 'run_job with checks', 'hand-written'):.2f} | |",
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
        str(Path(sys.executable).with_name("spark-submit")),
        *("--properties-file", str(file), "--jars", ",".join(map(str, jars))),
        *(str(ROOT / "benchmarks" / "handwritten.py"), DAY, PEER_TABLE),
    ]
    run = ["make", "-C", str(ROOT), "run", "JOB=daily_etl", f"DATE={DAY}"]
    return measure.in_turn(
        rounds,
        {"spark-submit": lambda: measure.command(submit, env=env, log=LOG), "make run": lambda: measure.command(run, log=LOG)},
        warm_up=2,
    )


def _inside(rounds: int, platform: Platform) -> dict[str, list[measure.Cost]]:
    job = discover(ROOT).get("daily_etl")
    unchecked = Job(**{**vars(job), "checks": None})
    with platform.spark() as spark:
        conf.prepare(spark, platform.aws)

        @contextlib.contextmanager
        def same_session(_: Mapping[str, str]) -> Iterator[Any]:
            yield spark

        platform._start_spark = same_session
        return measure.in_turn(
            rounds,
            {
                "hand-written": lambda: measure.block(lambda: handwritten.daily_performance(spark, DAY, PEER_TABLE)),
                "run_job": lambda: measure.block(lambda: run_job(unchecked, {"date": DAY}, platform)),
                "run_job with checks": lambda: measure.block(lambda: run_job(job, {"date": DAY}, platform)),
            },
            warm_up=3,
        )
