"""Publish to Hive-layout tables: a folder of its own per run, and a switch of locations in the catalog.

A run writes below `<table>/_runs/<run id>/`. Publishing points each partition (or the unpartitioned table) at the run's
folder; files are neither moved nor overwritten, so a reader that has listed the old files can finish. Readers of one
partition, and of an unpartitioned table, see all of a run or nothing; a run over many partitions becomes visible partition
by partition, because no catalog of this layout has a commit over several of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from framework.catalog import Catalog, Partition, TableInfo, serde
from framework.errors import PublishConflict, SchemaMismatch
from framework.jobs import Table
from framework.publish import RUNS, Published, Staged, partition_values, schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_RUN_FOLDER = re.compile(rf"/{RUNS}/[^/]+\Z")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


class HiveArea:
    """Staging area of one run for one Hive-layout table."""

    def __init__(self, spark: SparkSession, catalog: Catalog, output: Table, run_id: str, existing: TableInfo | None) -> None:
        self._spark = spark
        self._catalog = catalog
        self._output = output
        self._run_id = run_id
        self._existing = existing
        self._info: TableInfo | None = existing
        self._folder: str | None = None
        self._schema: Any = None
        self._staged: Staged | None = None
        self._names: list[str] = []
        self._switch = Switch(catalog, output, existing)

    def write(self, frame: DataFrame) -> Staged:
        frame = frame.toDF(*[name.lower() for name in frame.columns])
        info = self._info or self._plan_table(frame)
        self._info = info
        if info.format == "csv":
            frame = self._as_text(frame, info)
        aligned = schema.align(frame, info.name, info.all_columns)
        self._schema = aligned.schema
        if self._output.sorted_by:
            keys = [column.name for column in info.partition_keys]
            aligned = aligned.sortWithinPartitions(*keys, *[column.lower() for column in self._output.sorted_by])
        self._folder = f"{root(info)}/{RUNS}/{self._run_id}"
        rows = self._save(aligned, self._folder)
        self._names = self._partition_names(self._folder)
        self._staged = Staged(rows, self._folder)
        return self._staged

    def read(self) -> DataFrame:
        assert self._folder is not None, "write() comes first"
        return self._load(self._folder)

    def publish(self) -> Published:
        assert self._staged is not None, "write() comes first"
        assert self._info is not None
        staged, folder = self._staged, self._folder
        if self._output.write_mode == "append" and self._existing:
            folder = self._merged_with_existing()
        previous = self._existing.location if self._existing else None
        partitions = [Partition(partition_values(name), f"{folder}/{name}") for name in self._names]
        plan = self._info if self._info.partition_keys else replace(self._info, location=str(folder))
        self._switch.show(plan, partitions)
        return Published(self._info.name, staged.rows, tuple(self._names), folder, previous)

    def discard(self) -> None:
        if self._folder and not self._switch.begun:
            for folder in (self._folder, f"{self._folder}-merged"):
                path = self._path(folder)
                path.getFileSystem(self._hadoop_conf).delete(path, True)

    def _plan_table(self, frame: DataFrame) -> TableInfo:
        keys = [column.lower() for column in self._output.partitioned_by]
        columns = schema.columns_of(frame)
        if self._output.format == "csv":
            columns = tuple(column if column.name in keys else replace(column, type="string") for column in columns)
        schema.check_partitioning(columns, self._output)
        location = new_location(self._catalog, self._output)
        by_name = {column.name: column for column in columns}
        return TableInfo(
            name=self._output.name.lower(),
            format=self._output.format,
            location=location,
            columns=tuple(column for column in columns if column.name not in keys),
            partition_keys=tuple(by_name[key] for key in keys),
            options=_reader_options(self._output.format),
        )

    def _as_text(self, frame: DataFrame, info: TableInfo) -> DataFrame:
        """CSV by OpenCSVSerde holds texts; partition values are not in the files and keep their types."""
        from pyspark.sql import functions as F

        library = info.raw.get("StorageDescriptor", {}).get("SerdeInfo", {}).get("SerializationLibrary", serde.OPEN_CSV)
        if library != serde.OPEN_CSV:
            raise SchemaMismatch(
                f"table {info.name} has the SerDe {library.rsplit('.', 1)[-1]}, in which a separator inside a value would be lost",
                fix="publish to another table: emrjobs writes CSV with OpenCSVSerde, and Parquet, ORC, JSON and Iceberg",
            )
        keys = {column.name for column in info.partition_keys}
        return frame.select(
            [F.col(f"`{name}`") if name in keys else F.col(f"`{name}`").cast("string").alias(name) for name in frame.columns]
        )

    def _save(self, frame: DataFrame, folder: str) -> int:
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        assert self._info is not None
        counted = Observation("written")
        options = dict(serde.WRITE_OPTIONS.get(self._info.format, {}))
        options |= {key: value for key, value in self._info.options.items() if key in ("sep", "quote", "escape", "header")}
        keys = [column.name for column in self._info.partition_keys]
        writer = (
            frame.observe(counted, F.count(F.lit(1)).alias("rows")).write.format(self._info.format).mode("errorifexists").options(**options)
        )
        (writer.partitionBy(*keys) if keys else writer).save(folder)
        return int(counted.get["rows"])

    def _load(self, folder: str) -> DataFrame:
        assert self._info is not None
        reader = self._spark.read.schema(self._schema).format(self._info.format).options(**self._info.options)
        return reader.option("recursiveFileLookup", "false").load(folder)

    def _merged_with_existing(self) -> str:
        """A folder with the staged rows and the present ones of the same partitions: this layout has no other atomic append."""
        assert self._existing is not None
        assert self._folder is not None
        merged = f"{self._folder}-merged"
        folders: Mapping[str, str]
        if self._existing.partition_keys:
            present = {partition.values: partition.location for partition in self._catalog.partitions(self._existing)}
            folders = {name: present[partition_values(name)] for name in self._names if partition_values(name) in present}
        else:
            folders = {"": self._existing.location}
        rows = self.read()
        for name, location in folders.items():
            rows = rows.unionByName(self._present(name, location))
        self._save(rows, merged)
        return merged

    def _present(self, name: str, location: str) -> DataFrame:
        """The rows of one present partition, with its values as columns."""
        from pyspark.sql import functions as F
        from pyspark.sql.types import StructType

        assert self._info is not None
        keys = [column.name for column in self._info.partition_keys]
        own = StructType([field for field in self._schema.fields if field.name not in keys])
        rows = self._spark.read.schema(own).format(self._info.format).options(**self._info.options).load(location)
        for column, value in zip(self._info.partition_keys, partition_values(name) if name else (), strict=False):
            rows = rows.withColumn(column.name, F.lit(None if value == _NULL_PARTITION else value).cast(column.type))
        return rows

    def _partition_names(self, folder: str) -> list[str]:
        """`key=value/...` of each partition folder below `folder`, sorted."""
        assert self._info is not None
        if not self._info.partition_keys:
            return []
        root = self._path(folder)
        pattern = self._path(folder + "".join(f"/{column.name}=*" for column in self._info.partition_keys))
        found = root.getFileSystem(self._hadoop_conf).globStatus(pattern)
        prefix = root.toUri().getPath().rstrip("/") + "/"
        return sorted(str(status.getPath().toUri().getPath()).removeprefix(prefix) for status in found or [])

    @property
    def _hadoop_conf(self) -> Any:
        return self._spark._jsparkSession.sessionState().newHadoopConf()

    def _path(self, uri: str) -> Any:
        return self._spark._jvm.org.apache.hadoop.fs.Path(uri)


@dataclass
class Switch:
    """Makes one run's folder visible: as the location of its partitions, or of an unpartitioned table.

    Attributes:
        existing: the table as it was found, None when it is new.
        begun: readers may see what the run wrote, or a part of it.
    """

    catalog: Catalog
    output: Table
    existing: TableInfo | None
    begun: bool = False

    def show(self, plan: TableInfo, partitions: Sequence[Partition]) -> None:
        """Let readers see `partitions`, those that the run wrote, of the table as it shall be.

        Raises:
            PublishConflict: somebody else changed the table meanwhile.
        """
        self.begun = True
        try:
            if plan.partition_keys:
                self._show_partitions(self.existing or self.catalog.create(plan, self.output.comment), partitions)
            elif self.existing:
                self.catalog.switch(self.existing, plan.location)
            else:
                self.catalog.create(plan, self.output.comment)
        except PublishConflict:
            # Of several partitions some may be switched when one of them is refused.
            self.begun = bool(plan.partition_keys)
            raise

    def _show_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        before = self.catalog.partitions(table) if self.output.write_mode == "overwrite" else []
        self.catalog.put_partitions(table, partitions)
        written = {partition.values for partition in partitions}
        # New rows first, so that nobody sees less than before or after.
        self.catalog.delete_partitions(table, [partition for partition in before if partition.values not in written])


def new_location(catalog: Catalog, output: Table) -> str:
    """Where a table lies that does not exist yet."""
    in_database = f"{catalog.ensure_database(output.database)}/{output.table}"
    return output.location or in_database


def root(info: TableInfo) -> str:
    """The table's folder, whichever run's folder it points at now."""
    return _RUN_FOLDER.sub("", info.location)


def _reader_options(table_format: str) -> dict[str, str]:
    described = serde.descriptor(table_format)["SerdeInfo"]
    return serde.reader_options(table_format, described["SerializationLibrary"], described["Parameters"], {})
