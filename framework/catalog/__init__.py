"""Catalogs: resolve a table's name to where and how its data lies."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from framework.config import model
from framework.errors import MissingExtra

if TYPE_CHECKING:
    from framework.aws import Aws


@dataclass(frozen=True)
class Column:
    """A column with its type as Spark SQL and Hive write it (`bigint`, `array<string>`)."""

    name: str
    type: str
    comment: str | None = None


@dataclass(frozen=True)
class Partition:
    """One partition of a Hive-layout table.

    Attributes:
        values: texts in the order of the table's partition keys.
        location: URI of the folder that holds its files now.
    """

    values: tuple[str, ...]
    location: str


@dataclass(frozen=True)
class TableInfo:
    """What a catalog says of a table.

    Attributes:
        name: `database.table`, lower case.
        format: `iceberg`, or the Hive layout's file format: parquet, orc, csv, json.
        location: URI of the table.
        columns: without the partition keys.
        partition_keys: of a Hive-layout table; an Iceberg table keeps its partitioning in its own metadata.
        options: Spark reader options that say the same as the SerDe.
        parameters: the catalog's own, unchanged.
        version: what a conditional update compares (Glue: VersionId; Hive: location and time of the last change).
        raw: the catalog's own record, for updates that keep what they do not know.
    """

    name: str
    format: str
    location: str
    columns: tuple[Column, ...]
    partition_keys: tuple[Column, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def all_columns(self) -> tuple[Column, ...]:
        return (*self.columns, *self.partition_keys)

    @property
    def is_iceberg(self) -> bool:
        return self.format == "iceberg"


class Catalog(Protocol):
    """Resolves names, and makes changes to Hive-layout tables visible.

    Iceberg tables are changed by Iceberg's own commits; here they are only resolved.
    """

    def find(self, name: str) -> TableInfo | None:
        """The table, or None when there is no such table or database."""

    def tables(self) -> list[TableInfo]:
        """Every table of every database, by name."""

    def partitions(self, table: TableInfo, expression: str | None = None) -> list[Partition]:
        """Partitions of a Hive-layout table; `expression` is evaluated by the catalog (`flight_date = '2013-01-15'`)."""

    def ensure_database(self, database: str) -> str:
        """Create a database under the warehouse when it is not there; returns its location."""

    def create(self, table: TableInfo, comment: str | None = None) -> TableInfo:
        """Create a Hive-layout external table.

        Raises:
            PublishConflict: another run created it meanwhile.
        """

    def put_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        """Register partitions, or switch those that exist to their new location."""

    def delete_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        """Forget partitions; their files stay."""

    def switch(self, table: TableInfo, location: str) -> None:
        """Point an unpartitioned table at another location.

        Raises:
            PublishConflict: the table changed since `table` was read.
        """

    def drop(self, name: str) -> None:
        """Forget a table; its files stay. A table that is not there is not an error."""


def _glue(settings: model.Catalog, aws: Aws, uri: str | None) -> Catalog:
    loaded: Catalog = importlib.import_module("framework.catalog.glue").GlueCatalog(settings, aws)
    return loaded


def _hive(settings: model.Catalog, aws: Aws, uri: str | None) -> Catalog:
    try:
        module = importlib.import_module("framework.catalog.hive")
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.split(".")[0] == "framework":
            raise
        raise MissingExtra(
            f"catalog.kind hive needs the package {exc.name!r}, which is not installed", fix="pip install 'emrjobs[hive]'"
        ) from exc
    loaded: Catalog = module.HiveCatalog(settings, uri or "")
    return loaded


_LOADERS: Mapping[str, Callable[[model.Catalog, Aws, str | None], Catalog]] = {"glue": _glue, "hive": _hive}


def open_catalog(settings: model.Catalog, aws: Aws, uri: str | None) -> Catalog:
    """The catalog that the settings name.

    Args:
        uri: address of the metastore where the catalog is one.

    Raises:
        MissingExtra: its client is not installed.
    """
    return _LOADERS[settings.kind](settings, aws, uri)
