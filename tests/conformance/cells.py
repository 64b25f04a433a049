"""The conformance table: which test proves which claim for which engine, catalog and layout, and what is not proven, and why.

`make conformance` runs these tests and prints the table. A cell is `pass`, `FAIL`, or has a declared reason; one that has neither is an
error, and so is a reason that a passing test has made untrue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

LAYOUTS = ("iceberg", "hive")
SUITES = {
    ("spark", "glue"): "test_publish",
    ("spark", "hive"): "test_hive_metastore",
    ("trino", "glue"): "test_trino",
    ("trino", "hive"): "test_trino_hive_metastore",
    ("presto", "hive"): "test_presto",
}
"""The module that holds the tests of an engine with a catalog. A layout is its tests' `table_format`; `hive` is parquet, orc, csv, json."""


APART = {"presto": "has a run of its own: `make test-presto`"}
"""Engines whose tests run only when they are asked for, and how."""


class Cell(NamedTuple):
    """One cell of the table."""

    claim: str
    engine: str
    catalog: str
    layout: str


@dataclass(frozen=True)
class Claim:
    """A row of the table.

    Attributes:
        tests: their names; with `[iceberg]` or `[hive]` behind it, a test that has no `table_format` and proves that layout.
    """

    text: str
    tests: tuple[str, ...]


CLAIMS = (
    Claim(
        "what is published is read back, awkward values too",
        ("test_what_is_published_is_what_is_read", "test_a_runs_rows_replace_the_partitions_that_it_wrote"),
    ),
    Claim(
        "a run replaces the partitions that it wrote, and no other",
        ("test_overwrite_partitions_replaces_only_the_partitions_of_the_run", "test_a_runs_rows_replace_the_partitions_that_it_wrote"),
    ),
    Claim("append keeps what is there", ("test_append_keeps_what_is_there", "test_append_adds_and_overwrite_replaces_all")),
    Claim("overwrite replaces all of it", ("test_overwrite_replaces_the_whole_table", "test_append_adds_and_overwrite_replaces_all")),
    Claim(
        "what is staged, or fails its checks, no reader sees",
        (
            "test_staged_rows_are_seen_by_the_checks_and_by_nobody_else",
            "test_failing_checks_leave_the_table_and_the_bucket_as_they_were",
        ),
    ),
    Claim(
        "of runs that publish at the same time none is lost unsaid",
        (
            "test_two_runs_of_different_partitions_of_one_iceberg_table_are_both_published[iceberg]",
            "test_two_runs_of_different_partitions[iceberg]",
            "test_the_slower_of_two_runs_that_replace_an_unpartitioned_hive_table_is_refused[hive]",
            "test_the_slower_of_two_runs_is_refused[hive]",
            "test_of_many_publishers_at_once_none_loses_a_row_and_the_last_one_replaces_all[iceberg]",
            "test_of_many_publishers_at_once_none_loses_a_row[iceberg]",
        ),
    ),
)

REASONS: Mapping[str, Iterable[tuple[str | None, str, str, str | None]]] = {
    # reason: (claim or None for all, engine, catalog, layout or None for both)
    "a Presto job publishes tables in the Hive layout only": [(None, "presto", "hive", "iceberg")],
    "no test of its own: every engine switches locations by the same call, which the Spark columns hold to it": [
        (CLAIMS[5].text, "trino", "glue", "hive"),
        (CLAIMS[5].text, "trino", "hive", "hive"),
        (CLAIMS[5].text, "presto", "hive", "hive"),
    ],
}


def cells() -> list[Cell]:
    """Every cell."""
    return [Cell(claim.text, engine, catalog, layout) for claim in CLAIMS for engine, catalog in SUITES for layout in LAYOUTS]


def proven_by(module: str, test: str, table_format: str | None) -> list[Cell]:
    """The cells that a test is a proof of."""
    found = []
    for (engine, catalog), suite in SUITES.items():
        if suite != module:
            continue
        for claim in CLAIMS:
            for name in claim.tests:
                if table_format and name == test:
                    found.append(Cell(claim.text, engine, catalog, "iceberg" if table_format == "iceberg" else "hive"))
                elif name.endswith("]") and name.partition("[")[0] == test:
                    found.append(Cell(claim.text, engine, catalog, name.partition("[")[2].rstrip("]")))
    return found


def reason(cell: Cell, only: str | None = None) -> str | None:
    """Why a cell is not proven; None when it has to be.

    Args:
        only: the engine that was asked for.
    """
    for text, places in REASONS.items():
        for claim, engine, catalog, layout in places:
            if (engine, catalog) == (cell.engine, cell.catalog) and claim in (None, cell.claim) and layout in (None, cell.layout):
                return text
    return None if cell.engine == only else APART.get(cell.engine)


def render(outcomes: Mapping[Cell, bool], only: str | None = None) -> tuple[list[str], list[str]]:
    """The table's lines, and what is wrong with it.

    Args:
        outcomes: of the cells that tests ran for: all of them passed, or not.
        only: the engine that was asked for; without it all but those with a run of their own.
    """
    notes: list[str] = []
    wrong: list[str] = []
    shown: dict[Cell, str] = {}
    for cell in cells():
        if only and cell.engine != only:
            continue
        declared = reason(cell, only)
        if cell in outcomes:
            shown[cell] = "pass" if outcomes[cell] else "FAIL"
            if outcomes[cell] and declared:
                wrong.append(f"{' '.join(cell[1:])}: {cell.claim}: it passes, and a reason says why it cannot: {declared}")
            elif not outcomes[cell]:
                wrong.append(f"{' '.join(cell[1:])}: {cell.claim}: a test failed")
        elif declared:
            notes += [declared] if declared not in notes else []
            shown[cell] = f"({notes.index(declared) + 1})"
        else:
            shown[cell] = "?"
            wrong.append(f"{' '.join(cell[1:])}: {cell.claim}: no test ran for it, and no reason is declared in tests/conformance/cells.py")
    heads = [(engine, catalog, layout) for engine, catalog in SUITES for layout in LAYOUTS if only in (None, engine)]
    wide = max(len(claim.text) for claim in CLAIMS)
    lines = [
        f"{label:<{wide}}  " + "  ".join(f"{head[number]:<7}" for head in heads).rstrip()
        for number, label in enumerate(("engine", "catalog", "layout"))
    ]
    lines.append("-" * (wide + 9 * len(heads)))
    for claim in CLAIMS:
        lines.append(f"{claim.text:<{wide}}  " + "  ".join(f"{shown[Cell(claim.text, *head)]:<7}" for head in heads).rstrip())
    lines += [f"({number}) {text}" for number, text in enumerate(notes, start=1)]
    return lines, wrong
