"""Publish to a table of a database: rows staged in a table beside it, and one transaction that makes them visible.

Whoever computes the rows, they are first written to `<table>__stage_...` in the table's own schema and types. Publishing takes
them over in one transaction, which also writes the publication's name to `emrjobs_publications`: a publication that is there is
not made again, whatever had happened to the run that made it. Readers see the old rows until that transaction commits, and are
not held up: rows are deleted and inserted, no table is truncated or renamed, so grants, views, indexes and keys stay.

A staged table that a killed run left is dropped by the next run of the same output and parameters, whose lease says that nobody
else is at work on it, or by a vacuum.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from framework import leases
from framework.catalog import Column
from framework.errors import BadData, ConfigError, SchemaMismatch, nearest
from framework.jobs import Jdbc, Job, Params
from framework.publish import Published, schema
from framework.sources import postgresql, splits
from framework.sources.jdbc import Database

if TYPE_CHECKING:
    import psycopg

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_ATTEMPTS = 5
PUBLICATIONS = "emrjobs_publications"
_LONGEST = 63  # bytes of a name (PostgreSQL, NAMEDATALEN)

# PostgreSQL's types in Spark's words; of any other one Spark gives and takes the text.
_SPARK_TYPES = {
    "smallint": "smallint",
    "integer": "int",
    "bigint": "bigint",
    "real": "float",
    "double precision": "double",
    "boolean": "boolean",
    "date": "date",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamp",
    "bytea": "binary",
}
_NEW_TYPES = {
    "tinyint": "smallint",
    "smallint": "smallint",
    "int": "integer",
    "bigint": "bigint",
    "float": "real",
    "double": "double precision",
    "boolean": "boolean",
    "string": "text",
    "date": "date",
    "timestamp": "timestamp with time zone",
    "timestamp_ntz": "timestamp without time zone",
    "binary": "bytea",
}

_WHERE = """
SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef AND attidentity = '', attgenerated <> '' OR attidentity = 'a'
FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_UNIQUE = """
SELECT 1 FROM pg_index i WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indimmediate
AND i.indpred IS NULL AND i.indexprs IS NULL AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
    WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) = %s::text[]
"""
_STAGES = """
SELECT c.relname, obj_description(c.oid, 'pg_class'), pg_total_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname LIKE '%%\\_\\_stage\\_%%' ORDER BY 1
"""


@dataclass(frozen=True)
class RunKeys:
    """What a run is called in the database.

    Attributes:
        slot: what its lease is on; at most one run at a time has it.
        publication: a publication of this name is made once.
    """

    run_id: str
    slot: str
    publication: str


def keys_of(job: Job, params: Params, run_id: str) -> RunKeys:
    """The names of one run.

    A publication is a run's, and so of all retries that carry its id. What is appended is a set of parameters': a rerun, after a
    crash or not, appends nothing twice. Without parameters, or with inputs of which each run reads what is new, runs of equal
    parameters are no reruns.
    """
    slot = hashlib.sha256(leases.key_of(job, params).encode()).hexdigest()[:8]
    incremental = any(isinstance(one, Jdbc) and one.watermark for one in job.inputs.values())
    if job.output.write_mode != "append" or not params or incremental:
        return RunKeys(run_id, slot, run_id)
    text = json.dumps([job.name, {name: str(value) for name, value in sorted(params.items())}])
    return RunKeys(run_id, slot, f"{job.name} {hashlib.sha256(text.encode()).hexdigest()[:24]}")


@dataclass(frozen=True)
class Abandoned:
    """A staged table that a run left.

    Attributes:
        staged: when it was made, by the database's clock.
    """

    name: str
    run_id: str
    staged: dt.datetime
    size_bytes: int


@dataclass(frozen=True)
class _Target:
    """The table as the database describes it.

    Attributes:
        columns: name in lower case -> its own name and type.
        required: those that no row can leave out.
        generated: those that only the database fills.
    """

    schema: str
    table: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    generated: frozenset[str] = frozenset()

    @property
    def exists(self) -> bool:
        return bool(self.columns)


