"""Publish to Iceberg tables through Trino.

Trino (476) can write neither to a branch nor stage a snapshot, so a run writes to a table of its own under a staging name. For
a table that exists it is an empty copy of it: same columns with the same field ids, same partitioning, data files below the
same location. Publishing adds these files to the table, and removes those that they replace, in one Iceberg commit whose
snapshot carries the run's id: a second publish of the same run finds it and does nothing. Of concurrent commits one wins and
the others are made again on its state.

A table that does not exist yet is registered under its own name when the checks passed, as the Spark engine does.

Files that the table may have taken over are never deleted, whatever the catalog answered or did not answer: a vacuum knows later.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from framework.aws import Aws
from framework.catalog import Catalog, TableInfo
from framework.catalog.lake import open_lake, preload
from framework.errors import PublishConflict, SchemaMismatch
from framework.jobs import LAKE_CATALOG, Table
from framework.predicates import literal
from framework.publish import Published, Staged, iceberg, schema, staging_name, threads
from framework.publish.trino import Column, Executes, Query, aligned, as_catalog, check_columns, quoted, spark_type
from framework.sources.paths import normalise, split_s3

if TYPE_CHECKING:
    from pyiceberg.catalog import MetastoreCatalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.snapshots import Snapshot

_log = logging.getLogger(__name__)

_ATTEMPTS = 20
_RUN_ID = "emrjobs.run-id"


class TrinoIcebergArea:
    """Staging area of one run for one Iceberg table.

    Args:
        metastore: address of the Hive metastore that the catalog is; None for Glue.
    """

    def __init__(
        self,
        client: Executes,
        catalog: Catalog,
        aws: Aws,
        output: Table,
        run_id: str,
        existing: TableInfo | None,
        *,
        metastore: str | None = None,
    ) -> None:
        self._client = client
        self._metastore = metastore
        self._catalog = catalog
        self._aws = aws
        self._output = output
        self._run_id = run_id
        self._name = output.name.lower()
        self._exists = existing is not None
        self._stage_name = staging_name(self._name, run_id)
        self._staged: Staged | None = None
        self._taken = False
        self._forked: Future[None] | None = None
        self.staged_table = quoted(LAKE_CATALOG, *self._stage_name.split("."))
        preload()

    def begin(self) -> None:
        """Begin, beside the caller, what does not depend on the query: the copy of a table whose columns no query may change."""
        if self._exists and self._output.schema_changes == "fail":
            self._forked = threads.begin(self._fork)

    def write(self, query: Query) -> Staged:
        if self._exists:
            columns = self._columns(query)
            text = aligned(query, self._name, columns)
            if self._forked:
                self._forked.result()
            else:
                self._fork()
            names = ", ".join(quoted(column.name) for column in columns)
            statement = f"INSERT INTO {self.staged_table} ({names})\n{text}"
        else:
            check_columns(query, self._output)
            self._clear()
            statement = f"CREATE TABLE {self.staged_table} WITH ({self._properties()}) AS\n{query.text}"
        done = self._client.execute(statement, session=query.session)
        self._staged = Staged(max(done.written, 0), str(self._stage.location()))
        return self._staged

    def publish(self) -> Published:
        assert self._staged is not None, "write() comes first"
        with self._taking_over():
            published = None if self._exists else self._register()
            if published is None:
                published = self._commit()
                with self._afterwards():
                    self._forget(data=False)
        return published

    def discard(self) -> None:
        if self._forked:
            wait([self._forked])
        if not self._taken:
            self._clear()

    @contextmanager
    def _taking_over(self) -> Iterator[None]:
        """From here on the table may have what is staged, unless a refusal says that it has not."""
        self._taken = True
        try:
            yield
        except (PublishConflict, SchemaMismatch):
            self._taken = False
            raise

    @contextmanager
    def _afterwards(self) -> Iterator[None]:
        """What is published is published, whether the staging name can be forgotten or not."""
        try:
            yield
        except Exception as exc:
            _log.warning("something of %s stays: %s", self._stage_name, exc)

    def _clear(self) -> None:
        """Remove what this run, or an earlier attempt of it, staged; what the table has of it stays."""
        if self._catalog.find(self._stage_name) is None:
            return
        target = self._target() if self._catalog.find(self._name) else None
        try:
            stage = self._stage.metadata.table_uuid
        except FileNotFoundError:  # a vacuum was killed before the name went too
            stage = None
        if stage is None or (target is not None and target.metadata.table_uuid == stage):
            self._catalog.drop(self._stage_name)  # nothing else is left, or it is the table
        else:
            self._forget(data=target is None or self._publication(target) is None)

    def _forget(self, *, data: bool) -> None:
        """Drop the staging name, and delete what nobody else refers to."""
        stage = self._stage
        gone = [stage.metadata_location, *(entry.metadata_file for entry in stage.metadata.metadata_log)]
        if snapshot := stage.current_snapshot():
            gone += [snapshot.manifest_list, *(manifest.manifest_path for manifest in snapshot.manifests(stage.io))]
        if data:
            from framework.publish.lake_files import data_files

            gone += [file.file_path for file in data_files(stage)]
        gone += [one.statistics_path for one in stage.metadata.statistics]
        self._catalog.drop(self._stage_name)
        self._delete(gone)

    def _delete(self, uris: Iterable[str]) -> None:
        # Not by pyarrow, which leaves a marker for each folder behind.
        s3 = self._aws.client("s3")
        for bucket, key in map(split_s3, map(normalise, uris)):
            s3.delete_object(Bucket=bucket, Key=key)

    # A table that exists

    def _columns(self, query: Query) -> list[Column]:
        """The table's columns, changed as far as the output's `schema_changes` allows; what remains is `aligned`'s to refuse.

        Columns come before the rows: until the run is published, readers see a new column as null.
        """
        table = quoted(LAKE_CATALOG, *self._name.split("."))
        columns = self._client.columns(table)
        changes = {one.name for one in schema.evolution(as_catalog(query.columns), as_catalog(columns), self._output.schema_changes)}
        if not changes:
            return columns
        given, present = ({one.name.lower(): one.type for one in many} for many in (query.columns, columns))
        added = {name: _iceberg_type(given[name]) for name in given if name in changes - present.keys()}
        widened = {name: given[name] for name in present if name in changes}
        schema.check_fit(given, {**present, **widened, **added}, self._name, as_spark=spark_type)
        clauses = [f"ADD COLUMN {quoted(name)} {kind}" for name, kind in added.items()]
        clauses += [f"ALTER COLUMN {quoted(name)} SET DATA TYPE {kind}" for name, kind in widened.items()]
        for clause in clauses:
            self._client.execute(f"ALTER TABLE {table} {clause}")
            _log.info("table %s: %s", self._name, clause)
        return self._client.columns(table)

    def _fork(self) -> None:
        """Register an empty copy of the table under the staging name."""
        target = self._target()

        from pyiceberg.serializers import ToOutputFile
        from pyiceberg.table.metadata import TableMetadataUtil

        described = target.metadata.model_dump(by_alias=True)
        described |= {"snapshots": [], "snapshot-log": [], "metadata-log": [], "refs": {}, "statistics": [], "partition-statistics": []}
        described |= {"current-snapshot-id": None, "last-sequence-number": 0, "table-uuid": str(uuid.uuid4())}
        metadata = TableMetadataUtil.parse_obj(described)
        location = f"{target.location().rstrip('/')}/metadata/00000-{uuid.uuid4()}.metadata.json"
        ToOutputFile.table_metadata(metadata, target.io.new_output(location))
        self._clear()
        self._lake.register_table(self._stage_name, location)

    def _commit(self) -> Published:
        from pyiceberg.exceptions import CommitFailedException
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        try:
            return Retrying(
                retry=retry_if_exception_type(CommitFailedException),
                wait=wait_random_exponential(multiplier=0.05, max=2),
                stop=stop_after_attempt(_ATTEMPTS),
                reraise=True,
            )(self._commit_once)
        except CommitFailedException as exc:
            raise PublishConflict(f"{self._name} changed while this run was publishing: {exc}", fix="run the job again") from exc

    def _commit_once(self) -> Published:
        from framework.publish.lake_files import Append, Overwrite, data_files, partition_path

        assert self._staged is not None
        target = self._target()
        # pyiceberg's own retry would keep the choice of files to replace, and so leave those of the commit that overtook it.
        target.metadata.properties["commit.retry.num-retries"] = "0"
        rows, files = self._staged.rows, list(data_files(self._stage))
        partitions = tuple(sorted({path for file in files if (path := partition_path(target, file))}))
        if snapshot := self._publication(target):
            _log.info("run %s is already published to %s", self._run_id, self._name)
            return Published(self._name, rows, partitions, str(snapshot.snapshot_id), _text(snapshot.parent_snapshot_id))
        current = target.current_snapshot()
        previous = current.snapshot_id if current else None
        replaced = list(self._replaced(target, files))
        if not files and not replaced:
            return Published(self._name, 0, (), _text(previous), _text(previous))
        with target.transaction() as transaction:
            told = {_RUN_ID: self._run_id}
            with (Overwrite if replaced else Append)(transaction, told) as commit:
                for file in replaced:
                    commit.delete_data_file(file)
                for file in files:
                    commit.append_data_file(file)
        committed = target.current_snapshot()
        assert committed is not None
        return Published(self._name, rows, partitions, str(committed.snapshot_id), _text(previous))

    def _publication(self, target: Any) -> Snapshot | None:
        """The snapshot by which this run was published, of those that lead to what readers see: one that was rolled back does not."""
        from pyiceberg.table.snapshots import ancestors_of

        for snapshot in ancestors_of(target.current_snapshot(), target.metadata):
            if snapshot.summary is not None and snapshot.summary.additional_properties.get(_RUN_ID) == self._run_id:
                return snapshot
        return None

    def _replaced(self, target: Any, files: Sequence[DataFile]) -> Iterator[DataFile]:
        """The table's files that this run's `files` replace, by the mode of the output."""
        from framework.publish.lake_files import data_files

        if self._output.write_mode == "append":
            return
        if self._output.write_mode == "overwrite":
            yield from data_files(target)
            return
        partitions = {file.partition for file in files}
        for file in data_files(target, partitions):
            if file.spec_id != target.spec().spec_id:
                raise SchemaMismatch(
                    f"{self._name} has files of an older partitioning, so nobody can tell which of them a partition replaces",
                    fix="rewrite it once by a run with mode overwrite",
                )
            if file.partition in partitions:
                yield file

    # A table that does not exist yet

    def _properties(self) -> str:
        # A folder of its own: Trino creates no table where something lies, as of another first run, or an attempt that was killed.
        location = f"{self._catalog.ensure_database(self._output.database)}/{self._output.table}-{uuid.uuid4().hex[:12]}"
        keys = ", ".join(literal(quoted(column.lower()), "trino") for column in self._output.partitioned_by)
        properties = {"format": "'PARQUET'", "format_version": "2", "location": literal(location, "trino")}
        if keys:
            properties["partitioning"] = f"ARRAY[{keys}]"
        if self._output.sorted_by:
            properties["sorted_by"] = f"ARRAY[{', '.join(literal(quoted(column.lower()), 'trino') for column in self._output.sorted_by)}]"
        return ", ".join(f"{name} = {value}" for name, value in properties.items())

    def _register(self) -> Published | None:
        """Register the staged table under its own name; None when another first run won and the rows fit into its table.

        Raises:
            PublishConflict: another first run won, and its columns have other ids: files are added by ids.
        """
        from pyiceberg.exceptions import TableAlreadyExistsError
        from pyiceberg.serializers import ToOutputFile
        from pyiceberg.table.metadata import TableMetadataUtil

        from framework.publish.lake_files import data_files, partition_path

        assert self._staged is not None
        stage = self._stage
        partitions = {path for file in data_files(stage) if (path := partition_path(stage, file))}
        described = stage.metadata.model_dump(by_alias=True)
        described["properties"] |= {key: value for key, value in iceberg.properties(self._output).items() if key != "format-version"}
        for snapshot in described["snapshots"]:
            snapshot["summary"][_RUN_ID] = self._run_id  # as if it had been committed to the table
        described["metadata-log"].append({"metadata-file": stage.metadata_location, "timestamp-ms": stage.metadata.last_updated_ms})
        described["last-updated-ms"] = max(int(time.time() * 1000), stage.metadata.last_updated_ms)
        location = f"{stage.location().rstrip('/')}/metadata/00000-{uuid.uuid4()}.metadata.json"
        ToOutputFile.table_metadata(TableMetadataUtil.parse_obj(described), stage.io.new_output(location))
        try:
            self._lake.register_table(self._name, location)
        except TableAlreadyExistsError as exc:
            target = self._target()
            if target.metadata.table_uuid != stage.metadata.table_uuid:  # else it was heard the first time
                with self._afterwards():
                    self._delete([location])
            if stage.schema() == target.schema() and stage.spec() == target.spec():
                return None
            raise PublishConflict(f"table {self._name} was created by another run meanwhile", fix="run the job again") from exc
        with self._afterwards():
            self._catalog.drop(self._stage_name)  # only the name: the registered table owns the files now
        current = stage.current_snapshot()
        return Published(self._name, self._staged.rows, tuple(sorted(partitions)), str(current.snapshot_id) if current else None, None)

    # Both

    @cached_property
    def _lake(self) -> MetastoreCatalog:
        return open_lake(self._aws, self._metastore)

    def _target(self) -> Any:
        return self._lake.load_table(self._name)

    @property
    def _stage(self) -> Any:
        return self._lake.load_table(self._stage_name)


def _iceberg_type(kind: str) -> str:
    """The type that a new column gets for one of a query: Iceberg knows no short integers and no bounds of texts."""
    if kind.startswith(("varchar", "char")):
        return "varchar"
    if kind.startswith("timestamp"):
        return "timestamp(6) with time zone" if kind.endswith("with time zone") else "timestamp(6)"
    return "integer" if kind in ("tinyint", "smallint") else kind


def _text(snapshot_id: int | None) -> str | None:
    return None if snapshot_id is None else str(snapshot_id)
