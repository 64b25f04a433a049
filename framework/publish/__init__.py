"""Write, audit, publish: a run's rows are written where no reader looks, and one catalog commit makes them visible."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias
from urllib.parse import unquote

from framework.catalog import Catalog, TableInfo
from framework.errors import SchemaMismatch
from framework.jobs import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Staged:
    """Rows of one run that no reader sees yet.

    Attributes:
        rows: how many were written.
        location: the folder or file names that hold them, for messages.
    """

    rows: int
    location: str


@dataclass(frozen=True)
class Published:
    """What one commit made visible.

    Attributes:
        table: `database.table`.
        rows: as staged.
        partitions: `column=value/...` of each partition that they lie in, sorted; empty for an unpartitioned table.
        version: the table's version afterwards (Iceberg: snapshot id; Hive layout: run folder).
        previous: the version before, None for a new table.
    """

    table: str
    rows: int
    partitions: tuple[str, ...]
    version: str | None
    previous: str | None


RUNS = "_runs"
"""Folder of a table below which each run has its own."""

_STAGE_MARK = "__stage_"


def staging_name(table: str, run_id: str) -> str:
    """Name under which a table that does not exist yet is staged."""
    return f"{table}{_STAGE_MARK}{run_id.replace('-', '_').lower()}"


def is_staging_name(table: str) -> bool:
    """True for a table that only a run in progress (or one that crashed) knows."""
    return _STAGE_MARK in table


def partition_values(name: str) -> tuple[str, ...]:
    """The values in `column=value/...`."""
    return tuple(unquote(part.split("=", 1)[1]) for part in name.split("/"))


class Area(Protocol):
    """The way of one run's rows into one table, from the point where they are staged; how they get there is the engine's."""

    def publish(self) -> Published:
        """Make the staged rows visible in one commit.

        Raises:
            PublishConflict: somebody else changed the same data and trying again did not help; readers see theirs.
        """

    def discard(self) -> None:
        """Remove what was staged and not published. Safe to call at any time."""


class StagingArea(Area, Protocol):
    """The way of one run's DataFrame into one table."""

    def write(self, frame: DataFrame) -> Staged:
        """Compute the rows and write them where no reader looks.

        Raises:
            SchemaMismatch: they do not fit the table.
        """

    def read(self) -> DataFrame:
        """The staged rows as they were written, for the checks."""


Way: TypeAlias = Literal["iceberg", "hive", "merge"]
"""How rows get into a table of the catalog."""

_LOADERS: Mapping[Way, tuple[str, str]] = {
    "iceberg": ("framework.publish.iceberg", "IcebergArea"),
    "hive": ("framework.publish.hive", "HiveArea"),
    "merge": ("framework.publish.merge", "MergeArea"),
}


def way_of(output: Table, existing: TableInfo | None, *, where: str | None = None) -> Way:
    """How an output is published, whatever engine computes it.

    An existing table keeps the format that it has; the job's format says how a new one is created.

    Raises:
        SchemaMismatch: the mode is none that the table's format has.
    """
    table_format = existing.format if existing else output.format
    if output.write_mode != "merge":
        return "iceberg" if table_format == "iceberg" else "hive"
    if table_format != "iceberg":
        raise SchemaMismatch(
            f"table {output.name} is {table_format}; only Iceberg tables can be merged into",
            where=where,
            fix="use another table or mode",
        )
    return "merge"


def open_area(spark: SparkSession, catalog: Catalog, output: Table, run_id: str, *, where: str | None = None) -> StagingArea:
    """The staging area of one run for its output.

    Raises:
        SchemaMismatch: the mode is none that the table's format has.
    """
    existing = catalog.find(output.name)
    module, name = _LOADERS[way_of(output, existing, where=where)]
    area: StagingArea = getattr(importlib.import_module(module), name)(spark, catalog, output, run_id, existing)
    return area
