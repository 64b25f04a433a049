"""What Trino, or Presto, says when a statement fails, in the words of the user's file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from framework.engines.trino.statement import Statement
from framework.errors import AccessRefused, DatasetNotFound, EmrjobsError, EngineUnavailable, JobFailed, ServiceUnavailable, nearest

if TYPE_CHECKING:
    from framework.engines.trino.client import TrinoClient

_PLACE = re.compile(r"\Aline \d+:\d+: ")
# Presto writes no quotes.
_TABLE = re.compile(r"\bTable '?([^'\s]+)'? does not exist")
_NAMESPACE = re.compile(r"\A(Schema|Catalog) \S+ does not exist")
_COLUMN = re.compile(r"Column '([^']+)' cannot be resolved")
# PrestoDB 0.287, of what Spark writes for a timestamp.
_UNREADABLE = re.compile(r"Iceberg column type \S+ is not supported")
_MEMORY = ("EXCEEDED_GLOBAL_MEMORY_LIMIT", "EXCEEDED_LOCAL_MEMORY_LIMIT", "CLUSTER_OUT_OF_MEMORY")
_CREDENTIALS = re.compile(r"password authentication failed|Access denied for user|no password was provided", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"Connection to \S+ refused|Communications link failure|UnknownHostException|connection attempt failed", re.IGNORECASE
)


def explain(
    exc: Any, statement: Statement, *, file: str, columns: Iterable[str], client: TrinoClient, lines_before: int | None = 0
) -> EmrjobsError:
    """A failed query as one of our errors.

    Args:
        exc: a trino.exceptions.TrinoQueryError.
        file: the user's, for messages.
        columns: names of the columns of what the statement reads.
        client: asked for the tables that there are.
        lines_before: lines of what was sent before the statement's own; None: its position is none in the user's file.
    """
    message = _PLACE.sub("", str(exc.message))
    where, details = _place(exc, statement, lines_before, file, client) if lines_before is not None and exc.error_location else (file, [])
    name = str(exc.error_name)
    if name in _MEMORY:
        return JobFailed(
            f"the query was ended because it needed too much memory: {message}",
            where=where,
            fix=f"read less (filters, fewer columns), or give {client.name} more: `{client.name.lower()}.heap` in the configuration, "
            "the session's query_max_memory",
        )
    if name in ("ADMINISTRATIVELY_KILLED", "USER_CANCELED"):
        return JobFailed(f"the query was cancelled: {message}", where=where)
    if name in ("NO_NODES_AVAILABLE", "SERVER_STARTING_UP", "SERVER_SHUTTING_DOWN", "REMOTE_TASK_ERROR", "PAGE_TRANSPORT_ERROR"):
        return EngineUnavailable(f"{client.name} cannot run queries now: {message}", fix="run it again")
    if _CREDENTIALS.search(message):
        return AccessRefused(
            f"a database refused the credentials that {client.name} has: {message}", where=where, fix="correct the connection"
        )
    if _UNREACHABLE.search(message):
        return ServiceUnavailable(f"{client.name} cannot reach a database: {message}", where=where)
    if found := _TABLE.search(message):
        return DatasetNotFound(f"there is no table {found[1]}", where=where, details=details, fix=_nearest_table(found[1], client))
    if name in ("CATALOG_NOT_FOUND", "SCHEMA_NOT_FOUND") or _NAMESPACE.search(message):
        return DatasetNotFound(message, where=where, details=details)
    fix = "use `engine: trino`, or publish the table that has it in the Hive layout" if _UNREADABLE.search(message) else None
    if found := _COLUMN.search(message):
        known = set(columns)
        fix = nearest(found[1].rsplit(".", 1)[-1].lower(), known, what="column") if known else None
    return JobFailed(message, where=where, details=details, fix=fix)


def _place(exc: Any, statement: Statement, lines_before: int, file: str, client: TrinoClient) -> tuple[str, list[str]]:
    line, column = exc.error_location[0] - lines_before, exc.error_location[1]
    lines = statement.text.split("\n")
    if not 1 <= line <= len(lines):
        return file, []
    found = statement.position(line, column)
    if found is None:  # it was translated
        return file, [f"in {client.name}'s SQL:", lines[line - 1], " " * (column - 1) + "^"]
    return f"{file}:{found[0]}:{found[1]}", [statement.source.split("\n")[found[0] - 1], " " * (found[1] - 1) + "^"]


def _nearest_table(name: str, client: TrinoClient) -> str | None:
    from trino.exceptions import TrinoQueryError

    from framework.publish.trino import quoted

    parts = name.split(".")
    try:
        tables = [row[0] for row in client.execute(f"SHOW TABLES FROM {quoted(*parts[:-1])}").rows]
    except (TrinoQueryError, EmrjobsError):
        return None
    return nearest(parts[-1], tables, what="table")


def column_names(inputs: Mapping[str, Any], client: TrinoClient) -> set[str]:
    """Names of the columns of a job's inputs, for suggestions; what cannot be asked is left out."""
    from trino.exceptions import TrinoQueryError

    from framework.publish.trino import quoted

    names: set[str] = set()
    for read in inputs.values():
        info = getattr(read, "info", None)
        if info is not None:
            names |= {column.name for column in info.all_columns}
            continue
        try:
            names |= {column.name for column in client.columns(quoted(read.connection, *read.table.split(".")))}
        except (TrinoQueryError, EmrjobsError):
            continue
    return names
