"""Commands of a cluster's node that stand in for EMR's: each is on the cluster's PATH and runs in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """Where a command is, and the application that brings it.

    Attributes:
        module: below this package; has `function(node, arguments) -> exit code`.
    """

    application: str
    module: str
    function: str


COMMANDS = {
    "spark-submit": Command("spark", "spark", "submit"),
    "run-example": Command("spark", "spark", "run_example"),
    "spark-example": Command("spark", "spark", "run_example"),
    "spark-sql": Command("spark", "spark", "sql"),
    "spark-shell": Command("spark", "spark", "interactive"),
    "pyspark": Command("spark", "spark", "interactive"),
    "hadoop": Command("hadoop", "hadoop", "hadoop"),
    "hdfs": Command("hadoop", "hadoop", "hdfs"),
    "mapred": Command("hadoop", "hadoop", "hadoop"),
    "yarn": Command("hadoop", "hadoop", "yarn"),
    "hadoop-streaming": Command("hadoop", "hadoop", "streaming"),
    "s3-dist-cp": Command("hadoop", "s3_dist_cp", "run"),
    "state-pusher-script": Command("hadoop", "small", "state_pusher"),
    "hive": Command("hive", "hive", "hive"),
    "hive-script": Command("hive", "hive", "script"),
    "pig": Command("pig", "pig", "pig"),
    "pig-script": Command("pig", "pig", "script"),
    "trino-cli": Command("trino", "trino", "cli"),
    "trino": Command("trino", "trino", "cli"),
}
"""One line per command: the name on the PATH -> what runs it."""
