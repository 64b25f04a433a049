"""The catalogs that the reference tables can go to: Glue, or a Hive metastore."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from framework.catalog import Column
from framework.config import model

if TYPE_CHECKING:
    from framework.local.sample.seeding import Seeding


class Tables(Protocol):
    """What a seed does with a catalog."""

    def parameters(self, database: str) -> Mapping[str, Mapping[str, str]]:
        """Table -> its parameters; empty where there is no such database."""

    def ensure_database(self, name: str) -> None:
        """Make a database under the warehouse."""

    def drop(self, database: str, table: str) -> None:
        """Forget a table, if it is there."""

    def create_external(self, database: str, table: str, columns: Mapping[str, str], storage: Mapping[str, Any], parameters: Any) -> None:
        """A Hive-layout table; `storage` as in Glue's StorageDescriptor."""

    def iceberg(self, properties: Mapping[str, str]) -> Any:
        """The same catalog as pyiceberg's."""


def open_tables(seeding: Seeding) -> Tables:
    """The metastore where the target has one, else Glue."""
    return _Hive(seeding) if seeding.target.metastore else _Glue(seeding)


class _Glue:
    def __init__(self, seeding: Seeding) -> None:
        self._glue, self._warehouse = seeding.glue, seeding.target.warehouse

    def parameters(self, database: str) -> Mapping[str, Mapping[str, str]]:
        try:
            found = self._glue.get_tables(DatabaseName=database)["TableList"]
        except self._glue.exceptions.EntityNotFoundException:
            return {}
        return {table["Name"]: table.get("Parameters", {}) for table in found}

    def ensure_database(self, name: str) -> None:
        with contextlib.suppress(self._glue.exceptions.AlreadyExistsException):
            self._glue.create_database(DatabaseInput={"Name": name, "LocationUri": f"{self._warehouse}/{name}.db"})

    def drop(self, database: str, table: str) -> None:
        with contextlib.suppress(self._glue.exceptions.EntityNotFoundException):
            self._glue.delete_table(DatabaseName=database, Name=table)

    def create_external(self, database: str, table: str, columns: Mapping[str, str], storage: Mapping[str, Any], parameters: Any) -> None:
        described: Any = {
            **storage,
            "Columns": [{"Name": column, "Type": kind} for column, kind in columns.items()],
            "Compressed": False,
            "NumberOfBuckets": -1,
        }
        self._glue.create_table(
            DatabaseName=database,
            TableInput={
                "Name": table,
                "TableType": "EXTERNAL_TABLE",
                "StorageDescriptor": described,
                "PartitionKeys": [],
                "Parameters": parameters,
            },
        )

    def iceberg(self, properties: Mapping[str, str]) -> Any:
        from pyiceberg.catalog.glue import GlueCatalog

        return GlueCatalog("sample", client=self._glue, **properties)


class _Hive:
    def __init__(self, seeding: Seeding) -> None:
        from framework.catalog.hive import HiveCatalog

        assert seeding.target.metastore is not None
        self._uri = seeding.target.metastore
        self._catalog = HiveCatalog(model.Catalog(kind="hive", warehouse=seeding.target.warehouse, uri=self._uri), self._uri)

    def parameters(self, database: str) -> Mapping[str, Mapping[str, str]]:
        prefix = f"{database}."
        return {table.name.removeprefix(prefix): table.parameters for table in self._catalog.tables() if table.name.startswith(prefix)}

    def ensure_database(self, name: str) -> None:
        self._catalog.ensure_database(name)

    def drop(self, database: str, table: str) -> None:
        self._catalog.drop(f"{database}.{table}")

    def create_external(self, database: str, table: str, columns: Mapping[str, str], storage: Mapping[str, Any], parameters: Any) -> None:
        fields = [Column(name, kind) for name, kind in columns.items()]
        self._catalog.create_external(f"{database}.{table}", fields, storage, parameters)

    def iceberg(self, properties: Mapping[str, str]) -> Any:
        from pyiceberg.catalog.hive import HiveCatalog

        return HiveCatalog("sample", uri=self._uri, **properties)
