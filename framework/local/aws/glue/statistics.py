"""Column statistics of tables and partitions. Trino's Hive connector reads and writes them with every table."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from framework.local.aws.answers import ApiError
from framework.local.aws.glue.catalog import Catalog, GlueOperation, Table, detail, find_table, limited, not_found, required
from framework.local.aws.glue.partitions import find_partition

_WHOLE_TABLE = 0


def get_for_table(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.read() as connection:
        return _get(connection, find_table(catalog, connection, request), _WHOLE_TABLE, request)


def get_for_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.read() as connection:
        table = find_table(catalog, connection, request)
        return _get(connection, table, _of_partition(connection, table, request), request)


def update_for_table(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.write() as connection:
        return _update(connection, find_table(catalog, connection, request), _WHOLE_TABLE, request)


def update_for_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.write() as connection:
        table = find_table(catalog, connection, request)
        return _update(connection, table, _of_partition(connection, table, request), request)


def delete_for_table(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.write() as connection:
        return _delete(connection, find_table(catalog, connection, request), _WHOLE_TABLE, request)


def delete_for_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.write() as connection:
        table = find_table(catalog, connection, request)
        return _delete(connection, table, _of_partition(connection, table, request), request)


def _of_partition(connection: sqlite3.Connection, table: Table, request: dict[str, Any]) -> int:
    return find_partition(connection, table, required(request, "PartitionValues", list))


def _get(connection: sqlite3.Connection, table: Table, partition: int, request: dict[str, Any]) -> dict[str, Any]:
    """At most 100 columns; those without statistics are told in `Errors` (seen on AWS: floci-io/floci issue 1312)."""
    names = limited(request, "ColumnNames", 100)
    marks = ",".join("?" * len(names))
    found = dict(
        connection.execute(
            f"SELECT name, content FROM statistics WHERE tbl = ? AND partition = ? AND name IN ({marks})", (table.id, partition, *names)
        )
    )
    return {
        "ColumnStatisticsList": [json.loads(found[name]) for name in names if name in found],
        "Errors": [{"ColumnName": name, "Error": detail(_no_statistics(name))} for name in names if name not in found],
    }


def _update(connection: sqlite3.Connection, table: Table, partition: int, request: dict[str, Any]) -> dict[str, Any]:
    """At most 25 columns; only columns that the table has."""
    columns = {column["Name"] for column in (table.input.get("StorageDescriptor") or {}).get("Columns") or ()}
    columns |= {name for name, _ in table.partition_keys}
    errors = []
    for content in limited(request, "ColumnStatisticsList", 25):
        name = required(content, "ColumnName")
        if name not in columns:
            error = ApiError("InvalidInputException", f"Column {name} is not a column of {table.name}.")
            errors.append({"ColumnStatistics": content, "Error": detail(error)})
            continue
        connection.execute("INSERT OR REPLACE INTO statistics VALUES (?, ?, ?, ?)", (table.id, partition, name, json.dumps(content)))
    return {"Errors": errors}


def _delete(connection: sqlite3.Connection, table: Table, partition: int, request: dict[str, Any]) -> dict[str, Any]:
    """Of a column without statistics too: Trino's Hive connector deletes those of every column of a table that it has just created, and
    takes EntityNotFoundException for a table that is gone (GlueHiveMetastore.updateTableStatistics); on AWS it works."""
    connection.execute(
        "DELETE FROM statistics WHERE tbl = ? AND partition = ? AND name = ?", (table.id, partition, required(request, "ColumnName"))
    )
    return {}


def _no_statistics(name: str) -> ApiError:
    return not_found(f"Statistics of column {name} do not exist.")


OPERATIONS: dict[str, GlueOperation] = {
    "GetColumnStatisticsForTable": get_for_table,
    "GetColumnStatisticsForPartition": get_for_partition,
    "UpdateColumnStatisticsForTable": update_for_table,
    "UpdateColumnStatisticsForPartition": update_for_partition,
    "DeleteColumnStatisticsForTable": delete_for_table,
    "DeleteColumnStatisticsForPartition": delete_for_partition,
}
