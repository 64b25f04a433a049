"""Databases, tables, their versions and partition indexes."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

from framework.local.aws.answers import ApiError
from framework.local.aws.glue import tags
from framework.local.aws.glue.catalog import (
    Catalog,
    GlueOperation,
    Table,
    already_exists,
    arn,
    check_catalog,
    find_database,
    find_table,
    folded,
    limited,
    not_found,
    now,
    one_by_one,
    only,
    page_size,
    paged,
    position,
    required,
)
from framework.local.aws.router import ACCOUNT_ID

_DATABASE_FIELDS = (
    "Name",
    "Description",
    "LocationUri",
    "Parameters",
    "CreateTableDefaultPermissions",
    "TargetDatabase",
    "FederatedDatabase",
)
_TABLE_FIELDS = (
    "Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention", "StorageDescriptor", "PartitionKeys",
    "ViewOriginalText", "ViewExpandedText", "TableType", "Parameters", "TargetTable", "FederatedTable", "ViewDefinition",
)  # fmt: skip


def create_database(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    check_catalog(request)
    given = required(request, "DatabaseInput", dict)
    name = folded(required(given, "Name"))
    with catalog.write() as connection:
        try:
            connection.execute(
                "INSERT INTO databases (region, name, created, input) VALUES (?, ?, ?, ?)",
                (catalog.region, name, now(), json.dumps(only(_DATABASE_FIELDS, given))),
            )
        except sqlite3.IntegrityError as error:
            raise already_exists("Database already exists.") from error
        tags.put(connection, arn(catalog, "database", name), request.get("Tags") or {})
    return {}


def get_database(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.read() as connection:
        row_id, _ = find_database(catalog, connection, request, "Name")
        row = connection.execute("SELECT name, created, input FROM databases WHERE id = ?", (row_id,)).fetchone()
    return {"Database": _database(*row)}


def get_databases(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    check_catalog(request)
    size, after = page_size(request, 100), position(request, str)
    with catalog.read() as connection:
        rows = connection.execute(
            "SELECT name, created, input FROM databases WHERE region = ? AND name > ? ORDER BY name LIMIT ?",
            (catalog.region, after or "", size + 1),
        ).fetchall()
    return paged("DatabaseList", [_attributes(request, _database(*row)) for row in rows], size, lambda item: str(item["Name"]))


def update_database(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    given = required(request, "DatabaseInput", dict)
    with catalog.write() as connection:
        row_id, _ = find_database(catalog, connection, request, "Name")
        connection.execute("UPDATE databases SET input = ? WHERE id = ?", (json.dumps(only(_DATABASE_FIELDS, given)), row_id))
    return {}


def delete_database(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """With all its tables and functions; real Glue removes those in the background."""
    with catalog.write() as connection:
        row_id, name = find_database(catalog, connection, request, "Name")
        connection.execute("DELETE FROM databases WHERE id = ?", (row_id,))
        connection.execute("DELETE FROM tags WHERE arn = ?", (arn(catalog, "database", name),))
    return {}


def create_table(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    given = only(_TABLE_FIELDS, required(request, "TableInput", dict))
    name = folded(required(given, "Name"))
    if "IcebergInput" in (request.get("OpenTableFormatInput") or {}):
        given["Parameters"] = {**given.get("Parameters", {}), "table_type": "ICEBERG"}
    created = now()
    with catalog.write() as connection:
        database_id, _ = find_database(catalog, connection, request)
        try:
            connection.execute(
                "INSERT INTO tables (database, name, version, created, updated, input, indexes) VALUES (?, ?, 0, ?, ?, ?, ?)",
                (database_id, name, created, created, json.dumps(given), json.dumps(request.get("PartitionIndexes") or [])),
            )
        except sqlite3.IntegrityError as error:
            raise already_exists("Table already exists.") from error
    return {}


def get_table(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.read() as connection:
        return {"Table": _table(find_table(catalog, connection, request, "Name"))}


def get_tables(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """`Expression` is a regular expression on names; `*` alone stands for any text, as Hive's patterns have it."""
    size, after = page_size(request, 100), position(request, str)
    matches = _name_filter(request.get("Expression"))
    found = []
    with catalog.read() as connection:
        database_id, database = find_database(catalog, connection, request)
        rows = connection.execute(
            "SELECT id, name, version, created, updated, input FROM tables WHERE database = ? AND name > ? ORDER BY name",
            (database_id, after or ""),
        )
        for row_id, name, version, created, updated, content in rows:
            if matches(name):
                table = Table(row_id, name, database, version, created, updated, json.loads(content))
                found.append(_attributes(request, _table(table)))
            if len(found) > size:
                break
    return paged("TableList", found, size, lambda item: str(item["Name"]))


