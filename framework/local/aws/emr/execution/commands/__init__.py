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
}
"""One line per command: the name on the PATH -> what runs it."""
