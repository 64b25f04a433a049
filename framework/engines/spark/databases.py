"""Databases read in parallel: one snapshot, a bounded number of connections, parts of about one size.

One connection a database, the coordinator, looks at the tables, exports its snapshot (PostgreSQL) and stays open while Spark's
tasks read that same snapshot over connections of their own. Its transaction also holds a share lock on every table that it has
looked at: nobody can alter, truncate or rewrite one meanwhile.

Spark's own JDBC source does the reading: it prunes columns and pushes filters of the job into the database. With values in binary
it read 5 million rows in 1.7 s on two cores; ADBC (binary COPY, Arrow batches) inside Python tasks took 3.0 s there, and as text
Spark's source took 2.7 s.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from framework.errors import JobDefinitionError, nearest
from framework.publish.threads import beside
from framework.sources import splits
from framework.sources.jdbc import JdbcRead, since
from framework.sources.splits import Key, TableFacts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_log = logging.getLogger(__name__)

# Types whose values have an order that the database compares by, and a text that it reads back exactly.
_NUMERIC = {"smallint", "integer", "bigint", "numeric", "int2", "int4", "int8", "tinyint", "mediumint", "int", "decimal"}
_ORDERED = _NUMERIC | {"date", "timestamp", "timestamptz", "datetime", "uuid", "text", "varchar", "bpchar", "char"}
_WIDEST = 38  # digits of Spark's decimal

_POSTGRES_FACTS = """
SELECT c.relkind::text, greatest(c.reltuples, 0)::bigint, greatest(pg_relation_size(c.oid), 0) / current_setting('block_size')::bigint,
    current_setting('server_version_num')::int,
    (SELECT a.attname || ':' || t.typname FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        JOIN pg_type t ON t.oid = a.atttypid WHERE i.indrelid = c.oid AND i.indisprimary),
    (SELECT string_agg(a.attname || ':' || t.typname, chr(10) ORDER BY a.attnum) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
FROM pg_class c WHERE c.oid = '{table}'::regclass
"""
_MYSQL_COLUMNS = """
SELECT c.column_name, c.data_type, c.column_key, t.table_type
FROM information_schema.columns c JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = {schema} AND c.table_name = '{table}' ORDER BY c.ordinal_position
"""


class Databases:
    """The databases that one run reads; leaving the context closes what it holds open.

    Args:
        reads: all of the run: they share each connection's `max_connections`.
    """

    def __init__(self, spark: SparkSession, reads: Mapping[str, JdbcRead]) -> None:
        self._spark = spark
        self._reads = reads
        self._coordinators: dict[str, _Coordinator] = {}
        self.reached: dict[str, str] = {}
        """Watermark of each incremental read: the greatest value that it sees."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        for coordinator in self._coordinators.values():
            coordinator.close()

    def frame(self, read: JdbcRead) -> DataFrame:
        """The input as a DataFrame, in as many parts as its size is worth and its connections allow.

        Raises:
            JobDefinitionError: there is no column `split_by`.
        """
        if read.watermark:
            read = self._new_rows(read)
        inputs = [one for one in self._reads.values() if one.connection == read.connection]
        # The coordinator is one of the connections; tasks of two inputs may run at the same time.
        allowed = (read.max_connections - 1) // max(1, len(inputs))
        if allowed < 1:
            return self._whole(read)[1]
        most = min(allowed, self._spark.sparkContext.defaultParallelism)
        # Each takes a connection, which takes longer than what is asked over it.
        looking = beside(self._spark, partial(self._look, read, most))
        try:
            read, whole = self._whole(read)
        finally:
            wait([looking])
        coordinator, predicates = looking.result()
        if not predicates:
            # One statement sees one snapshot by itself.
            return whole if len(inputs) == 1 else self._open(read, coordinator.session())
        _log.info("input %s is read in %d parts: %s", read.name, len(predicates), "; ".join(predicates))
        # The predicate goes into each part: a subquery would hide the pages.
        parts = [f"({read.predicate}\n) AND ({predicate})" if read.predicate else predicate for predicate in predicates]
        properties = {**_options(read), **coordinator.session()}
        return self._spark.read.jdbc(read.url, f"{read.table} {read.mark}", predicates=parts, properties=properties)

    def _whole(self, read: JdbcRead) -> tuple[JdbcRead, DataFrame]:
        """The input in one part, with types that hold its values."""
        frame = self._open(read)
        exact = _exact(frame.schema.fields, read)
        return (read, frame) if exact is read else (exact, self._open(exact))

    def _look(self, read: JdbcRead, most: int) -> tuple[_Coordinator, list[str]]:
        coordinator = self._coordinator(read)
        return coordinator, coordinator.predicates(read, most)

    def _new_rows(self, read: JdbcRead) -> JdbcRead:
        """The read, narrowed to what no published run has read."""
        coordinator = self._coordinator(read)
        column, as_text = splits.quoted(read.watermark or "", read.kind), splits.text_type(read.kind)
        found = coordinator.rows(f"SELECT CAST(max({column}) AS {as_text}) FROM {read.relation} {read.mark}")[0][0]
        if read.max_connections == 1:  # the read itself needs it
            self._coordinators.pop(read.connection).close()
        reached = found if found is not None else read.after
        if reached is not None:
            self.reached[read.name] = reached
        narrowed = since(read, reached)
        if narrowed is None:
            return read
        return replace(read, predicate=f"({read.predicate}\n) AND {narrowed}" if read.predicate else narrowed)

    def _open(self, read: JdbcRead, session: Mapping[str, str] | None = None) -> DataFrame:
        options = {**_options(read), **(session or {}), "url": read.url, "dbtable": f"{read.relation} {read.mark}"}
        return self._spark.read.format("jdbc").options(**options).load()

    def _coordinator(self, read: JdbcRead) -> _Coordinator:
        if read.connection not in self._coordinators:
            self._coordinators[read.connection] = _Coordinator(self._spark, read)
        return self._coordinators[read.connection]


class _Coordinator:
    """One connection over the driver of Spark's own source, in one transaction from its first statement on."""

    def __init__(self, spark: SparkSession, read: JdbcRead) -> None:
        jvm: Any = spark._jvm
        options = jvm.org.apache.spark.sql.execution.datasources.jdbc.JDBCOptions(
            read.url, read.table, jvm.PythonUtils.toScalaMap(dict(read.properties))
        )
        dialect = jvm.org.apache.spark.sql.jdbc.JdbcDialects.get(read.url)
        self._connection = dialect.createConnectionFactory(options).apply(-1)
        self._kind = read.kind
        self._own_init = read.properties.get("sessionInitStatement")
        self._snapshot: str | None = None
        self._connection.setAutoCommit(False)
        if self._kind == "postgresql":
            self._connection.setReadOnly(True)
            self._connection.setTransactionIsolation(jvm.java.sql.Connection.TRANSACTION_REPEATABLE_READ)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the database may be gone; then so is the connection
            self._connection.rollback()
        with contextlib.suppress(Exception):
            self._connection.close()

    def session(self) -> dict[str, str]:
        """The option with which the connections of tasks read this connection's snapshot; empty where the database has no such thing."""
        if self._kind != "postgresql":
            return {}
        if self._snapshot is None:
            self._snapshot = self.rows("SELECT pg_export_snapshot()")[0][0]
        own = f"{self._own_init.rstrip().rstrip(';')}; " if self._own_init else ""
        # First in their transactions: Spark has switched auto-commit off before.
        take = f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{self._snapshot}'"
        return {"sessionInitStatement": f"{take}; {own}".rstrip("; ")}

    def predicates(self, read: JdbcRead, most: int) -> list[str]:
        """One predicate a part; empty when the read is not worth, or has no, split."""
        rows = self._estimate(read)
        parts = splits.count(rows, most)
        if parts < 2:
            return []
        facts = self._facts(read, rows)
        if splits.by_page(facts) and not read.split_by:
            assert facts.pages is not None
            return splits.page_predicates(facts.pages, parts)
        if facts.key:
            query = splits.quantile_query(read.relation, facts.key, rows, parts, read.kind)
            bounds = [row[0] for row in self.rows(f"{query} {read.mark}")]
            return splits.key_predicates(facts.key, bounds, read.kind)
        return splits.hash_predicates(facts.columns, parts, read.kind) if facts.columns else []

    def rows(self, query: str) -> list[list[str | None]]:
        """The result of a small query, as texts."""
        statement = self._connection.createStatement()
        try:
            result = statement.executeQuery(query)
            width = result.getMetaData().getColumnCount()
            found = []
            while result.next():
                found.append([result.getString(column) for column in range(1, width + 1)])
            return found
        finally:
            statement.close()

    def _estimate(self, read: JdbcRead) -> int:
        """Rows that the planner expects; asking costs a millisecond, counting would cost a read."""
        if self._kind == "postgresql":
            text = self.rows(f"EXPLAIN (FORMAT JSON) SELECT * FROM {read.relation} {read.mark}")[0][0]
            return int(json.loads(text or "[]")[0]["Plan"]["Plan Rows"])
        statement = f"EXPLAIN SELECT * FROM {read.table}" + (f" WHERE {read.predicate}\n" if read.predicate else "")
        names = self._columns_of(statement)
        rows, filtered = names.index("rows"), names.index("filtered") if "filtered" in names else None
        return sum(int(int(row[rows] or 0) * float((row[filtered] if filtered else None) or 100) / 100) for row in self.rows(statement))

    def _columns_of(self, statement: str) -> list[str]:
        made = self._connection.createStatement()
        try:
            data = made.executeQuery(statement).getMetaData()
            return [str(data.getColumnLabel(column)).lower() for column in range(1, data.getColumnCount() + 1)]
        finally:
            made.close()

    def _facts(self, read: JdbcRead, rows: int) -> TableFacts:
        if self._kind == "postgresql":
            kind, total, pages, version, primary, columns = self.rows(_POSTGRES_FACTS.format(table=read.table))[0]
            types = dict(column.rsplit(":", 1) for column in (columns or "").splitlines())
            by_page = kind in ("r", "m") and int(version or 0) >= 140_000
            share = rows / max(1, int(total or 0), rows)
            key = _key(read, types, (primary or "").rsplit(":", 1)[0])
            return TableFacts(rows, int(pages or 0) if by_page else None, share, key, list(types) if kind in ("r", "m", "p") else ())
        schema, dot, table = read.table.rpartition(".")
        found = self.rows(_MYSQL_COLUMNS.format(schema=f"'{schema}'" if dot else "database()", table=table))
        types = {str(name): str(kind) for name, kind, *_ in found}
        primary = next((str(row[0]) for row in found if row[2] == "PRI"), "")
        plain = all(row[3] == "BASE TABLE" for row in found)
        return TableFacts(rows, None, 1.0, _key(read, types, primary), list(types) if plain else ())


def _options(read: JdbcRead) -> dict[str, str]:
    types = {"customSchema": ", ".join(f"`{column}` {kind}" for column, kind in read.types.items())} if read.types else {}
    return {**read.properties, **types, "fetchsize": str(read.fetch_size)}


def _exact(fields: Sequence[Any], read: JdbcRead) -> JdbcRead:
    """The read with whatever it takes that no value is changed on its way."""
    # Spark makes a timestamp in 1970 of a time of day, and the driver cuts its fractions off.
    times = [one.name for one in fields if one.metadata.get("logical_time_type") and one.name not in read.types]
    if times:
        read = replace(read, types={**read.types, **dict.fromkeys(times, "string")})
    if guard := _guard(fields, read):
        read = replace(read, predicate=f"({read.predicate}\n) AND {guard}" if read.predicate else guard)
    return read


def _guard(fields: Sequence[Any], read: JdbcRead) -> str | None:
    """A predicate that is true, or ends the statement at a number that Spark's widest decimal would round.

    PostgreSQL's bare `numeric` has any number of digits; Spark makes decimal(38,18) of it, and rounds without a word.
    """
    if read.kind != "postgresql":
        return None
    told = [
        f"CASE WHEN scale({splits.quoted(one.name, read.kind)}) > {one.dataType.scale} THEN ({splits.quoted(one.name, read.kind)}::text || "
        f"' in column {one.name.replace(chr(39), chr(39) * 2)} has more than {one.dataType.scale} digits after the point')::int END IS NULL"
        for one in fields
        if one.dataType.typeName() == "decimal" and one.dataType.precision == _WIDEST and one.name not in read.types
    ]
    return " AND ".join(told) or None


def _key(read: JdbcRead, types: Mapping[str, str], primary: str) -> Key | None:
    """The column that the job names, else the first of the primary key where it has an order."""
    chosen = read.split_by or primary
    kind = types.get(chosen)
    if kind is None and read.split_by:
        raise JobDefinitionError(
            f"input {read.name}: {read.table} has no column {chosen} to split by", fix=nearest(chosen, types, what="column")
        )
    if kind is None or (kind not in _ORDERED and not read.split_by):
        return None
    return Key(chosen, kind in _NUMERIC)