class DatabaseTable:
    """Staged rows of one run in a database, and their way into its table. Holds no connection between two calls.

    Args:
        output: with a table's plain name.
    """

    def __init__(self, database: Database, output: Jdbc, keys: RunKeys) -> None:
        if database.kind != "postgresql":
            raise ConfigError(f"connection {database.connection} is {database.kind}; jobs publish to PostgreSQL only")
        self.database = database
        self._output = output
        self._keys = keys
        self._columns: tuple[str, ...] = ()
        self._partitions: tuple[str, ...] = ()
        self._known: _Target | None = None
        self._published = False

    # Names

    @property
    def stage(self) -> str:
        """The staged table, `schema.table`, both as they are written without quotes."""
        return f"{self._target.schema}.{self.stage_name}"

    @property
    def stage_name(self) -> str:
        """Name of the staged table within its schema."""
        run = self._keys.run_id
        stamp = re.match(r"[0-9T]*", run)
        tail = f"{self._keys.slot}_{stamp[0].lower() if stamp else ''}_{hashlib.sha256(run.encode()).hexdigest()[:6]}"
        mark = "__stage_"
        return f"{self._target.table[: _LONGEST - len(mark) - len(tail)]}{mark}{tail}"

    @property
    def _stage(self) -> str:
        return _quoted(self._target.schema, self.stage_name)

    @property
    def _table(self) -> str:
        return _quoted(self._target.schema, self._target.table)

    # Staging

    def prepare(self, columns: Sequence[Column], *, as_spark: Callable[[str], str] = str) -> tuple[str, ...]:
        """Make an empty staged table for rows with these columns, and drop those that ended runs of the same slot left.

        Args:
            columns: of the job's output, names in lower case, types in Spark's words.
            as_spark: the types in Spark's words where they are another engine's.

        Returns:
            The staged table's own names of these columns, in their order.

        Raises:
            SchemaMismatch: the columns do not fit the table, or the mode needs a column or an index that is not there.
        """
        with self._transaction() as cursor:
            self._known = target = self._describe(cursor)
            given = {column.name: as_spark(column.type) for column in columns}
            self._check(cursor, target, given)
            marker = (self._output.deletes or "").lower()
            self._columns = tuple(target.columns[name].name if target.exists else name for name in given if name != marker)
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [PUBLICATIONS])
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {_quoted(target.schema, PUBLICATIONS)} (target text, publication text, run_id text NOT NULL, "
                "published_rows bigint NOT NULL, published_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (target, publication))"
            )
            for left in self._stages(cursor, target, slot=self._keys.slot):
                _log.info("dropping what run %s had staged for %s", left.run_id, self._output.name)
                cursor.execute(f"DROP TABLE {_quoted(target.schema, left.name)}")
            if target.exists:
                extra = f', NULL::boolean AS "{marker}"' if marker else ""
                cursor.execute(f"CREATE TABLE {self._stage} AS SELECT {_list(self._columns)}{extra} FROM {self._table} WITH NO DATA")
            else:
                made = ", ".join(f"{_quoted(name)} {self._new_type(name, kind)}" for name, kind in given.items())
                cursor.execute(f"CREATE TABLE {self._stage} ({made})")
            told = {"emrjobs": {"table": target.table, "slot": self._keys.slot, "run": self._keys.run_id}}
            cursor.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')")
            told["emrjobs"]["staged"] = str(cursor.fetchone()[0])
            cursor.execute(f"COMMENT ON TABLE {self._stage} IS {splits.text(json.dumps(told), 'postgresql')}")
        return tuple(target.columns[name].name if name in target.columns else name for name in given)

    def staged(self) -> int:
        """Rows that are in the staged table.

        Raises:
            BadData: rows that are to be merged have keys that are null or not unique.
        """
        with self._transaction() as cursor:
            cursor.execute(f"SELECT count(*) FROM {self._stage}")
            rows = int(cursor.fetchone()[0])
            if self._output.keys:
                self._check_keys(cursor)
            if self._output.partitioned_by:
                names = self._own(self._output.partitioned_by)
                texts = ", ".join(f"coalesce({_quoted(name)}::text, 'null')" for name in names)
                cursor.execute(f"SELECT DISTINCT {texts} FROM {self._stage} ORDER BY {texts}")
                self._partitions = tuple("/".join(f"{key}={value}" for key, value in zip(names, row, strict=True)) for row in cursor)
        return rows

    def pages(self) -> int:
        """Pages of the staged table, for a read in parts."""
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_relation_size(to_regclass(%s)) / current_setting('block_size')::bigint", [self._stage])
            return int(cursor.fetchone()[0])

    def discard(self) -> None:
        """Drop the staged table of a run that published nothing."""
        if self._known is not None and not self._published:
            with self._transaction() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS {self._stage}")

    # Publishing

    def publish(self, rows: int) -> Published:
        """Make the staged rows visible in one transaction; when its outcome is not known, ask the database and try again.

        Args:
            rows: as staged.

        Returns:
            What this publication, now or at an earlier attempt, made visible; of one that an earlier run made: no rows, and that
            run as `version` and `previous`.

        Raises:
            BadData: a constraint of the table refuses the rows.
            PublishConflict: other transactions were in the way each time.
            ServiceUnavailable: the database does not answer.
        """
        done = self._again(lambda: self._publish(rows))
        self._published = True
        return done

    def _publish(self, rows: int) -> Published:
        run, publication = self._keys.run_id, self._keys.publication if rows else self._keys.run_id
        with self._transaction(explained=False) as cursor:
            publications = _quoted(self._target.schema, PUBLICATIONS)
            cursor.execute(
                f"INSERT INTO {publications} (target, publication, run_id, published_rows) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [self._target.table, publication, run, rows],
            )
            if not cursor.rowcount:
                cursor.execute(
                    f"SELECT run_id FROM {publications} WHERE target = %s AND publication = %s", [self._target.table, publication]
                )
                made_by = str(cursor.fetchone()[0])
                cursor.execute(f"DROP TABLE IF EXISTS {self._stage}")
                _log.info("%s is already published to %s, by run %s", publication, self._output.name, made_by)
                if made_by != run:
                    return Published(self._output.name, 0, (), made_by, made_by)
                return Published(self._output.name, rows, self._partitions, run, None)
            if not self._target.exists:
                self._create(cursor)
            for statement in self._statements():
                cursor.execute(statement)
            cursor.execute(f"DROP TABLE {self._stage}")
        return Published(self._output.name, rows, self._partitions, run, None)

    def _create(self, cursor: Any) -> None:
        """Make the table, unless another first run has just done so."""
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [self._table])
        cursor.execute("SELECT to_regclass(%s) IS NULL", [self._table])
        if cursor.fetchone()[0]:
            cursor.execute(f"CREATE TABLE {self._table} AS SELECT {_list(self._columns)} FROM {self._stage} WITH NO DATA")
            if self._output.keys:
                cursor.execute(f"ALTER TABLE {self._table} ADD PRIMARY KEY ({_list(self._own(self._output.keys))})")

    def _statements(self) -> Iterator[str]:
        """What the transaction does to the table, by the mode."""
        mode, columns = self._output.write_mode, _list(self._columns)
        insert = f"INSERT INTO {self._table} ({columns}) SELECT {columns} FROM {self._stage}"
        if mode == "overwrite":
            yield f"DELETE FROM {self._table}"
        elif mode == "overwrite_partitions":
            same = " AND ".join(
                f"s.{_quoted(name)} IS NOT DISTINCT FROM t.{_quoted(name)}" for name in self._own(self._output.partitioned_by)
            )
            yield f"DELETE FROM {self._table} AS t WHERE EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {same})"
        elif mode == "merge":
            keys = self._own(self._output.keys)
            if marker := (self._output.deletes or "").lower():
                same = " AND ".join(f"s.{_quoted(key)} = t.{_quoted(key)}" for key in keys)
                yield f"DELETE FROM {self._table} AS t WHERE EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {same} AND s.{_quoted(marker)})"
                insert += f" WHERE {_quoted(marker)} IS NOT TRUE"
            changes = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in self._columns if name not in keys)
            # In the order of the keys: two runs that merge the same rows at once wait for each other instead of for ever.
            insert += f" ORDER BY {_list(keys)} ON CONFLICT ({_list(keys)}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"
        yield insert

    # Cleaning up

    def abandoned(self, until: dt.datetime) -> list[Abandoned]:
        """Staged tables for this table that are older."""
        with self._transaction() as cursor:
            self._known = self._describe(cursor)
            return [left for left in self._stages(cursor, self._known) if left.staged < until]

    def drop(self, left: Sequence[Abandoned]) -> None:
        """Drop abandoned staged tables."""
        with self._transaction() as cursor:
            for one in left:
                cursor.execute(f"DROP TABLE IF EXISTS {_quoted(self._target.schema, one.name)}")

    # Below

    @property
    def _target(self) -> _Target:
        assert self._known is not None, "prepare() comes first"
        return self._known

    def _own(self, names: Sequence[str]) -> list[str]:
        """The table's own spelling of columns."""
        return [self._target.columns[name.lower()].name if self._target.exists else name.lower() for name in names]

    def _describe(self, cursor: Any) -> _Target:
        cursor.execute(_WHERE, [self._output.table])
        found = cursor.fetchone()
        if found is None:
            cursor.execute("SELECT current_schema()")
            own, _, name = self._output.table.lower().rpartition(".")
            return _Target(own or str(cursor.fetchone()[0]), name)
        if found[2] not in ("r", "p"):
            raise SchemaMismatch(f"{self._output.name} is not a table", fix="publish to a table; views are read only")
        cursor.execute(_COLUMNS, [self._output.table])
        columns = cursor.fetchall()
        return _Target(
            found[0],
            found[1],
            {name.lower(): Column(name, kind) for name, kind, _, _ in columns},
            frozenset(name.lower() for name, _, required, _ in columns if required),
            frozenset(name.lower() for name, _, _, generated in columns if generated),
        )

    def _check(self, cursor: Any, target: _Target, given: Mapping[str, str]) -> None:
        output = self._output
        marker = (output.deletes or "").lower()
        for name in (*output.keys, *output.partitioned_by, *([marker] if marker else [])):
            if name.lower() not in given:
                raise SchemaMismatch(
                    f"the job's output has no column {name}, which {output.name} is published by",
                    fix=nearest(name.lower(), given, what="column"),
                )
        if not target.exists:
            return
        if written := [name for name in given if name in target.generated]:
            raise SchemaMismatch(
                f"column {written[0]} of {output.name} is generated by the database", fix="leave it out of the job's output"
            )
        own = {name: kind for name, kind in given.items() if name != marker}
        wanted = {
            name: _spark_type(column.type, own.get(name, ""))
            for name, column in target.columns.items()
            if name in own or name in target.required
        }
        schema.check_fit(own, wanted, output.name)
        if output.keys:
            cursor.execute(_UNIQUE, [self._output.table, sorted(target.columns[key.lower()].name for key in output.keys)])
            if cursor.fetchone() is None:
                names = ", ".join(output.keys)
                raise SchemaMismatch(
                    f"{output.name} has no unique index over {names}, by which rows are merged",
                    fix=f"create one in the database: CREATE UNIQUE INDEX ON {target.table} ({names})",
                )

    def _check_keys(self, cursor: Any) -> None:
        keys = self._own(self._output.keys)
        missing = " OR ".join(f"{_quoted(key)} IS NULL" for key in keys)
        cursor.execute(f"SELECT {_list(keys)}, count(*) FROM {self._stage} GROUP BY {_list(keys)} HAVING count(*) > 1 OR {missing} LIMIT 5")
        if bad := cursor.fetchall():
            raise BadData(
                f"the job's output has keys ({', '.join(keys)}) that are null or not unique; {self._output.name} cannot be merged by them",
                details=[
                    ", ".join(f"{key}={value!r}" for key, value in zip(keys, row[:-1], strict=True)) + f": {row[-1]} rows" for row in bad
                ],
                fix="let the job give one row a key; `dedupe` of an input keeps the newest of several",
            )

    def _new_type(self, name: str, kind: str) -> str:
        """The database's type of a new column."""
        for column, wanted in self._output.types.items():
            if column.lower() == name:
                return wanted
        if array := re.fullmatch(r"array<(.*)>", kind):
            return f"{self._new_type('', array[1])}[]"
        if kind.startswith("decimal"):
            return kind.replace("decimal", "numeric")
        if kind.startswith(("varchar", "char")):
            return kind
        if kind not in _NEW_TYPES:
            raise SchemaMismatch(
                f"column {name} is {kind}, which {self.database.kind} has no type for",
                fix=f"give it as text: to_json({name})" if name else "give it as text, by to_json",
            )
        return _NEW_TYPES[kind]

    def _stages(self, cursor: Any, target: _Target, *, slot: str | None = None) -> list[Abandoned]:
        cursor.execute(_STAGES, [target.schema])
        found = []
        for name, comment, size in cursor.fetchall():
            try:
                told = json.loads(comment)["emrjobs"]
                staged = dt.datetime.fromisoformat(told["staged"]).replace(tzinfo=dt.UTC)
                if told["table"] == target.table and slot in (None, told["slot"]):
                    found.append(Abandoned(name, told["run"], staged, int(size)))
            except (TypeError, ValueError, KeyError):  # somebody else's table
                continue
        return found

    @contextmanager
    def _transaction(self, *, explained: bool = True) -> Iterator[Any]:
        """A cursor; its statements are committed together when the context is left.

        Args:
            explained: errors are raised as this framework's, else as psycopg's.
        """
        import psycopg

        try:
            with postgresql.connect(self.database) as connection, connection.cursor() as cursor:
                yield cursor
        except psycopg.Error as exc:
            if not explained:
                raise
            raise self._explain(exc) from exc

    def _explain(self, exc: psycopg.Error) -> Exception:
        return postgresql.explain(exc, self.database, f"output {self._output.name}")

    def _again(self, act: Callable[[], _T]) -> _T:
        """Act until it succeeds: after a conflict with another transaction, or a connection that broke with an unknown outcome."""
        import psycopg
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(psycopg.OperationalError),
                wait=wait_random_exponential(multiplier=0.2, max=3),
                stop=stop_after_attempt(_ATTEMPTS),
                reraise=True,
            ):
                with attempt:
                    return act()
        except psycopg.Error as exc:
            raise self._explain(exc) from exc
        raise AssertionError("unreachable")


def _quoted(*names: str) -> str:
    return ".".join(splits.quoted(name, "postgresql") for name in names)


def _list(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _spark_type(kind: str, given: str) -> str:
    """A column's type in Spark's words.

    Args:
        given: what the job gives for it: a bare `numeric` holds any number of digits.
    """
    if kind.endswith("[]"):
        element = re.sub(r"^array<(.*)>$", r"\1", given)
        return f"array<{_spark_type(kind[:-2], element)}>"
    if kind == "numeric":
        return given if re.match(r"decimal|(tiny|small|big)?int$", given) else "decimal(38,18)"
    if kind.startswith("numeric"):
        return kind.replace("numeric", "decimal")
    return _SPARK_TYPES.get(kind, "string")
