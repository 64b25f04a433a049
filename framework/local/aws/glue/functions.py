"""User-defined functions: Trino keeps its SQL routines in them, and asks for them when it meets an unknown function."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any

from framework.local.aws.answers import ApiError
from framework.local.aws.glue.catalog import (
    Catalog,
    GlueOperation,
    already_exists,
    check_catalog,
    find_database,
    folded,
    not_found,
    now,
    only,
    page_size,
    position,
    required,
    token,
)
from framework.local.aws.router import ACCOUNT_ID

_FIELDS = ("FunctionName", "ClassName", "OwnerName", "FunctionType", "OwnerType", "ResourceUris")


def create_function(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    given = only(_FIELDS, required(request, "FunctionInput", dict))
    name = folded(required(given, "FunctionName"))
    with catalog.write() as connection:
        database_id, _ = find_database(catalog, connection, request)
        try:
            connection.execute(
                "INSERT INTO functions (database, name, created, input) VALUES (?, ?, ?, ?)", (database_id, name, now(), json.dumps(given))
            )
        except sqlite3.IntegrityError as error:
            raise already_exists("Function already exists.") from error
    return {}


def get_function(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.read() as connection:
        row_id, database = _find(catalog, connection, request)
        name, created, content = connection.execute("SELECT name, created, input FROM functions WHERE id = ?", (row_id,)).fetchone()
    return {"UserDefinedFunction": _function(name, database, created, content)}


def get_functions(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    """Those whose names match `Pattern`, of one database or of all."""
    check_catalog(request)
    size, after = page_size(request, 100), position(request, int)
    try:
        pattern = re.compile(required(request, "Pattern").replace(".*", "*").replace("*", ".*"), re.IGNORECASE)
    except re.error as error:
        raise ApiError("InvalidInputException", f"Invalid pattern: {error}.") from error
    with catalog.read() as connection:
        condition, values = "databases.region = ?", [catalog.region]
        if request.get("DatabaseName"):
            _, name = find_database(catalog, connection, request)
            condition, values = condition + " AND databases.name = ?", [*values, name]
        rows = connection.execute(
            "SELECT functions.id, functions.name, databases.name, functions.created, functions.input FROM functions"
            f" JOIN databases ON databases.id = functions.database WHERE {condition} AND functions.id > ? ORDER BY functions.id",
            (*values, after or 0),
        ).fetchall()
    matching = [row for row in rows if pattern.fullmatch(row[1])][: size + 1]
    answer: dict[str, Any] = {"UserDefinedFunctions": [_function(*row[1:]) for row in matching[:size]]}
    if len(matching) > size:
        answer["NextToken"] = token(matching[size - 1][0])
    return answer


def update_function(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    given = only(_FIELDS, required(request, "FunctionInput", dict))
    with catalog.write() as connection:
        row_id, _ = _find(catalog, connection, request)
        connection.execute("UPDATE functions SET input = ? WHERE id = ?", (json.dumps(given), row_id))
    return {}


def delete_function(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.write() as connection:
        row_id, _ = _find(catalog, connection, request)
        connection.execute("DELETE FROM functions WHERE id = ?", (row_id,))
    return {}


def _find(catalog: Catalog, connection: sqlite3.Connection, request: dict[str, Any]) -> tuple[int, str]:
    name = folded(required(request, "FunctionName"))
    database_id, database = find_database(catalog, connection, request)
    row = connection.execute("SELECT id FROM functions WHERE database = ? AND name = ?", (database_id, name)).fetchone()
    if row is None:
        raise not_found(f"Function {name} not found.")
    return row[0], database


def _function(name: str, database: str, created: float, content: str) -> dict[str, Any]:
    return {**json.loads(content), "FunctionName": name, "DatabaseName": database, "CreateTime": created, "CatalogId": ACCOUNT_ID}


OPERATIONS: dict[str, GlueOperation] = {
    "CreateUserDefinedFunction": create_function,
    "GetUserDefinedFunction": get_function,
    "GetUserDefinedFunctions": get_functions,
    "UpdateUserDefinedFunction": update_function,
    "DeleteUserDefinedFunction": delete_function,
}
