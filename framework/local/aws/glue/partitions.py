"""Partitions, one by one and in batches; `GetPartitions` with its filter expression, pages and segments."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from framework.local.aws.answers import ApiError
from framework.local.aws.glue.catalog import (
    Catalog,
    GlueOperation,
    Table,
    already_exists,
    find_table,
    invalid,
    limited,
    not_found,
    now,
    one_by_one,
    only,
    page_size,
    position,
    required,
    token,
)
from framework.local.aws.glue.expressions import compile_filter
from framework.local.aws.router import ACCOUNT_ID

_FIELDS = ("Values", "LastAccessTime", "LastAnalyzedTime", "StorageDescriptor", "Parameters")
# Most bound values in one SQL statement that every build of SQLite takes.
_IN_ONE_STATEMENT = 500


def create_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    given = required(request, "PartitionInput", dict)
    with catalog.write() as connection:
        _create(connection, find_table(catalog, connection, request), given)
    return {}


def batch_create_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """At most 100. Those that cannot be created are told in `Errors`; the others are."""
    inputs = limited(request, "PartitionInputList", 100)
    with catalog.write() as connection:
        table = find_table(catalog, connection, request)
        return one_by_one(
            inputs, lambda given: _create(connection, table, given), lambda given: {"PartitionValues": given.get("Values") or []}
        )


def get_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    values = required(request, "PartitionValues", list)
    with catalog.read() as connection:
        table = find_table(catalog, connection, request)
        found = _lookup(connection, table, [values])
    if not found:
        raise not_found("Cannot find partition.")
    return {"Partition": found[0]}


def batch_get_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """At most 1000. Those that do not exist are left out; nothing is ever left unprocessed."""
    wanted = [entry.get("Values") or [] for entry in limited(request, "PartitionsToGet", 1000)]
    with catalog.read() as connection:
        table = find_table(catalog, connection, request)
        return {"Partitions": _lookup(connection, table, wanted), "UnprocessedKeys": []}


def get_partitions(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """In the order in which they were created, at most 1000 a page."""
    size, after = page_size(request, 1000), position(request, int)
    segment = _segment(request)
    with catalog.read() as connection:
        table = find_table(catalog, connection, request)
        expression = (request.get("Expression") or "").strip()
        accepts = compile_filter(expression, table.partition_keys) if expression else None
        rows = connection.execute("SELECT id, key FROM partitions WHERE tbl = ? AND id > ? ORDER BY id", (table.id, after or 0))
        found: list[int] = []
        for row_id, key in rows:
            if segment is not None and row_id % segment[1] != segment[0]:
                continue
            if accepts is None or accepts(json.loads(key)):
                found.append(row_id)
                if len(found) > size:
                    break
        items = [_partition(table, row) for row in _rows(connection, "id", found[:size])]
    if request.get("ExcludeColumnSchema"):
        for item in items:
            item.get("StorageDescriptor", {}).pop("Columns", None)
    answer: dict[str, Any] = {"Partitions": items}
    if len(found) > size:
        answer["NextToken"] = token(found[size - 1])
    return answer


def update_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    values = required(request, "PartitionValueList", list)
    given = required(request, "PartitionInput", dict)
    with catalog.write() as connection:
        _update(connection, find_table(catalog, connection, request), values, given)
    return {}


def batch_update_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """At most 100. Those that cannot be updated are told in `Errors`; the others are."""
    entries = limited(request, "Entries", 100)
    if not entries:
        raise invalid("Value '[]' at 'entries' failed to satisfy constraint: Member must have length greater than or equal to 1")
    with catalog.write() as connection:
        table = find_table(catalog, connection, request)
        return one_by_one(
            entries,
            lambda entry: _update(connection, table, required(entry, "PartitionValueList", list), required(entry, "PartitionInput", dict)),
            lambda entry: {"PartitionValueList": required(entry, "PartitionValueList", list)},
        )


def delete_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    values = required(request, "PartitionValues", list)
    with catalog.write() as connection:
        _delete(connection, find_table(catalog, connection, request), values)
    return {}


def batch_delete_partition(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """At most 25. Those that are not there are told in `Errors`; the others are deleted."""
    wanted = [entry.get("Values") or [] for entry in limited(request, "PartitionsToDelete", 25)]
    with catalog.write() as connection:
        table = find_table(catalog, connection, request)
        return one_by_one(wanted, lambda values: _delete(connection, table, values), lambda values: {"PartitionValues": values})


def find_partition(connection: sqlite3.Connection, table: Table, values: Sequence[str]) -> int:
    """Row id of a partition.

    Raises:
        ApiError: EntityNotFoundException.
    """
    row = connection.execute("SELECT id FROM partitions WHERE tbl = ? AND key = ?", (table.id, _key(values))).fetchone()
    if row is None:
        raise not_found("Cannot find partition.")
    return int(row[0])


def _create(connection: sqlite3.Connection, table: Table, given: dict[str, Any]) -> None:
    content = _checked(table, given)
    try:
        connection.execute(
            "INSERT INTO partitions (tbl, key, created, input) VALUES (?, ?, ?, ?)",
            (table.id, _key(content["Values"]), now(), json.dumps(content)),
        )
    except sqlite3.IntegrityError as error:
        raise already_exists("Partition already exists.") from error


def _update(connection: sqlite3.Connection, table: Table, values: list[str], given: dict[str, Any]) -> None:
    """The row keeps its place and its creation time, also when the values change."""
    row_id = find_partition(connection, table, values)
    content = _checked(table, {**given, "Values": given.get("Values") or values})
    try:
        connection.execute("UPDATE partitions SET key = ?, input = ? WHERE id = ?", (_key(content["Values"]), json.dumps(content), row_id))
    except sqlite3.IntegrityError as error:
        raise already_exists("Partition already exists.") from error


def _delete(connection: sqlite3.Connection, table: Table, values: list[str]) -> None:
    connection.execute("DELETE FROM partitions WHERE id = ?", (find_partition(connection, table, values),))


def _checked(table: Table, given: dict[str, Any]) -> dict[str, Any]:
    content = only(_FIELDS, given)
    values = content.setdefault("Values", [])
    if len(values) != len(table.partition_keys):
        raise ApiError("InvalidInputException", "The number of partition keys do not match the number of partition values")
    return content


def _lookup(connection: sqlite3.Connection, table: Table, wanted: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    keys = list(dict.fromkeys(_key(values) for values in wanted))
    return [_partition(table, row) for row in _rows(connection, "key", keys, table)]


def _rows(
    connection: sqlite3.Connection, column: str, wanted: Sequence[int] | Sequence[str], table: Table | None = None
) -> Iterator[tuple[float, str]]:
    """(created, input) of the rows whose `column` is one of `wanted`, in creation order."""
    condition, first = ("tbl = ? AND ", [table.id]) if table else ("", [])
    for start in range(0, len(wanted), _IN_ONE_STATEMENT):
        some = wanted[start : start + _IN_ONE_STATEMENT]
        marks = ",".join("?" * len(some))
        yield from connection.execute(
            f"SELECT created, input FROM partitions WHERE {condition}{column} IN ({marks}) ORDER BY id", [*first, *some]
        )


def _partition(table: Table, row: tuple[float, str]) -> dict[str, Any]:
    created, content = row
    return {
        **json.loads(content),
        "DatabaseName": table.database,
        "TableName": table.name,
        "CreationTime": created,
        "CatalogId": ACCOUNT_ID,
    }


def _key(values: Sequence[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False)


def _segment(request: dict[str, Any]) -> tuple[int, int] | None:
    """(number, total) where the caller reads the table in parallel, at most 10 non-overlapping segments."""
    segment = request.get("Segment")
    if not segment:
        return None
    number, total = required(segment, "SegmentNumber", int), required(segment, "TotalSegments", int)
    if not 1 <= total <= 10 or not 0 <= number < total:
        raise ApiError("InvalidInputException", f"Segment {number} of {total} is out of range.")
    return number, total


OPERATIONS: dict[str, GlueOperation] = {
    "CreatePartition": create_partition,
    "BatchCreatePartition": batch_create_partition,
    "GetPartition": get_partition,
    "BatchGetPartition": batch_get_partition,
    "GetPartitions": get_partitions,
    "UpdatePartition": update_partition,
    "BatchUpdatePartition": batch_update_partition,
    "DeletePartition": delete_partition,
    "BatchDeletePartition": batch_delete_partition,
}
