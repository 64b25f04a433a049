"""How many rows each input gave, read off the plans that ran: counting costs nothing and changes no plan.

Counting with an extra query would read the input twice; an observation in the middle of a plan would stop filters and
column pruning from reaching the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from framework.engines.spark.read import ResolvedInput, TableRead
from framework.sources.paths import PathRead

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ROWS = "number of output rows"


def last_execution(spark: SparkSession) -> int:
    """Id of the newest SQL execution, -1 before the first."""
    executions = spark._jsparkSession.sharedState().statusStore().executionsList()
    return max((executions.apply(index).executionId() for index in range(executions.size())), default=-1)


def rows_read(spark: SparkSession, inputs: Mapping[str, ResolvedInput], since: int) -> dict[str, int]:
    """Rows that the scans of each input gave in the executions after `since`; an input that was not scanned is left out."""
    store = spark._jsparkSession.sharedState().statusStore()
    executions = store.executionsList()
    # The listener gets its events late: what the last task counted must have arrived.
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    found: dict[str, int] = {}
    for index in range(executions.size()):
        execution = executions.apply(index).executionId()
        if execution <= since:
            continue
        values = store.executionMetrics(execution)
        nodes = store.planGraph(execution).allNodes()
        for position in range(nodes.size()):
            node = nodes.apply(position)
            name = f"{node.name()} {node.desc()}"
            if not node.name().startswith(("Scan", "BatchScan")):
                continue
            for label, read in inputs.items():
                if _is_scan_of(name, label, read):
                    metrics = node.metrics()
                    for number in range(metrics.size()):
                        metric = metrics.apply(number)
                        value = values.get(metric.accumulatorId())
                        if metric.name() == _ROWS and value.isDefined():
                            found[label] = found.get(label, 0) + int(re.sub(r"\D", "", value.get()) or 0)
                    break
    return found


def _is_scan_of(name: str, label: str, read: ResolvedInput) -> bool:
    if isinstance(read, TableRead):
        return re.search(rf"\bspark_catalog\.{re.escape(read.info.name)}\b", name) is not None
    if isinstance(read, PathRead):
        # Spark writes file:/x where a URI has file:///x.
        return read.uri.replace("file:///", "file:/").rstrip("/") in name
    return read.query in name
