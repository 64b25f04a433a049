"""How many rows each input gave, read off the plans that ran: counting costs nothing and changes no plan.

Counting with an extra query would read the input twice; an observation in the middle of a plan would stop filters and
column pruning from reaching the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from framework.engines.spark.read import ResolvedInput, TableRead
from framework.sources.hdfs import without_authority
from framework.sources.paths import PathRead

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# A scan in the dot language: 12 [labelType="html" label="<b>Scan json </b><br><br>number of output rows: 72<br>..."];
_SCAN = re.compile(
    r'^\s*(?P<id>\d+) \[labelType="html" label="<b>(?P<name>(?:Batch)?Scan.*?)</b>(?P<metrics>.*?)"\];$', re.MULTILINE | re.DOTALL
)
_ROWS = re.compile(r"number of output rows: ([\d,]+)")


def last_execution(spark: SparkSession) -> int:
    """Id of the newest SQL execution, whose figures are complete when it has ended; -1 before the first."""
    # The listener gets its events late: what the last task counted must have arrived.
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    store = spark._jsparkSession.sharedState().statusStore()
    count = store.executionsCount()
    return int(store.executionsList(count - 1, 1).apply(0).executionId()) if count else -1


def rows_read(spark: SparkSession, inputs: Mapping[str, ResolvedInput], since: int, until: int) -> dict[str, int]:
    """Rows that the scans of each input gave in the executions after `since` up to `until`; an input that was not scanned is left out."""
    store = spark._jsparkSession.sharedState().statusStore()
    executions = store.executionsList()
    found: dict[str, int] = {}
    for index in range(executions.size() - 1, -1, -1):
        execution = executions.apply(index).executionId()
        if execution <= since:
            break
        if execution > until:
            continue
        graph = store.planGraph(execution)
        # The plan as one text, metrics included: asking node by node takes a hundred times the calls.
        for node in _SCAN.finditer(graph.makeDotFile(store.executionMetrics(execution))):
            rows = _ROWS.search(node["metrics"])
            label = _input_of(node["name"], inputs) or _input_of(_description(graph, int(node["id"])), inputs)
            if rows and label:
                found[label] = found.get(label, 0) + int(rows[1].replace(",", ""))
    return found


def _description(graph: Any, node: int) -> str:
    """What one node of a plan reads; a scan of files does not say it in its name."""
    nodes = graph.allNodes()
    # A node stands a little before where its id would be: the clusters that hold it come after it.
    first = min(node, nodes.size() - 1)
    around = (nodes.apply(index) for index in (*range(first, -1, -1), *range(first + 1, nodes.size())))
    return next((str(one.desc()) for one in around if one.id() == node), "")


def _input_of(scan: str, inputs: Mapping[str, ResolvedInput]) -> str | None:
    return next((label for label, read in inputs.items() if _is_scan_of(scan, read)), None)


def _is_scan_of(name: str, read: ResolvedInput) -> bool:
    if isinstance(read, TableRead):
        return re.search(rf"\bspark_catalog\.{re.escape(read.info.name)}\b", name) is not None
    if isinstance(read, PathRead):
        # Spark writes file:/x where a URI has file:///x.
        return without_authority(read.uri).replace("file:///", "file:/").rstrip("/") in without_authority(name)
    return read.mark in name
