"""A node without anything on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from framework.local.aws.emr.contract import Work, WorkKind
from framework.local.aws.emr.execution.node import Node


def node(root: Path, **changes: Any) -> Node:
    values: dict[str, Any] = {
        "cluster": "j-1",
        "release": "emr-7.12.0",
        "region": "us-east-1",
        "root": root / "node",
        "hdfs": root / "hdfs",
        "applications": frozenset({"hadoop", "spark"}),
        "java_home": root / "java",
        "spark_home": root / "spark",
        "jars": (root / "jars/spark-avro_2.12-3.5.6.0123.jar",),
        "python": root / "python",
    }
    return Node(**{**values, **changes})


def step(*args: str, jar: str = "command-runner.jar", work_id: str = "s-1", kind: WorkKind = WorkKind.STEP, **changes: Any) -> Work:
    return Work(work_id, kind, "a step", jar, args, log_key=f"j-1/steps/{work_id}", **changes)
