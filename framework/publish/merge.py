"""Publish to Iceberg tables by merge: rows replace those with the same keys, or delete them; the others are added.

The run's rows are written beside the table, where the checks see exactly them, and one MERGE makes them visible. It is a single
Iceberg commit; when another one changed the same files meanwhile, the MERGE runs again on the new state. Merging the same rows
again changes nothing, so a rerun is safe whatever had happened.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from framework.catalog import Catalog, TableInfo
from framework.errors import PublishConflict
from framework.jobs import Table
from framework.publish import RUNS, Published, Staged, iceberg, schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_log = logging.getLogger(__name__)

_ATTEMPTS = 5
_VIEW = "emrjobs_staged"


class MergeArea:
    """Staging area of one run that merges into one Iceberg table."""

    def __init__(self, spark: SparkSession, catalog: Catalog, output: Table, run_id: str, existing: TableInfo | None) -> None:
        self._spark = spark
        self._output = output
        self._name = output.name.lower()
        self._existing = existing
        root = existing.location if existing else f"{catalog.ensure_database(output.database)}/{output.table}"
        self._folder = f"{root}/{RUNS}/{run_id}"
        self._schema: Any = None
        self._staged: Staged | None = None

    def write(self, frame: DataFrame) -> Staged:
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        frame = self._aligned(frame.toDF(*[name.lower() for name in frame.columns]))
        self._schema = frame.schema
        counted = Observation("written")
        frame.observe(counted, F.count(F.lit(1)).alias("rows")).write.mode("errorifexists").parquet(self._folder)
        self._staged = Staged(int(counted.get["rows"]), self._folder)
        self._check_keys()
        return self._staged

    def read(self) -> DataFrame:
        return self._spark.read.schema(self._schema).parquet(self._folder)

    def publish(self) -> Published:
        assert self._staged is not None, "write() comes first"
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._create() if self._existing is None and attempt == 1 else self._merge()
            except Exception as exc:
                name, message = iceberg.java_error(exc)
                if not name.endswith(("ValidationException", "CommitFailedException", "AlreadyExistsException")):
                    raise
                if attempt == _ATTEMPTS:
                    raise PublishConflict(f"{self._name} changed while this run was writing: {message}", fix="run the job again") from exc
                _log.info("merging again into the table's new state: %s", message)
        raise AssertionError("unreachable")

    def discard(self) -> None:
        path = self._spark._jvm.org.apache.hadoop.fs.Path(self._folder)
        path.getFileSystem(self._spark._jsparkSession.sessionState().newHadoopConf()).delete(path, True)

    def _aligned(self, frame: DataFrame) -> DataFrame:
        """The frame in the table's columns and types, with the column that marks deletions at the end."""
        marker = self._output.deletes
        columns = schema.columns_of(frame)
        schema.check_merging([column.name for column in columns], self._output)
        if self._existing is None:
            schema.check_partitioning(columns, self._output)
            return frame
        table = iceberg.load(self._spark, self._name)
        own = frame.drop(marker) if marker else frame
        present = iceberg.columns(self._spark, table)
        wanted = schema.evolved(present, schema.evolution(schema.columns_of(own), present, self._output.schema_changes))
        if not marker:
            return schema.align(own, self._name, wanted)
        from pyspark.sql import functions as F

        # align() gives new columns: the marker goes through it as one of the table's.
        kind = next(column for column in columns if column.name == marker.lower())
        return schema.align(frame, self._name, [*wanted, kind]).withColumn(marker, F.col(marker).cast("boolean"))

    def _check_keys(self) -> None:
        """Two rows of one key would both be added to the table, or make the merge fail halfway through its plan."""
        from pyspark.sql import functions as F

        keys = [F.col(f"`{key.lower()}`") for key in self._output.keys]
        groups = self.read().groupBy(*keys).agg(F.count(F.lit(1)).alias("rows"))
        missing = F.lit(False)
        for key in keys:
            missing = missing | key.isNull()
        bad = groups.where((F.col("rows") > 1) | missing).limit(5).collect()
        if bad:
            self.discard()
            raise schema.bad_keys(self._output.name, self._output.keys, bad)

    def _create(self) -> Published:
        """The first run makes the table with its rows in one commit."""
        from pyspark.sql import functions as F

        rows = self.read()
        if self._output.deletes:
            marker = F.coalesce(F.col(f"`{self._output.deletes.lower()}`").cast("boolean"), F.lit(False))
            rows = rows.where(~marker).drop(self._output.deletes.lower())
        writer = rows.writeTo(self._name).using("iceberg")
        for key, value in iceberg.properties(self._output).items():
            writer = writer.tableProperty(key, value)
        if self._output.partitioned_by:
            first, *others = [F.col(column.lower()) for column in self._output.partitioned_by]
            writer = writer.partitionedBy(first, *others)
        writer.tableProperty("location", self._folder.rsplit(f"/{RUNS}/", 1)[0]).create()
        return self._published(None)

    def _merge(self) -> Published:
        table = iceberg.load(self._spark, self._name)
        previous = table.currentSnapshot()
        rows, marker = self.read(), self._output.deletes
        rows.createOrReplaceTempView(_VIEW)
        names = [name for name in rows.columns if not marker or name != marker.lower()]
        iceberg.evolve(table, rows.select(names), self._output)
        on = " AND ".join(f"t.`{key.lower()}` = s.`{key.lower()}`" for key in self._output.keys)
        gone = f"coalesce(s.`{marker.lower()}`, false)" if marker else "false"
        statement = (
            f"MERGE INTO {self._name} t USING {_VIEW} s ON {on} "
            + (f"WHEN MATCHED AND {gone} THEN DELETE " if marker else "")
            + f"WHEN MATCHED THEN UPDATE SET {', '.join(f't.`{name}` = s.`{name}`' for name in names)} "
            + f"WHEN NOT MATCHED AND NOT {gone} THEN INSERT ({', '.join(f'`{name}`' for name in names)}) "
            + f"VALUES ({', '.join(f's.`{name}`' for name in names)})"
        )
        self._spark.sql(statement)
        self._spark.catalog.dropTempView(_VIEW)
        return self._published(None if previous is None else str(previous.snapshotId()))

    def _published(self, previous: str | None) -> Published:
        assert self._staged is not None
        current = iceberg.load(self._spark, self._name).currentSnapshot()
        self.discard()  # the table has the rows now
        return Published(self._name, self._staged.rows, (), None if current is None else str(current.snapshotId()), previous)
