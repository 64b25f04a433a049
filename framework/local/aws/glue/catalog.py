"""What all of Glue's operations share: the schema, looking up databases and tables, checking requests, paging.

Rules are from the Glue Web API reference (2017-03-31) and botocore's model of it unless said otherwise.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from framework.local.aws.answers import ApiError
from framework.local.aws.database import Database
from framework.local.aws.router import ACCOUNT_ID

_T = TypeVar("_T")

VERSION = 1
# `input` columns hold the JSON of DatabaseInput, TableInput, PartitionInput as the caller gave it; `key` of a partition is the
# JSON list of its values. Statistics of a table have partition 0.
SCHEMA = """
CREATE TABLE databases (
    id INTEGER PRIMARY KEY, region TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL, input TEXT NOT NULL, UNIQUE (region, name));
CREATE TABLE tables (
    id INTEGER PRIMARY KEY, database INTEGER NOT NULL REFERENCES databases ON DELETE CASCADE, name TEXT NOT NULL,
    version INTEGER NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, input TEXT NOT NULL, indexes TEXT NOT NULL,
    UNIQUE (database, name));
CREATE TABLE versions (
    tbl INTEGER NOT NULL REFERENCES tables ON DELETE CASCADE, version INTEGER NOT NULL, updated REAL NOT NULL, input TEXT NOT NULL,
    PRIMARY KEY (tbl, version)) WITHOUT ROWID;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tbl INTEGER NOT NULL REFERENCES tables ON DELETE CASCADE, key TEXT NOT NULL,
    created REAL NOT NULL, input TEXT NOT NULL, UNIQUE (tbl, key));
CREATE INDEX partitions_in_order ON partitions (tbl, id, key);
CREATE TABLE statistics (
    tbl INTEGER NOT NULL REFERENCES tables ON DELETE CASCADE, partition INTEGER NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (tbl, partition, name)) WITHOUT ROWID;
CREATE TABLE functions (
    id INTEGER PRIMARY KEY, database INTEGER NOT NULL REFERENCES databases ON DELETE CASCADE, name TEXT NOT NULL,
    created REAL NOT NULL, input TEXT NOT NULL, UNIQUE (database, name));
CREATE TABLE tags (arn TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (arn, name)) WITHOUT ROWID;
CREATE TRIGGER no_statistics_without_partition AFTER DELETE ON partitions BEGIN
    DELETE FROM statistics WHERE tbl = OLD.tbl AND partition = OLD.id; END
"""

_ACCOUNT = re.compile(r"\d{12}")


@dataclass(frozen=True)
class Catalog:
    """The catalog of one region. Any account's number is taken for this one's, as a job may carry its real catalog id."""

    database: Database
    region: str

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A read transaction."""
        with self.database.read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: no other change happens between its first read and its end."""
        with self.database.write() as connection:
            yield connection


GlueOperation = Callable[[Catalog, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """The row of a table."""

    id: int
    name: str
    database: str
    version: int
    created: float
    updated: float
    input: dict[str, Any]

    @property
    def partition_keys(self) -> list[tuple[str, str]]:
        """(name, type) of the partition columns."""
        return [(key["Name"], key.get("Type", "string")) for key in self.input.get("PartitionKeys") or ()]


def find_database(
    catalog: Catalog, connection: sqlite3.Connection, request: Mapping[str, Any], field: str = "DatabaseName"
) -> tuple[int, str]:
    """(row id, name) of the database that a request names.

    Raises:
        ApiError: EntityNotFoundException.
    """
    check_catalog(request)
    name = folded(required(request, field))
    row = connection.execute("SELECT id FROM databases WHERE region = ? AND name = ?", (catalog.region, name)).fetchone()
    if row is None:
        raise not_found(f"Database {name} not found.")
    return row[0], name


def find_table(catalog: Catalog, connection: sqlite3.Connection, request: Mapping[str, Any], field: str = "TableName") -> Table:
    """The table that a request names.

    Raises:
        ApiError: EntityNotFoundException, for the database or the table.
    """
    name = folded(required(request, field))
    database_id, database = find_database(catalog, connection, request)
    row = connection.execute(
        "SELECT id, version, created, updated, input FROM tables WHERE database = ? AND name = ?", (database_id, name)
    ).fetchone()
    if row is None:
        raise not_found(f"Table {name} not found.")
    return Table(row[0], name, database, row[1], row[2], row[3], json.loads(row[4]))


def check_catalog(request: Mapping[str, Any]) -> None:
    """Refuse catalogs that are not an account's own, such as those of S3 Tables or federated ones."""
    catalog_id = request.get("CatalogId")
    if catalog_id and not _ACCOUNT.fullmatch(str(catalog_id)):
        raise not_found(f"Catalog {catalog_id} not found.")