def update_table(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """Replaces the definition. With VersionId only if the table still is at that version.

    The refusal's code and words, versions from "0" and their archive, were seen on AWS: floci-io/floci issues 1205 and 1230.
    """
    given = only(_TABLE_FIELDS, required(request, "TableInput", dict))
    required(given, "Name")
    expected = request.get("VersionId")
    with catalog.write() as connection:
        table = find_table(catalog, connection, {**request, "TableName": given["Name"]})
        if expected is not None and str(expected) != str(table.version):
            raise ApiError("ConcurrentModificationException", "Update table failed due to concurrent modifications.")
        if not request.get("SkipArchive"):
            connection.execute(
                "INSERT OR REPLACE INTO versions SELECT id, version, updated, input FROM tables WHERE id = ?",
                (table.id,),
            )
        connection.execute(
            "UPDATE tables SET version = version + 1, updated = ?, input = ? WHERE id = ?", (now(), json.dumps(given), table.id)
        )
    return {}


def delete_table(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """With its versions, partitions and statistics."""
    with catalog.write() as connection:
        _delete_table(catalog, connection, request)
    return {}


def batch_delete_table(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    names = limited(request, "TablesToDelete", 100)
    with catalog.write() as connection:
        find_database(catalog, connection, request)
        return one_by_one(
            names, lambda name: _delete_table(catalog, connection, {**request, "Name": name}), lambda name: {"TableName": name}
        )


def get_table_version(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.read() as connection:
        table = find_table(catalog, connection, request)
        wanted = request.get("VersionId")
        return {"TableVersion": _version(table, _find_version(connection, table, table.version if wanted is None else wanted))}


def get_table_versions(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """Newest first, the current one included."""
    size, after = page_size(request, 100), position(request, int)
    with catalog.read() as connection:
        table = find_table(catalog, connection, request)
        rows = connection.execute(
            "SELECT version, updated, input FROM versions WHERE tbl = ?1 AND version < ?2"
            " UNION ALL SELECT version, updated, input FROM tables WHERE id = ?1 AND version < ?2 ORDER BY version DESC LIMIT ?3",
            (table.id, table.version + 1 if after is None else after, size + 1),
        ).fetchall()
    found = [_version(table, (version, updated, json.loads(content))) for version, updated, content in rows]
    return paged("TableVersions", found, size, lambda item: int(item["VersionId"]))


def delete_table_version(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    version = required(request, "VersionId")
    with catalog.write() as connection:
        _delete_version(connection, find_table(catalog, connection, request), version)
    return {}


def batch_delete_table_version(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    versions = limited(request, "VersionIds", 100)
    with catalog.write() as connection:
        table = find_table(catalog, connection, request)
        return one_by_one(
            versions,
            lambda version: _delete_version(connection, table, version),
            lambda version: {"TableName": table.name, "VersionId": version},
        )


def get_partition_indexes(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.read() as connection:
        table = find_table(catalog, connection, request)
        types = dict(table.partition_keys)
        descriptors = [
            {
                "IndexName": index["IndexName"],
                "Keys": [{"Name": key, "Type": types.get(key, "string")} for key in index["Keys"]],
                "IndexStatus": "ACTIVE",
            }
            for index in _indexes(connection, table)
        ]
    return {"PartitionIndexDescriptorList": descriptors}


def create_partition_index(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """Remembered only: filters here are fast without one."""
    index = required(request, "PartitionIndex", dict)
    name, keys = required(index, "IndexName"), required(index, "Keys", list)
    with catalog.write() as connection:
        table = find_table(catalog, connection, request)
        indexes = _indexes(connection, table)
        if any(existing["IndexName"] == name for existing in indexes):
            raise already_exists(f"Index {name} already exists.")
        if set(keys) - {key for key, _ in table.partition_keys}:
            raise ApiError("InvalidInputException", "Index keys must be partition keys of the table.")
        _set_indexes(connection, table, [*indexes, {"IndexName": name, "Keys": keys}])
    return {}


def delete_partition_index(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    name = required(request, "IndexName")
    with catalog.write() as connection:
        table = find_table(catalog, connection, request)
        indexes = _indexes(connection, table)
        kept = [index for index in indexes if index["IndexName"] != name]
        if len(kept) == len(indexes):
            raise not_found(f"Index {name} not found.")
        _set_indexes(connection, table, kept)
    return {}


def _delete_table(catalog: Catalog, connection: sqlite3.Connection, request: dict[str, Any]) -> None:
    table = find_table(catalog, connection, request, "Name")
    connection.execute("DELETE FROM tables WHERE id = ?", (table.id,))
    connection.execute("DELETE FROM tags WHERE arn = ?", (arn(catalog, "table", f"{table.database}/{table.name}"),))


def _find_version(connection: sqlite3.Connection, table: Table, version: object) -> tuple[int, float, dict[str, Any]]:
    text = str(version)
    if not text.isdecimal():
        raise ApiError("InvalidInputException", f"Version {text} is not a number.")
    if int(text) == table.version:
        return table.version, table.updated, table.input
    row = connection.execute("SELECT version, updated, input FROM versions WHERE tbl = ? AND version = ?", (table.id, int(text))).fetchone()
    if row is None:
        raise not_found("Version not found.")
    return row[0], row[1], json.loads(row[2])


def _delete_version(connection: sqlite3.Connection, table: Table, version: str) -> None:
    number, _, _ = _find_version(connection, table, version)
    if number == table.version:
        # Not confirmed on AWS: the current definition cannot be taken from under a table.
        raise ApiError("InvalidInputException", "The current version of a table cannot be deleted.")
    connection.execute("DELETE FROM versions WHERE tbl = ? AND version = ?", (table.id, number))


def _indexes(connection: sqlite3.Connection, table: Table) -> list[dict[str, Any]]:
    (content,) = connection.execute("SELECT indexes FROM tables WHERE id = ?", (table.id,)).fetchone()
    indexes: list[dict[str, Any]] = json.loads(content)
    return indexes


def _set_indexes(connection: sqlite3.Connection, table: Table, indexes: list[dict[str, Any]]) -> None:
    connection.execute("UPDATE tables SET indexes = ? WHERE id = ?", (json.dumps(indexes), table.id))


def _database(name: str, created: float, content: str) -> dict[str, Any]:
    return {**json.loads(content), "Name": name, "CreateTime": created, "CatalogId": ACCOUNT_ID}


def _table(table: Table) -> dict[str, Any]:
    return {
        "Retention": 0,
        **table.input,
        "Name": table.name,
        "DatabaseName": table.database,
        "CreateTime": table.created,
        "UpdateTime": table.updated,
        "VersionId": str(table.version),
        "CatalogId": ACCOUNT_ID,
        "IsRegisteredWithLakeFormation": False,
    }


def _version(table: Table, found: tuple[int, float, dict[str, Any]]) -> dict[str, Any]:
    version, updated, content = found
    return {
        "VersionId": str(version),
        "Table": _table(Table(table.id, table.name, table.database, version, table.created, updated, content)),
    }


def _attributes(request: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """`AttributesToGet=["NAME"]` asks for names alone."""
    if request.get("AttributesToGet") == ["NAME"]:
        return {key: item[key] for key in ("Name", "DatabaseName") if key in item}
    return item


def _name_filter(expression: str | None) -> Callable[[str], bool]:
    if not expression:
        return lambda name: True
    # A star that follows nothing to repeat (or a plain name) is a wildcard, as in "sales_*" and "*".
    pattern = re.sub(r"(?<![.\])}])\*", ".*", expression)
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ApiError("InvalidInputException", f"Invalid expression '{expression}': {error}.") from error
    return lambda name: compiled.fullmatch(name) is not None


OPERATIONS: dict[str, GlueOperation] = {
    "CreateDatabase": create_database,
    "GetDatabase": get_database,
    "GetDatabases": get_databases,
    "UpdateDatabase": update_database,
    "DeleteDatabase": delete_database,
    "CreateTable": create_table,
    "GetTable": get_table,
    "GetTables": get_tables,
    "UpdateTable": update_table,
    "DeleteTable": delete_table,
    "BatchDeleteTable": batch_delete_table,
    "GetTableVersion": get_table_version,
    "GetTableVersions": get_table_versions,
    "DeleteTableVersion": delete_table_version,
    "BatchDeleteTableVersion": batch_delete_table_version,
    "GetPartitionIndexes": get_partition_indexes,
    "CreatePartitionIndex": create_partition_index,
    "DeletePartitionIndex": delete_partition_index,
}
