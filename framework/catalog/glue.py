"""AWS Glue Data Catalog."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from framework.aws import Aws, explain
from framework.catalog import Column, Partition, TableInfo, serde
from framework.config import model
from framework.errors import EmrjobsError, PublishConflict

_log = logging.getLogger(__name__)

# Glue API reference, BatchCreatePartition: "PartitionInputList: 0-100 items"; BatchUpdatePartition: 1-100; BatchDeletePartition: 0-25.
_CREATE_BATCH = 100
_DELETE_BATCH = 25
_PARALLEL_CALLS = 8

# Keys of a Table that TableInput takes too (Glue API reference, TableInput).
_INPUT_KEYS = {
    "Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention", "StorageDescriptor", "PartitionKeys",
    "ViewOriginalText", "ViewExpandedText", "TableType", "Parameters", "TargetTable",
}  # fmt: skip


class GlueCatalog:
    """Tables of AWS Glue (or of the local endpoint, which answers the same calls)."""

    def __init__(self, settings: model.Catalog, aws: Aws) -> None:
        self._warehouse = settings.warehouse
        self._aws = aws

    @property
    def _glue(self) -> Any:
        return self._aws.client("glue")

    def find(self, name: str) -> TableInfo | None:
        database, dot, table = name.lower().partition(".")
        if not (database and dot and table):
            return None
        try:
            answer = self._glue.get_table(DatabaseName=database, Name=table)
        except ClientError as exc:
            if _code(exc) == "EntityNotFoundException":
                return None
            raise explain(exc, f"look up table {name} in Glue") from exc
        except BotoCoreError as exc:
            raise explain(exc, f"look up table {name} in Glue") from exc
        return serde.table_info(answer["Table"])

    def tables(self) -> list[TableInfo]:
        try:
            found = []
            for database in self._pages("get_databases", "DatabaseList"):
                for raw in self._pages("get_tables", "TableList", DatabaseName=database["Name"]):
                    try:
                        found.append(serde.table_info(raw))
                    except EmrjobsError as exc:  # a view, or a SerDe of another tool: not ours to list
                        _log.debug("not listed: %s", exc)
        except (ClientError, BotoCoreError) as exc:
            raise explain(exc, "list the tables in Glue") from exc
        return sorted(found, key=lambda table: table.name)

    def partitions(self, table: TableInfo, expression: str | None = None) -> list[Partition]:
        database, name = table.name.split(".")
        arguments: dict[str, Any] = {"DatabaseName": database, "TableName": name, "ExcludeColumnSchema": True}
        if expression:
            arguments["Expression"] = expression
        try:
            return [
                Partition(tuple(raw["Values"]), raw["StorageDescriptor"]["Location"])
                for raw in self._pages("get_partitions", "Partitions", **arguments)
            ]
        except (ClientError, BotoCoreError) as exc:
            raise explain(exc, f"list the partitions of {table.name} in Glue") from exc

    def ensure_database(self, database: str) -> str:
        try:
            raw = self._glue.get_database(Name=database)["Database"]
            return str(raw.get("LocationUri") or f"{self._warehouse}/{database}.db").rstrip("/")
        except ClientError as exc:
            if _code(exc) != "EntityNotFoundException":
                raise explain(exc, f"look up database {database} in Glue") from exc
        except BotoCoreError as exc:
            raise explain(exc, f"look up database {database} in Glue") from exc
        location = f"{self._warehouse}/{database}.db"
        try:
            self._glue.create_database(DatabaseInput={"Name": database, "LocationUri": location})
        except (ClientError, BotoCoreError) as exc:
            if _code(exc) != "AlreadyExistsException":
                raise explain(exc, f"create database {database} in Glue") from exc
        return location

    def create(self, table: TableInfo, comment: str | None = None) -> TableInfo:
        database, name = table.name.split(".")
        definition: dict[str, Any] = {
            "Name": name,
            "TableType": "EXTERNAL_TABLE",
            "StorageDescriptor": {
                **serde.descriptor(table.format),
                "Columns": _glue_columns(table.columns),
                "Location": table.location,
                "Compressed": False,
                "NumberOfBuckets": -1,
            },
            "PartitionKeys": _glue_columns(table.partition_keys),
            "Parameters": {"EXTERNAL": "TRUE", "classification": table.format, **table.parameters},
        }
        if comment:
            definition["Description"] = comment
        try:
            self._glue.create_table(DatabaseName=database, TableInput=definition)
        except (ClientError, BotoCoreError) as exc:
            if _code(exc) == "AlreadyExistsException":
                raise PublishConflict(f"table {table.name} was created by somebody else meanwhile", fix="run the job again") from exc
            raise explain(exc, f"create table {table.name} in Glue") from exc
        created = self.find(table.name)
        assert created is not None
        return created

    def put_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        """100 partitions a call, 8 calls at a time; those that exist are switched by BatchUpdatePartition."""
        with ThreadPoolExecutor(_PARALLEL_CALLS) as pool:
            # list() so that the first failure is raised here.
            list(pool.map(lambda batch: self._put_batch(table, batch), _batches(partitions, _CREATE_BATCH)))

    def _put_batch(self, table: TableInfo, batch: Sequence[Partition]) -> None:
        database, name = table.name.split(".")
        # Most often a run publishes partitions that exist (a rerun) or none of them does: one call tells.
        inputs = {partition.values: _partition_input(table, partition) for partition in batch}
        try:
            answer = self._glue.batch_create_partition(DatabaseName=database, TableName=name, PartitionInputList=list(inputs.values()))
            existing = []
            for error in answer.get("Errors", []):
                if error["ErrorDetail"]["ErrorCode"] != "AlreadyExistsException":
                    raise PublishConflict(
                        f"Glue refused partition {error['PartitionValues']} of {table.name}: {error['ErrorDetail'].get('ErrorMessage')}"
                    )
                existing.append(tuple(error["PartitionValues"]))
            if existing:
                entries = [{"PartitionValueList": list(values), "PartitionInput": inputs[values]} for values in existing]
                updated = self._glue.batch_update_partition(DatabaseName=database, TableName=name, Entries=entries)
                for error in updated.get("Errors", []):
                    raise PublishConflict(
                        f"Glue refused partition {error['PartitionValueList']} of {table.name}: {error['ErrorDetail'].get('ErrorMessage')}"
                    )
        except (ClientError, BotoCoreError) as exc:
            raise explain(exc, f"register partitions of {table.name} in Glue") from exc

    def delete_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        database, name = table.name.split(".")
        try:
            for batch in _batches(partitions, _DELETE_BATCH):
                answer = self._glue.batch_delete_partition(
                    DatabaseName=database, TableName=name, PartitionsToDelete=[{"Values": list(partition.values)} for partition in batch]
                )
                for error in answer.get("Errors", []):
                    detail = error["ErrorDetail"]
                    if detail["ErrorCode"] != "EntityNotFoundException":
                        values = error["PartitionValues"]
                        raise PublishConflict(f"Glue did not remove partition {values} of {table.name}: {detail.get('ErrorMessage')}")
        except (ClientError, BotoCoreError) as exc:
            raise explain(exc, f"remove partitions of {table.name} from Glue") from exc

    def switch(self, table: TableInfo, location: str) -> None:
        definition = {key: value for key, value in table.raw.items() if key in _INPUT_KEYS}
        definition["StorageDescriptor"] = {**definition["StorageDescriptor"], "Location": location}
        definition["Parameters"] = serde.without_statistics(table.parameters)
        arguments: dict[str, Any] = {"DatabaseName": table.name.split(".")[0], "TableInput": definition}
        if table.version is not None:
            arguments["VersionId"] = table.version
        try:
            self._glue.update_table(**arguments)
        except (ClientError, BotoCoreError) as exc:
            if _code(exc) in ("ConcurrentModificationException", "VersionMismatchException"):
                raise PublishConflict(f"table {table.name} changed while this run was writing", fix="run the job again") from exc
            raise explain(exc, f"switch table {table.name} in Glue") from exc

    def drop(self, name: str) -> None:
        database, table = name.split(".")
        try:
            self._glue.delete_table(DatabaseName=database, Name=table)
        except (ClientError, BotoCoreError) as exc:
            if _code(exc) != "EntityNotFoundException":
                raise explain(exc, f"drop table {name} from Glue") from exc

    def _pages(self, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        for page in self._glue.get_paginator(operation).paginate(**arguments):
            yield from page[key]


def _code(exc: ClientError | BotoCoreError) -> str:
    return str(exc.response.get("Error", {}).get("Code", "")) if isinstance(exc, ClientError) else ""


def _batches(items: Sequence[Partition], size: int) -> Iterator[Sequence[Partition]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _glue_columns(columns: Iterable[Column]) -> list[dict[str, str]]:
    return [{"Name": column.name, "Type": column.type, **({"Comment": column.comment} if column.comment else {})} for column in columns]


def _partition_input(table: TableInfo, partition: Partition) -> dict[str, Any]:
    # Athena and Hive read a partition by its own descriptor, not by the table's.
    described = {key: value for key, value in table.raw["StorageDescriptor"].items() if key != "Location"}
    return {"Values": list(partition.values), "StorageDescriptor": {**described, "Location": partition.location}}