def folded(name: str) -> str:
    """Names of databases, tables and functions are folded to lower case when stored ("for Hive compatibility")."""
    return name.lower()


def required(request: Mapping[str, Any], field: str, kind: type = str) -> Any:
    """A member that must be given and not be empty text.

    Raises:
        ApiError: ValidationException, in the words of AWS's services.
    """
    value = request.get(field)
    if value is None:
        raise invalid(f"Value null at '{_member(field)}' failed to satisfy constraint: Member must not be null")
    if not isinstance(value, kind):
        raise ApiError("SerializationException", f"{field} must be a {kind.__name__}.")
    if value == "":
        raise invalid(f"Value '' at '{_member(field)}' failed to satisfy constraint: Member must have length greater than or equal to 1")
    return value


def limited(request: Mapping[str, Any], field: str, most: int) -> list[Any]:
    """A list that must be given and hold at most `most` items."""
    items: list[Any] = required(request, field, list)
    if len(items) > most:
        raise invalid(f"Value at '{_member(field)}' failed to satisfy constraint: Member must have length less than or equal to {most}")
    return items


def page_size(request: Mapping[str, Any], most: int) -> int:
    """MaxResults, by default the most that one answer may hold."""
    size = request.get("MaxResults")
    if size is None:
        return most
    if not isinstance(size, int) or not 1 <= size <= most:
        raise invalid(f"Value '{size}' at 'maxResults' failed to satisfy constraint: Member must have value between 1 and {most}")
    return size


def token(position: int | str) -> str:
    """An opaque NextToken for the last item that was returned."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def position(request: Mapping[str, Any], kind: type) -> Any:
    """What `token` was made from; None on the first page."""
    text = request.get("NextToken")
    if not text:
        return None
    try:
        value = json.loads(base64.urlsafe_b64decode(text))
    except (ValueError, binascii.Error):
        value = None
    if not isinstance(value, kind):
        raise ApiError("InvalidInputException", "Invalid pagination token.")
    return value


def paged(key: str, items: Sequence[dict[str, Any]], size: int, last: Callable[[dict[str, Any]], int | str]) -> dict[str, Any]:
    """An answer with `items`, of which there is one more than `size` when there is another page."""
    answer: dict[str, Any] = {key: list(items[:size])}
    if len(items) > size:
        answer["NextToken"] = token(last(items[size - 1]))
    return answer


def invalid(problem: str) -> ApiError:
    """The error of a request that breaks the model's constraints."""
    return ApiError("ValidationException", f"1 validation error detected: {problem}")


def not_found(message: str) -> ApiError:
    """The error of something that is not there."""
    return ApiError("EntityNotFoundException", message)


def already_exists(message: str) -> ApiError:
    """The error of something that is there already."""
    return ApiError("AlreadyExistsException", message)


def one_by_one(entries: Iterable[_T], act: Callable[[_T], None], told: Callable[[_T], dict[str, Any]]) -> dict[str, Any]:
    """The answer of a batch: its `Errors` are what is `told` of the entries that `act` refused; the others are done."""
    errors = []
    for entry in entries:
        try:
            act(entry)
        except ApiError as error:
            errors.append({**told(entry), "ErrorDetail": detail(error)})
    return {"Errors": errors}


def detail(error: ApiError) -> dict[str, str]:
    """An error of one item of a batch."""
    return {"ErrorCode": error.code, "ErrorMessage": error.message}


def only(fields: Sequence[str], value: Mapping[str, Any]) -> dict[str, Any]:
    """The members that the API knows and that are given; some clients send whole output shapes back."""
    return {field: value[field] for field in fields if value.get(field) is not None}


def arn(catalog: Catalog, kind: str, name: str) -> str:
    """ARN of a resource, `database/<name>` or `table/<database>/<name>`."""
    return f"arn:aws:glue:{catalog.region}:{ACCOUNT_ID}:{kind}/{name}"


def now() -> float:
    """Seconds since the epoch, to the millisecond, as the JSON protocol carries timestamps."""
    return round(time.time(), 3)


def _member(field: str) -> str:
    return field[:1].lower() + field[1:]
