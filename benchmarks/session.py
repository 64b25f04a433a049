"""Seconds from the start of Python to the end of a session's first query."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks import measure

ROOT = Path(__file__).parents[1]
LOG = ROOT / ".local" / "bench" / "session.log"

QUERY = "print(spark.range(1000).selectExpr('sum(id)').collect()[0][0])"

DEFAULT = f"""
import os, sys
os.environ["PYSPARK_PYTHON"] = sys.executable
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[*]").config("spark.jars", os.environ["BENCH_JARS"]).getOrCreate()
{QUERY}
spark.stop()
"""

OURS = f"""
from pathlib import Path
from framework.engines.spark import session
from framework.local import spark_jvm
launch = spark_jvm.own_jvm(Path.cwd(), on_progress=lambda text, done=None, total=None: None)
with session.start({{"spark.sql.shuffle.partitions": "2"}}, launch=launch) as spark:
    {QUERY}
"""

WARM = f"""
from pathlib import Path
from framework.engines.spark import session
from framework.local import spark_jvm
from framework.local.supervisor import Supervisor
warm = spark_jvm.warm_jvm(Supervisor(Path.cwd()).up(["spark"])["spark"])
with session.start({{"spark.sql.shuffle.partitions": "2"}}, warm=warm) as spark:
    {QUERY}
"""


def results(rounds: int) -> str:
    """A section in Markdown."""
    from framework.local import artifacts, spark_jvm

    LOG.parent.mkdir(parents=True, exist_ok=True)
    spark_jvm.train_archive()
    jars = artifacts.ensure_jars("spark", lambda text, done=None, total=None: None)
    home = artifacts.ensure_jdk(spark_jvm.JAVA, lambda text, done=None, total=None: None)
    env = {**os.environ, "BENCH_JARS": ",".join(map(str, jars)), "JAVA_HOME": str(home)}
    programs = {"default": DEFAULT, "AppCDS": OURS, "warm": WARM}
    costs = measure.in_turn(
        rounds, {name: lambda text=text: measure.command([sys.executable, "-c", text], env=env, log=LOG) for name, text in programs.items()}
    )
    return "\n".join(
        [
            "## Spark session, start of Python to end of the first query",
            "",
            "| how | wall s | ratio | goal |",
            "|---|---|---|---|",
            f"| pyspark's default, the same jars by `spark.jars` | {measure.median(costs['default']):.1f} | 1 | |",
            f"| own JVM with the class archive | {measure.median(costs['AppCDS']):.1f} | {measure.ratio(costs, 'AppCDS', 'default'):.2f} | 0.6 |",
            f"| the warm JVM | {measure.median(costs['warm']):.1f} | {measure.ratio(costs, 'warm', 'default'):.2f} | |",
        ]
    )
