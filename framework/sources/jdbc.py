"""JDBC sources: one connection entry as driver options, and the query that the database runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from framework import jobs, predicates
from framework.config import model
from framework.config.references import Resolver
from framework.errors import ConfigError, DatasetNotFound, nearest

_DRIVERS = {"postgresql": "org.postgresql.Driver", "mysql": "com.mysql.cj.jdbc.Driver"}
_DIALECTS = {"postgresql": "postgres", "mysql": "mysql"}
_PORTS = {"postgresql": 5432, "mysql": 3306}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?\Z")


@dataclass(frozen=True)
class JdbcRead:
    """One read of a database.

    Attributes:
        connection: its name, for messages.
        described: `connection.table where predicate`, for people.
        url: without credentials.
        query: the relation that Spark reads: a table, or a subquery that carries the predicate.
        properties: driver options, user and password included; never printed.
        fetch_size: rows a round trip.
    """

    connection: str
    described: str
    url: str
    query: str
    properties: Mapping[str, str] = field(repr=False)
    fetch_size: int = 10_000


def find(connections: Mapping[str, model.Connection], name: str, *, where: str) -> model.Connection:
    """A connection by name.

    Raises:
        ConfigError: the configuration has none of that name.
    """
    if name not in connections:
        raise ConfigError(f"there is no connection {name!r}", where=where, fix=nearest(name, connections, what="entry in `connections:`"))
    return connections[name]


def dialect(connection: model.Connection) -> str:
    """The SQL dialect of a connection's database, as sqlglot and `framework.predicates` name it."""
    return _DIALECTS[connection.kind]


def query(dataset: jobs.Jdbc, predicate: str | None, *, where: str) -> str:
    """The relation to read: Spark's column pruning and filters are added to it by Spark itself.

    Args:
        predicate: the dataset's own, rendered.

    Raises:
        DatasetNotFound: the table's name is not a plain name.
    """
    if not _IDENTIFIER.match(dataset.table):
        raise DatasetNotFound(f"{dataset.table!r} is not a table name", where=where, fix="write table or schema.table")
    if predicate is None:
        return dataset.table
    # On a line of its own: the predicate may end in a comment.
    return f"(SELECT * FROM {dataset.table} WHERE {predicate}\n) AS {dataset.table.rsplit('.', 1)[-1]}"


def resolve(
    dataset: jobs.Jdbc,
    params: jobs.Params,
    connections: Mapping[str, model.Connection],
    resolver: Resolver,
    *,
    where: str,
    looked_in: tuple[str, ...] = (),
) -> JdbcRead:
    """Fill in a Jdbc input: predicate rendered, credentials resolved.

    Raises:
        ConfigError: unknown connection.
        SecretUnresolved: the password's reference leads nowhere.
    """
    connection = find(connections, dataset.connection, where=where)
    key = f"connections.{dataset.connection}"
    properties = {"driver": _DRIVERS[connection.kind], "user": resolver.text(connection.user, key=f"{key}.user"), **connection.options}
    if connection.password:
        properties["password"] = resolver.hide(resolver.text(connection.password, key=f"{key}.password", looked_in=looked_in))
    host = resolver.text(connection.host, key=f"{key}.host")
    port = resolver.text(connection.port or _PORTS[connection.kind], key=f"{key}.port")
    predicate = predicates.render(dataset.where, params, dialect(connection), where=where) if dataset.where else None
    return JdbcRead(
        connection=dataset.connection,
        described=dataset.describe() + (f" where {predicate}" if predicate else ""),
        url=f"jdbc:{connection.kind}://{host}:{port}/{connection.database}",
        query=query(dataset, predicate, where=where),
        properties=properties,
        fetch_size=dataset.fetch_size,
    )
