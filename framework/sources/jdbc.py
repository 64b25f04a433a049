"""JDBC sources: one connection entry as driver options, and the relation that the database reads."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from framework import jobs, predicates
from framework.config import model
from framework.config.references import Resolver
from framework.errors import BadData, ConfigError, DatasetNotFound, nearest
from framework.sources import splits

DRIVERS = {"postgresql": "org.postgresql.Driver", "mysql": "com.mysql.cj.jdbc.Driver"}
_DIALECTS = {"postgresql": "postgres", "mysql": "mysql"}
# What a job's sessions want of their driver; an entry's own `options:` come after them.
SESSION: Mapping[str, Mapping[str, str]] = {
    "postgresql": {},
    "mysql": {
        # Without it Connector/J takes no notice of the fetch size and holds the whole result in memory.
        "useCursorFetch": "true",
        # A TIMESTAMP comes in the session's zone, which is the server's unless it is set; a job's sessions are in UTC.
        "connectionTimeZone": "+00:00",
        "forceConnectionTimeZoneToSession": "true",
        # A year is a number, not its first of January.
        "yearIsDateType": "false",
    },
}
# Values come in binary from the first execution on: half the CPU time of a read (pgjdbc, prepareThreshold).
_READS = {"postgresql": {"prepareThreshold": "-1"}, "mysql": {}}
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?\Z")


@dataclass(frozen=True)
class JdbcRead:
    """One read of a database.

    Attributes:
        name: the input's, for messages and for whoever looks at the database's sessions.
        connection: name of its entry in the configuration.
        kind: postgresql or mysql.
        table: `table` or `schema.table`.
        predicate: in the database's SQL, None for the whole table.
        described: `connection.table where predicate`, for people.
        url: without credentials.
        properties: driver options, user and password included; never printed.
        fetch_size: rows a round trip.
        types: Spark SQL types of columns that Spark's own mapping does not fit.
        watermark: the column that grows with every change, of an incremental read.
        after: its greatest value that was read before, as the database writes it.
        lookback: how far below that the read begins.
        dedupe: which of several rows of one key is read.
        split_by: the column that the job wants the read to be split by.
        max_connections: how many connections the run may hold to this database.
    """

    name: str
    connection: str
    kind: str
    table: str
    predicate: str | None
    described: str
    url: str
    properties: Mapping[str, str] = field(repr=False)
    fetch_size: int = 10_000
    types: Mapping[str, str] = field(default_factory=dict)
    watermark: str | None = None
    after: str | None = None
    lookback: dt.timedelta | int | None = None
    dedupe: jobs.Newest | None = None
    split_by: str | None = None
    max_connections: int = 4

    @property
    def relation(self) -> str:
        """What stands after FROM: the table, or a subquery that carries the predicate."""
        if self.predicate is None:
            return self.table
        # On a line of its own: the predicate may end in a comment.
        return f"(SELECT * FROM {self.table} WHERE {self.predicate}\n) AS {self.table.rsplit('.', 1)[-1]}"

    @property
    def mark(self) -> str:
        """A comment that goes with every statement: it tells inputs of one table apart, in Spark's plans and in the database's."""
        return f"/* emrjobs {re.sub(r'[^A-Za-z0-9_]', '_', self.name)} */"


@dataclass(frozen=True)
class Database:
    """One connection entry with its references resolved.

    Attributes:
        connection: name of its entry.
        kind: postgresql or mysql.
        name: of the database.
        options: the entry's own driver properties.
    """

    connection: str
    kind: str
    host: str
    port: str
    name: str
    user: str
    password: str | None = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)
    max_connections: int = 4

    @property
    def url(self) -> str:
        """For JDBC, without credentials."""
        return f"jdbc:{self.kind}://{self.host}:{self.port}/{self.name}"

    @property
    def login(self) -> dict[str, str]:
        """Driver, user and password as JDBC properties; never printed."""
        keys = {"driver": DRIVERS[self.kind], "user": self.user}
        return keys | ({"password": self.password} if self.password else {})

    def describe(self) -> str:
        """For messages."""
        return f"{self.connection} ({self.kind}://{self.host}:{self.port}/{self.name})"


def find(connections: Mapping[str, model.Connection], name: str, *, where: str | None) -> model.Connection:
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


def since(read: JdbcRead, reached: str | None) -> str | None:
    """The predicate of an incremental read, from the last run's watermark to the one that this run reaches; None for all rows.

    Rows whose watermark is null are read each time: nothing tells whether they are new.

    Raises:
        BadData: the last watermark is none from which a lookback can be taken.
    """
    assert read.watermark is not None
    column = splits.quoted(read.watermark, read.kind)
    told = []

    def literal(value: str) -> str:
        # MySQL would compare a text and a number as floating-point numbers.
        return value if read.kind == "mysql" and re.fullmatch(r"-?\d+", value) else splits.text(value, read.kind)

    if read.after is not None:
        try:
            low = _earlier(read.after, read.lookback)
        except (ValueError, OverflowError) as exc:
            raise BadData(f"input {read.name}: no lookback of {read.lookback} can be taken from the watermark {read.after}") from exc
        told.append(f"{column} {'>' if read.lookback is None else '>='} {literal(low)}")
    if reached is not None:
        told.append(f"{column} <= {literal(reached)}")
    return f"({' AND '.join(told)} OR {column} IS NULL)" if told else None


def _earlier(watermark: str, lookback: dt.timedelta | int | None) -> str:
    if lookback is None:
        return watermark
    if isinstance(lookback, dt.timedelta):
        return str(dt.datetime.fromisoformat(watermark) - lookback)
    return str(Decimal(watermark) - lookback)


def check_table(table: str, *, where: str | None = None) -> None:
    """Refuse what is not `table` or `schema.table`.

    Raises:
        DatasetNotFound: it is something else.
    """
    if not _TABLE.match(table):
        raise DatasetNotFound(f"{table!r} is not a table name", where=where, fix="write table or schema.table")


def open_entry(
    name: str, connection: model.Connection, resolver: Resolver, *, where: str | None = None, looked_in: tuple[str, ...] = ()
) -> Database:
    """A connection entry with its references resolved; nobody is asked but the stores of secrets.

    Raises:
        ConfigError: it has no JDBC driver.
        SecretUnresolved: the password's reference leads nowhere.
    """
    if connection.kind not in DRIVERS:
        raise ConfigError(
            f"connection {name} is {connection.kind}, which has no JDBC driver",
            where=where,
            fix="ask it from a Trino job, where it is a catalog",
        )
    key = f"connections.{name}"
    password = None
    if connection.password:
        password = resolver.hide(resolver.text(connection.password, key=f"{key}.password", looked_in=looked_in))
    return Database(
        connection=name,
        kind=connection.kind,
        host=resolver.text(connection.host, key=f"{key}.host"),
        port=resolver.text(connection.port or model.DEFAULT_PORTS[connection.kind], key=f"{key}.port"),
        name=connection.database,
        user=resolver.text(connection.user, key=f"{key}.user"),
        password=password,
        options=dict(connection.options),
        max_connections=connection.max_connections,
    )


def resolve(
    name: str,
    dataset: jobs.Jdbc,
    params: jobs.Params,
    connections: Mapping[str, model.Connection],
    resolver: Resolver,
    *,
    where: str,
    looked_in: tuple[str, ...] = (),
    after: str | None = None,
) -> JdbcRead:
    """Fill in a Jdbc input: predicate rendered, credentials resolved.

    Args:
        name: the input's.
        after: the watermark that was reached before.

    Raises:
        ConfigError: unknown connection, or none that has a JDBC driver.
        DatasetNotFound: the table's name is not a plain name.
        SecretUnresolved: the password's reference leads nowhere.
    """
    check_table(dataset.table, where=where)
    connection = find(connections, dataset.connection, where=where)
    database = open_entry(dataset.connection, connection, resolver, where=where, looked_in=looked_in)
    predicate = predicates.render(dataset.where, params, dialect(connection), where=where) if dataset.where else None
    return JdbcRead(
        name=name,
        connection=dataset.connection,
        kind=connection.kind,
        table=dataset.table,
        predicate=predicate,
        described=dataset.describe() + (f" where {predicate}" if predicate else ""),
        url=database.url,
        properties={**database.login, **SESSION[connection.kind], **_READS[connection.kind], **database.options},
        fetch_size=dataset.fetch_size,
        types=dict(dataset.types),
        watermark=dataset.watermark,
        after=after,
        lookback=dataset.lookback,
        dedupe=dataset.dedupe,
        split_by=dataset.split_by,
        max_connections=connection.max_connections,
    )
