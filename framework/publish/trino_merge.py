"""Merge into an Iceberg table through Trino: rows staged in a table of their own, and one MERGE that publishes them.

Trino's MERGE is one Iceberg commit. It fails when another commit changed what it read, and is then made again; merging the
same rows once more changes nothing that a reader sees.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from framework.errors import PublishConflict
from framework.jobs import LAKE_CATALOG
from framework.publish import Published, Staged, schema
from framework.publish.trino import Query, aligned, check_columns, quoted
from framework.publish.trino_iceberg import TrinoIcebergArea

_log = logging.getLogger(__name__)

_ATTEMPTS = 5
_QUERY_ID = "trino_query_id"  # in a snapshot's summary (Trino, IcebergMetadata)


class TrinoMergeArea(TrinoIcebergArea):
    """Staging area of one run that merges into one Iceberg table."""

    def write(self, query: Query) -> Staged:
        check_columns(query, self._output)
        marker = (self._output.deletes or "").lower()
        given = {column.name.lower(): column for column in query.columns}
        schema.check_merging(given, self._output)
        own = [column for name, column in given.items() if name != marker]
        names = ", ".join(quoted(column.name.lower()) for column in own)
        if not self._exists:
            # The first run makes the table with its rows: what it says of deletions goes before.
            kept = f" WHERE NOT coalesce({quoted(marker)}, false)" if marker else ""
            text = f"SELECT {names} FROM (\n{query.text}\n){kept}"
        else:
            columns = self._columns(replace(query, columns=own))
            text = aligned(query, self._name, [*columns, *([given[marker]] if marker else [])])
        self._clear()
        statement = f"CREATE TABLE {self.staged_table} WITH ({self._properties()}) AS\n{text}"
        done = self._client.execute(statement, session=query.session)
        self._staged = Staged(max(done.written, 0), str(self._stage.location()))
        self._check_keys()
        return self._staged

    def publish(self) -> Published:
        if not self._exists:
            with self._taking_over():
                published = self._register()
            if published is not None:
                return published
            self._taken = False
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        try:
            return Retrying(
                retry=retry_if_exception(_overtaken),
                wait=wait_random_exponential(multiplier=0.2, max=5),
                stop=stop_after_attempt(_ATTEMPTS),
                reraise=True,
            )(self._merge)
        except Exception as exc:
            if _overtaken(exc):
                raise PublishConflict(f"{self._name} changed while this run was publishing: {exc}", fix="run the job again") from exc
            raise

    def _merge(self) -> Published:
        assert self._staged is not None, "write() comes first"
        marker = (self._output.deletes or "").lower()
        names = [field.name for field in self._stage.schema().fields if field.name.lower() != marker]
        keys = [quoted(key.lower()) for key in self._output.keys]
        gone = f"coalesce(s.{quoted(marker)}, false)" if marker else ""
        changes = ", ".join(f"{quoted(name)} = s.{quoted(name)}" for name in names)
        listed, values = ", ".join(map(quoted, names)), ", ".join(f"s.{quoted(name)}" for name in names)
        done = self._client.execute(
            f"MERGE INTO {quoted(LAKE_CATALOG, *self._name.split('.'))} AS t USING {self.staged_table} AS s\n"
            f"ON {' AND '.join(f't.{key} = s.{key}' for key in keys)}\n"
            + (f"WHEN MATCHED AND {gone} THEN DELETE\n" if marker else "")
            + f"WHEN MATCHED THEN UPDATE SET {changes}\n"
            + f"WHEN NOT MATCHED{f' AND NOT {gone}' if marker else ''} THEN INSERT ({listed}) VALUES ({values})"
        )
        version, previous = self._merged(str(done.query_id))
        with self._afterwards():
            self._forget(data=True)  # the table has copies
        return Published(self._name, self._staged.rows, (), version, previous)

    def _merged(self, query_id: str) -> tuple[str | None, str | None]:
        """The snapshot that a MERGE made, and the one before it; both are the current one when it had nothing to change."""
        target = self._target()
        for snapshot in reversed(target.metadata.snapshots):
            if snapshot.summary is not None and snapshot.summary.additional_properties.get(_QUERY_ID) == query_id:
                return str(snapshot.snapshot_id), None if snapshot.parent_snapshot_id is None else str(snapshot.parent_snapshot_id)
        current = target.current_snapshot()
        return (str(current.snapshot_id),) * 2 if current else (None, None)

    def _check_keys(self) -> None:
        """Two rows of one key would make the merge fail, or both be added."""
        keys = ", ".join(quoted(key.lower()) for key in self._output.keys)
        missing = " OR ".join(f"{quoted(key.lower())} IS NULL" for key in self._output.keys)
        found = self._client.execute(
            f"SELECT {keys}, count(*) FROM {self.staged_table} GROUP BY {keys} HAVING count(*) > 1 OR {missing} LIMIT 5"
        )
        if found.rows:
            raise schema.bad_keys(self._output.name, self._output.keys, found.rows)


def _overtaken(exc: BaseException) -> bool:
    return getattr(exc, "error_name", None) in ("ICEBERG_COMMIT_ERROR", "TRANSACTION_CONFLICT")
