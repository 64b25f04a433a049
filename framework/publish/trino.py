"""What both ways of publishing through Trino share: a query, its columns, and whether they fit a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from framework import catalog
from framework.errors import SchemaMismatch
from framework.jobs import Output
from framework.publish import Area, Staged, schema

_NAMES = {"integer": "int", "varchar": "string", "char": "string", "varbinary": "binary", "real": "float"}


@dataclass(frozen=True)
class Column:
    """A column of a result or a table, with its type as Trino writes it."""

    name: str
    type: str


class Executes(Protocol):
    """A Trino server, as far as publishing needs it."""

    def execute(self, sql: str, *, session: Mapping[str, str] | None = None) -> Any:
        """Run one statement; of what it returns `written` is the number of rows that it wrote, `query_id` the server's name of it."""

    def columns(self, table: str) -> list[Column]:
        """Columns of a table, given as `"catalog"."database"."table"`."""


@dataclass(frozen=True)
class Query:
    """One query, parameters filled in, and the columns that it gives.

    Attributes:
        session: session properties that it runs with.
    """

    text: str
    columns: Sequence[Column]
    session: Mapping[str, str]


class TrinoArea(Area, Protocol):
    """The way of one query's rows into one table."""

    staged_table: str
    """The staged rows as a table, `"catalog"."database"."table"`, for the checks."""

    def write(self, query: Query) -> Staged:
        """Run the query and write its rows where no reader looks.

        Raises:
            SchemaMismatch: they do not fit the table.
            trino.exceptions.TrinoQueryError: the query failed.
        """


def quoted(*names: str) -> str:
    """`"catalog"."database"."table"`."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def check_columns(query: Query, output: Output) -> None:
    """What can be said of a query's columns before it runs.

    Raises:
        SchemaMismatch: one has no name, no type, a name that another one has; or none is what the table is partitioned by.
    """
    names = [column.name.lower() for column in query.columns]
    for index, column in enumerate(query.columns):
        if not column.name or re.fullmatch(r"_col\d+", column.name):
            raise SchemaMismatch(f"column {index + 1} of the job's output has no name", fix="write `expression AS name`")
        if column.type == "unknown":
            raise SchemaMismatch(f"column {column.name} has no type", fix=f"write CAST(NULL AS varchar) AS {column.name}")
        if names.index(column.name.lower()) != index:
            raise SchemaMismatch(f"the job's output has two columns {column.name}", fix="rename one of them")
    schema.check_partitioning(as_catalog(query.columns), output)


def as_catalog(columns: Sequence[Column]) -> tuple[catalog.Column, ...]:
    """Columns with the types' names of the catalog and of Spark."""
    return tuple(catalog.Column(column.name.lower(), spark_type(column.type)) for column in columns)


def aligned(query: Query, table: str, target: Sequence[Column]) -> str:
    """A query that gives the target's columns in its order and types.

    Raises:
        SchemaMismatch: a column is missing, unknown, or of a type that does not fit.
    """
    given = {column.name.lower(): column.type for column in query.columns}
    wanted = {column.name.lower(): column.type for column in target}
    schema.check_fit(given, wanted, table, as_spark=spark_type)
    columns = [
        quoted(name) if given[name] == kind else f"CAST({quoted(name)} AS {kind}) AS {quoted(name)}" for name, kind in wanted.items()
    ]
    return f"SELECT {', '.join(columns)} FROM (\n{query.text}\n)"


def spark_type(kind: str) -> str:
    """`timestamp(6) with time zone` -> `timestamp`, `row(a integer)` -> as it is but for the names of plain types."""
    kind = kind.lower()
    if kind.startswith("timestamp"):
        return "timestamp" if kind.endswith("with time zone") else "timestamp_ntz"
    plain = re.sub(r"\(\d+\)\Z", "", kind)
    return _NAMES.get(plain, kind)
