"""Publish to Iceberg tables: a staged snapshot (wap.id) and one cherry-pick.

A snapshot that is written with `spark.wap.id` is committed to the table's metadata without becoming current, so no reader
sees it. Cherry-picking it is one catalog commit; Iceberg refuses the pick when the same partitions changed meanwhile, and
a second pick of the same id (Iceberg, ManageSnapshots.cherrypick). Then the staged files are staged again on the new state.

A table that does not exist yet is created under a staging name and registered under its own name when the checks passed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from framework.catalog import Catalog, Column, TableInfo
from framework.errors import PublishConflict
from framework.jobs import Table
from framework.publish import Published, Staged, schema, staging_name
from framework.publish.threads import beside
from framework.sources.paths import normalise

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_log = logging.getLogger(__name__)

_ATTEMPTS = 5
_PROPERTIES = {
    "format-version": "2",
    "write.wap.enabled": "true",
    # A commit that another one overtook is tried again on the new state; the default of 4 tries is lost among fifty publishers.
    "commit.retry.num-retries": "30",
    "commit.retry.min-wait-ms": "50",
    "commit.retry.max-wait-ms": "2000",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
}


@dataclass(frozen=True)
class _Files:
    """Data files of a staged snapshot, and the partitions that they lie in."""

    locations: list[str]
    format: str
    partitions: tuple[str, ...]


class IcebergArea:
    """Staging area of one run for one Iceberg table."""

    def __init__(self, spark: SparkSession, catalog: Catalog, output: Table, run_id: str, existing: TableInfo | None) -> None:
        self._spark = spark
        self._catalog = catalog
        self._output = output
        self._run_id = run_id
        self._name = output.name.lower()
        self._exists = existing is not None
        self._attempt = 0
        self._written: Any = None
        self._schema: Any = None
        self._staged: Staged | None = None
        self._list: Callable[[], _Files]
        self._listing: Future[_Files] | None = None
        # Looked up while the inputs are.
        self._loading: Future[Any] | None = beside(spark, self._table) if existing else None
        self._evolved: tuple[int, int] | None = None

    def write(self, frame: DataFrame) -> Staged:
        self._schema = frame.schema
        self._staged = self._write_existing(frame) if self._exists else self._write_new(frame)
        return self._staged

    def read(self) -> DataFrame:
        files = self._files()
        if not files.locations:
            return self._spark.createDataFrame([], self._schema)
        # The data files hold every column, and only this run's rows.
        return self._spark.read.schema(self._schema).format(files.format).load(files.locations)

    def publish(self) -> Published:
        assert self._staged is not None, "write() comes first"
        staged = self._staged
        if not self._exists:
            try:
                return self._register(staged)
            except PublishConflict:
                # Another first run won: publish into its table.
                self._exists = True
                self._restage()
        for attempt in range(1, _ATTEMPTS + 1):
            if self._listing is None:
                current = _snapshot_id(self._table().currentSnapshot())
                return Published(self._name, 0, (), current, current)
            try:
                return self._pick(staged)
            except PublishConflict as exc:
                if attempt == _ATTEMPTS:
                    raise
                _log.info("staging again on the table's new state: %s", exc.message)
                self._restage()
        raise AssertionError("unreachable")

    def discard(self) -> None:
        # A staged snapshot that nobody picks is no reader's business and expires with the others; a staging name would stay.
        self._catalog.drop(self._stage_name)
        if self._evolved:
            restore_schema(self._spark, self._name, *self._evolved)

    # A table that exists

    def _write_existing(self, frame: DataFrame) -> Staged:
        table = self._loading.result() if self._loading else self._table()
        self._loading = None
        # Iceberg takes a column only of a table that has it: until the run is published, readers see a new one as null.
        self._evolved = evolve(table, frame, self._output) or self._evolved
        aligned = schema.align(frame, self._name, columns(self._spark, table))
        self._schema = aligned.schema
        self._prepare(table)
        self._spark.conf.set("spark.wap.id", self._wap_id)
        try:
            writer = aligned.writeTo(self._name)
            if self._output.write_mode == "append":
                writer.append()
            elif self._output.write_mode == "overwrite":
                from pyspark.sql import functions as F

                writer.overwrite(F.lit(True))
            else:
                writer.overwritePartitions()
        finally:
            self._spark.conf.unset("spark.wap.id")
        table.refresh()
        snapshot = self._find_staged(table)
        self._written = table, snapshot
        if snapshot is None:  # Iceberg skips a dynamic overwrite of nothing
            self._listing = None
            return Staged(0, str(table.location()))
        return self._describe(table, snapshot)

    def _prepare(self, table: Any) -> None:
        """Let a table that somebody else made take staged snapshots; what its owner chose otherwise stays."""
        given = table.properties()
        wanted = {key: value for key, value in _PROPERTIES.items() if key.startswith("commit.retry.") and key not in given}
        if given.get("write.wap.enabled") != "true":
            update = table.updateProperties().set("write.wap.enabled", "true")
            for key, value in wanted.items():
                update = update.set(key, value)
            update.commit()

    def _pick(self, staged: Staged) -> Published:
        table, snapshot = self._written  # the commit itself looks at the newest state
        if self._output.schema_changes != "fail":
            table.refresh()
            now, written = table.schema(), table.schemas().get(snapshot.schemaId())
            if gone := [str(column.name()) for column in written.columns() if now.findField(column.fieldId()) is None]:
                # The run that had added it has failed. Files know columns by their ids: its rows would be picked without it.
                raise PublishConflict(f"{self._name} has no such column {gone[0]} any more", fix="run the job again")
        try:
            table.manageSnapshots().cherrypick(snapshot.snapshotId()).commit()
        except Exception as exc:
            name, message = java_error(exc)
            if name.endswith("DuplicateWAPCommitException"):
                _log.info("run %s is already published to %s", self._run_id, self._name)
            elif name.endswith(("ValidationException", "CommitFailedException", "CherrypickAncestorCommitException")):
                raise PublishConflict(f"{self._name} changed while this run was writing: {message}", fix="run the job again") from exc
            else:
                raise
        self._evolved = None
        table.refresh()
        current = table.currentSnapshot()
        parent = current.parentId()
        previous = None if parent is None else str(parent)
        return Published(self._name, staged.rows, self._partitions(), _snapshot_id(current), previous)

    def _restage(self) -> None:
        rows = self.read()
        self._attempt += 1
        self._staged = self._write_existing(rows)

    def _find_staged(self, table: Any) -> Any:
        snapshots = table.snapshots()
        # The newest is most often the one, and a table may have thousands.
        for index in range(snapshots.size() - 1, -1, -1):
            snapshot = snapshots.get(index)
            if snapshot.summary().get("wap.id") == self._wap_id:
                return snapshot
        return None

    # A table that does not exist yet

    def _write_new(self, frame: DataFrame) -> Staged:
        location = f"{self._catalog.ensure_database(self._output.database)}/{self._output.table}"
        self._catalog.drop(self._stage_name)
        schema.check_partitioning(schema.columns_of(frame), self._output)
        frame = frame.toDF(*[name.lower() for name in frame.columns])
        # A table that keeps an order is made empty first: rows are sorted by the order that it has when they are written.
        first_rows = self._spark.createDataFrame([], frame.schema) if self._output.sorted_by else frame
        writer = first_rows.writeTo(self._stage_name).using("iceberg")
        for key, value in {**properties(self._output), "location": location}.items():
            writer = writer.tableProperty(key, value)
        if self._output.partitioned_by:
            from pyspark.sql import functions as F

            first, *others = [F.col(column.lower()) for column in self._output.partitioned_by]
            writer = writer.partitionedBy(first, *others)
        writer.create()
        if self._output.sorted_by:
            order = ", ".join(f"`{column.lower()}`" for column in self._output.sorted_by)
            self._spark.sql(f"ALTER TABLE {self._stage_name} WRITE ORDERED BY {order}")
            frame.writeTo(self._stage_name).append()
        table = self._table(self._stage_name)
        self._schema = self._spark.table(self._stage_name).schema
        return self._describe(table, table.currentSnapshot())

    def _register(self, staged: Staged) -> Published:
        table = self._table(self._stage_name)
        metadata = table.operations().current().metadataFileLocation()
        try:
            iceberg = self._spark._jvm.org.apache.iceberg
            catalog = iceberg.spark.Spark3Util.loadIcebergCatalog(self._spark._jsparkSession, "spark_catalog")
            catalog.registerTable(iceberg.catalog.TableIdentifier.parse(self._name), metadata)
        except Exception as exc:
            name, message = java_error(exc)
            if "AlreadyExists" in name or "already exists" in message.lower():
                raise PublishConflict(f"table {self._name} was created by another run meanwhile", fix="run the job again") from exc
            raise
        # Only the name goes: the registered table owns the files now.
        self._catalog.drop(self._stage_name)
        return Published(self._name, staged.rows, self._partitions(), _snapshot_id(table.currentSnapshot()), None)

    # Both

    @property
    def _wap_id(self) -> str:
        return self._run_id if self._attempt == 0 else f"{self._run_id}.{self._attempt}"

    @property
    def _stage_name(self) -> str:
        return staging_name(self._name, self._run_id)

    def _table(self, name: str | None = None) -> Any:
        return load(self._spark, name or self._name)

    def _describe(self, table: Any, snapshot: Any) -> Staged:
        """What a snapshot added. Its files are looked up meanwhile: that takes as long as the commit that publishes them."""
        self._list = partial(_files_of, table, snapshot)
        self._listing = beside(self._spark, self._list)
        return Staged(int(snapshot.summary().get("added-records") or 0), str(table.location()))

    def _files(self) -> _Files:
        if self._listing is None:
            return _Files([], "parquet", ())
        try:
            return self._listing.result()
        except Exception:  # S3 was away, or asked to slow down, for longer than its client is patient
            return self._list()

    def _partitions(self) -> tuple[str, ...]:
        """Those that were published. Readers see them by now: a run does not fail because they cannot be listed."""
        try:
            return self._files().partitions
        except Exception as exc:
            _log.warning("the partitions that were published to %s cannot be listed: %s", self._name, java_error(exc)[1])
            return ()


def _files_of(table: Any, snapshot: Any) -> _Files:
    """What a snapshot added."""
    specs = table.specs()
    locations, partitions, file_format = [], set(), "parquet"
    found = snapshot.addedDataFiles(table.io()).iterator()
    # Not by `for`, which ends with an exception of Java: PySpark takes sixty calls to make one of Python's of it.
    while found.hasNext():
        data_file = found.next()
        locations.append(normalise(str(data_file.location())))
        file_format = str(data_file.format().name()).lower()
        if path := specs.get(data_file.specId()).partitionToPath(data_file.partition()):
            partitions.add(str(path))
    return _Files(locations, file_format, tuple(sorted(partitions)))


def load(spark: SparkSession, name: str) -> Any:
    """An Iceberg table (org.apache.iceberg.Table) by its name."""
    return spark._jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(spark._jsparkSession, name)


def columns(spark: SparkSession, table: Any) -> list[Column]:
    """A table's columns with Spark's types."""
    from pyspark.sql.types import StructType

    # As one text: asking field by field takes two calls to the JVM for each.
    text = spark._jvm.org.apache.iceberg.spark.SparkSchemaUtil.convert(table.schema()).json()
    return [Column(field.name, field.dataType.simpleString()) for field in StructType.fromJson(json.loads(text)).fields]


def properties(output: Table) -> dict[str, str]:
    """Table properties of a new table."""
    made = dict(_PROPERTIES)
    if output.target_file_mb:
        made["write.target-file-size-bytes"] = str(output.target_file_mb * 2**20)
    if output.comment:
        made["comment"] = output.comment
    return made


def evolve(table: Any, frame: DataFrame, output: Table) -> tuple[int, int] | None:
    """Change the table's columns as far as the output's `schema_changes` allows; what remains is `align`'s to refuse.

    Returns:
        Ids of the schema before and after; None when nothing changed.
    """
    if output.schema_changes == "fail":
        return None
    spark = frame.sparkSession
    given, present = schema.columns_of(frame), columns(spark, table)
    changes = schema.evolution(given, present, output.schema_changes)
    if not changes:
        return None
    known = {column.name for column in present}
    wanted = {column.name.lower(): column.type for column in schema.evolved(present, changes)}
    schema.check_fit({column.name: column.type for column in given}, wanted, output.name)  # nothing is changed for what does not fit anyway
    convert = spark._jvm.org.apache.iceberg.spark.SparkSchemaUtil.convert
    types = spark._jvm.org.apache.spark.sql.types.DataType
    before, update = table.schema().schemaId(), table.updateSchema()
    for column in changes:
        kind = convert(types.fromDDL(column.type))
        update = update.updateColumn(column.name, kind) if column.name in known else update.addColumn(column.name, kind)
    update.commit()
    table.refresh()
    _log.info("table %s: added or widened %s", output.name, ", ".join(f"{column.name} {column.type}" for column in changes))
    return before, table.schema().schemaId()


def restore_schema(spark: SparkSession, name: str, before: int, after: int) -> None:
    """Give a table the columns back that it had, unless somebody has changed them, or published rows with the new ones, since."""
    table = load(spark, name)
    operations = table.operations()
    base = operations.current()
    current = base.currentSnapshot()
    if base.currentSchemaId() != after or (current is not None and current.schemaId() == after):
        return
    builder = spark._jvm.org.apache.iceberg.TableMetadata.buildFrom(base)
    operations.commit(base, builder.setCurrentSchema(before).build())
    _log.info("table %s has the columns again that it had before", name)


def _snapshot_id(snapshot: Any) -> str | None:
    return None if snapshot is None else str(snapshot.snapshotId())


def java_error(exc: Exception) -> tuple[str, str]:
    """Class name and message of the Java exception behind one of Python's."""
    java = getattr(exc, "java_exception", None)
    if java is not None:
        return str(java.getClass().getName()), str(java.getMessage())
    return type(exc).__name__, str(exc)
