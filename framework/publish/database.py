"""Publish to a table of a database: rows staged in a table beside it, and one transaction that makes them visible.

Whoever computes the rows, they are first written to `<table>__stage_...` in the table's own schema and types. Publishing takes
them over in one transaction, which also writes the publication's name to `emrjobs_publications`: a publication that is there is
not made again, whatever had happened to the run that made it. Readers see the old rows until that transaction commits, and are
not held up: rows are deleted and inserted, no table is truncated or renamed, so grants, views, indexes and keys stay.
What is different from one kind of database to the next is in `dialects/`.

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
from dataclasses import dataclass
from typing import Any, TypeVar

from framework import leases
from framework.catalog import Column
from framework.errors import EmrjobsError, SchemaMismatch
from framework.jobs import Jdbc, Job, Params
from framework.publish import Published, schema
from framework.publish.dialects import PUBLICATIONS, STAGE_MARK, Target, open_dialect
from framework.sources import splits
from framework.sources.jdbc import Database

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_ATTEMPTS = 5


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


class DatabaseTable:
    """Staged rows of one run in a database, and their way into its table. Holds no connection between two calls.

    Args:
        output: with a table's plain name.
    """

    def __init__(self, database: Database, output: Jdbc, keys: RunKeys) -> None:
        self._dialect = open_dialect(database)
        self._client = self._dialect.client
        self.database = database
        self._output = output
        self._keys = keys
        self._columns: tuple[str, ...] = ()
        self._partitions: tuple[str, ...] = ()
        self._new: dict[str, str] = {}
        self._known: Target | None = None
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
        return f"{self._target.table[: self._dialect.longest - len(STAGE_MARK) - len(tail)]}{STAGE_MARK}{tail}"

    @property
    def _stage(self) -> str:
        return self._quoted(self._target.schema, self.stage_name)

    @property
    def _table(self) -> str:
        return self._quoted(self._target.schema, self._target.table)

    @property
    def _publications(self) -> str:
        return self._quoted(self._target.schema, PUBLICATIONS)

    def _quoted(self, *names: str) -> str:
        return ".".join(splits.quoted(name, self.database.kind) for name in names)

    def _list(self, names: Sequence[str]) -> str:
        return ", ".join(map(self._quoted, names))

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
            self._known = target = self._dialect.describe(cursor, self._output.table, self._output.name)
            given = {column.name: as_spark(column.type) for column in columns}
            self._check(cursor, target, given)
            marker = (self._output.deletes or "").lower()
            self._columns = tuple(target.columns[name].name if target.exists else name for name in given if name != marker)
            self._new = {} if target.exists else {name: self._new_type(name, kind) for name, kind in given.items() if name != marker}
            self._dialect.lock(cursor, PUBLICATIONS)
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {self._publications} ({self._dialect.publications})")
            for left in self._stages(cursor, target, slot=self._keys.slot):
                _log.info("dropping what run %s had staged for %s", left.run_id, self._output.name)
                cursor.execute(f"DROP TABLE {self._quoted(target.schema, left.name)}")
            kinds = self._new or {name: target.columns[name.lower()].type for name in self._columns}
            made = [f"{self._quoted(name)} {kind} NULL" for name, kind in kinds.items()]
            if marker:
                made.append(f"{self._quoted(marker)} boolean")
            cursor.execute(self._dialect.clock)
            told = {"table": target.table, "slot": self._keys.slot, "run": self._keys.run_id, "staged": str(cursor.fetchone()[0])}
            self._dialect.make_stage(cursor, self._stage, ", ".join(made), json.dumps({"emrjobs": told}))
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
                kind = splits.text_type(self.database.kind)
                texts = ", ".join(f"coalesce(CAST({self._quoted(name)} AS {kind}), 'null')" for name in names)
                cursor.execute(f"SELECT DISTINCT {texts} FROM {self._stage} ORDER BY {texts}")
                self._partitions = tuple("/".join(f"{key}={value}" for key, value in zip(names, row, strict=True)) for row in cursor)
        return rows

    def parts(self, count: int) -> list[str]:
        """Predicates that cut the staged table into parts; none to read it in one."""
        with self._transaction() as cursor:
            return self._dialect.parts(cursor, self._stage, count)

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
        if self._dialect.ddl_commits and not self._target.exists:
            with self._transaction() as cursor:
                self._create(cursor)
        done = self._again(lambda: self._publish(rows))
        self._published = True
        if self._dialect.ddl_commits:
            try:
                with self._transaction() as cursor:
                    cursor.execute(f"DROP TABLE IF EXISTS {self._stage}")
            except EmrjobsError as exc:  # published all the same; the next run, or a vacuum, drops it
                _log.warning("%s stays: %s", self.stage, exc)
        return done

    def _publish(self, rows: int) -> Published:
        run, publication = self._keys.run_id, self._keys.publication if rows else self._keys.run_id
        with self._transaction(explained=False) as cursor:
            cursor.execute(
                f"INSERT INTO {self._publications} (target, publication, run_id, published_rows) VALUES (%s, %s, %s, %s) "
                f"{self._dialect.once}",
                [self._target.table, publication, run, rows],
            )
            made_by = run
            if new := bool(cursor.rowcount):
                if not self._target.exists and not self._dialect.ddl_commits:
                    self._create(cursor)
                for statement in self._statements():
                    cursor.execute(statement)
            else:
                cursor.execute(
                    f"SELECT run_id FROM {self._publications} WHERE target = %s AND publication = %s", [self._target.table, publication]
                )
                made_by = str(cursor.fetchone()[0])
                _log.info("%s is already published to %s, by run %s", publication, self._output.name, made_by)
            if not self._dialect.ddl_commits:
                cursor.execute(f"DROP TABLE {'' if new else 'IF EXISTS '}{self._stage}")
        if made_by != run:
            return Published(self._output.name, 0, (), made_by, made_by)
        return Published(self._output.name, rows, self._partitions, run, None)

    def _create(self, cursor: Any) -> None:
        """Make the table, unless another first run has just done so."""
        self._dialect.lock(cursor, self._table)
        made = [f"{self._quoted(name)} {kind}" for name, kind in self._new.items()]
        if self._output.keys:
            made.append(f"PRIMARY KEY ({self._list(self._own(self._output.keys))})")
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({', '.join(made)})")

    def _statements(self) -> Iterator[str]:
        """What the transaction does to the table, by the mode."""
        mode, columns, quoted = self._output.write_mode, self._list(self._columns), self._quoted
        insert = f"INSERT INTO {self._table} ({columns}) SELECT {columns} FROM {self._stage}"
        if mode == "overwrite":
            yield f"DELETE FROM {self._table}"
        elif mode == "overwrite_partitions":
            same = " AND ".join(
                f"s.{quoted(name)} {self._dialect.same} t.{quoted(name)}" for name in self._own(self._output.partitioned_by)
            )
            yield f"{self._dialect.delete(self._table)} WHERE EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {same})"
        elif mode == "merge":
            keys = self._own(self._output.keys)
            if marker := (self._output.deletes or "").lower():
                same = " AND ".join(f"s.{quoted(key)} = t.{quoted(key)}" for key in keys)
                gone = f"SELECT 1 FROM {self._stage} AS s WHERE {same} AND s.{quoted(marker)}"
                yield f"{self._dialect.delete(self._table)} WHERE EXISTS ({gone})"
                insert += f" WHERE {quoted(marker)} IS NOT TRUE"
            others = [quoted(name) for name in self._columns if name not in keys]
            # In the order of the keys: two runs that merge the same rows at once wait for each other instead of for ever.
            insert += f" ORDER BY {self._list(keys)} {self._dialect.upsert([quoted(key) for key in keys], others)}"
        yield insert

    # Cleaning up

    def abandoned(self, until: dt.datetime) -> list[Abandoned]:
        """Staged tables for this table that are older."""
        with self._transaction() as cursor:
            self._known = self._dialect.describe(cursor, self._output.table, self._output.name)
            return [left for left in self._stages(cursor, self._known) if left.staged < until]

    def drop(self, left: Sequence[Abandoned]) -> None:
        """Drop abandoned staged tables."""
        with self._transaction() as cursor:
            for one in left:
                cursor.execute(f"DROP TABLE IF EXISTS {self._quoted(self._target.schema, one.name)}")

    # Below

    @property
    def _target(self) -> Target:
        assert self._known is not None, "prepare() comes first"
        return self._known

    def _own(self, names: Sequence[str]) -> list[str]:
        """The table's own spelling of columns."""
        return [self._target.columns[name.lower()].name if self._target.exists else name.lower() for name in names]

    def _check(self, cursor: Any, target: Target, given: Mapping[str, str]) -> None:
        output = self._output
        marker = (output.deletes or "").lower()
        schema.check_merging(given, output)
        schema.check_named(output.partitioned_by, given, output.name, "partitioned")
        if not target.exists:
            return
        if written := [name for name in given if name in target.generated]:
            raise SchemaMismatch(
                f"column {written[0]} of {output.name} is generated by the database", fix="leave it out of the job's output"
            )
        own = {name: kind for name, kind in given.items() if name != marker}
        wanted = {
            name: self._dialect.spark_type(column.type, own.get(name, ""))
            for name, column in target.columns.items()
            if name in own or name in target.required
        }
        schema.check_fit(own, wanted, output.name)
        if output.keys:
            names = [target.columns[name].name for name in own]
            self._dialect.check_keys(cursor, target, self._own(output.keys), names, output.name)

    def _check_keys(self, cursor: Any) -> None:
        keys = self._own(self._output.keys)
        missing = " OR ".join(f"{self._quoted(key)} IS NULL" for key in keys)
        cursor.execute(
            f"SELECT {self._list(keys)}, count(*) FROM {self._stage} GROUP BY {self._list(keys)} HAVING count(*) > 1 OR {missing} LIMIT 5"
        )
        if bad := cursor.fetchall():
            raise schema.bad_keys(self._output.name, keys, bad)

    def _new_type(self, name: str, kind: str) -> str:
        """The database's type of a new column."""
        for column, wanted in self._output.types.items():
            if column.lower() == name:
                return wanted
        if made := self._dialect.new_type(kind, key=name in {key.lower() for key in self._output.keys}):
            return made
        raise SchemaMismatch(
            f"column {name} is {kind}, which {self.database.kind} has no type for", fix=f"give it as text: to_json({name})"
        )

    def _stages(self, cursor: Any, target: Target, *, slot: str | None = None) -> list[Abandoned]:
        found = []
        for name, comment, size in self._dialect.stages(cursor, target.schema):
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
            explained: errors are raised as this framework's, else as the client's.
        """
        try:
            with self._client.connect(self.database) as connection, connection.cursor() as cursor:
                yield cursor
        except EmrjobsError:  # as when the client is not installed
            raise
        except Exception as exc:
            if not explained or not self._client.is_own(exc):
                raise
            raise self._explain(exc) from exc

    def _explain(self, exc: Exception) -> EmrjobsError:
        return self._client.explain(exc, self.database, f"output {self._output.name}")

    def _again(self, act: Callable[[], _T]) -> _T:
        """Act until it succeeds: after a conflict with another transaction, or a connection that broke with an unknown outcome."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        try:
            return Retrying(
                retry=retry_if_exception(self._client.is_passing),
                wait=wait_random_exponential(multiplier=0.2, max=3),
                stop=stop_after_attempt(_ATTEMPTS),
                reraise=True,
            )(act)
        except Exception as exc:
            if not self._client.is_own(exc):
                raise
            raise self._explain(exc) from exc
