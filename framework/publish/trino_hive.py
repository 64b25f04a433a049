"""Publish to Hive-layout tables through Trino: an external table on the run's folder, then the switch of locations.

The staging table lies on the run's folder below `<table>/_runs/`; its partitions, as Trino registers them, are what the table's
own partitions are pointed at. Dropping the staging name keeps the files. See `framework.publish.hive` for what readers see.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from framework import catalog
from framework.aws import Aws
from framework.catalog import Catalog, Partition, TableInfo
from framework.errors import SchemaMismatch
from framework.jobs import HIVE_CATALOG, Table
from framework.publish import RUNS, Published, Staged, hive, staging_name
from framework.publish.trino import Executes, Query, aligned, check_columns, quoted
from framework.sources.hdfs import Hdfs
from framework.sources.paths import split_s3

_log = logging.getLogger(__name__)

_FORMATS = ("parquet", "orc")
# Hive has bounded texts, which Spark and Athena know only in part.
_TEXT = re.compile(r"\b(?:var)?char\(\d+\)")


class TrinoHiveArea:
    """Staging area of one run for one Hive-layout table."""

    def __init__(
        self, client: Executes, catalog: Catalog, aws: Aws, output: Table, run_id: str, existing: TableInfo | None, hdfs: Hdfs | None = None
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._aws = aws
        self._hdfs = hdfs
        self._output = output
        self._existing = existing
        self._format = existing.format if existing else output.format
        if self._format not in _FORMATS:
            raise SchemaMismatch(
                f"table {output.name} is {self._format.upper()}, which Trino writes otherwise than Spark and Athena read it",
                fix="publish to an Iceberg, Parquet or ORC table, or run the job with engine: spark",
            )
        self._stage_name = staging_name(output.name.lower(), run_id)
        self._merged_name = f"{self._stage_name}_merged"
        root = hive.root(existing) if existing else hive.new_location(catalog, output)
        self._folder = f"{root}/{RUNS}/{run_id}"
        self._staged: Staged | None = None
        self._plan: TableInfo | None = existing
        self._switch = hive.Switch(catalog, output, existing)
        self.staged_table = quoted(HIVE_CATALOG, *self._stage_name.split("."))

    def write(self, query: Query) -> Staged:
        check_columns(query, self._output)
        self._plan = self._existing or self._new(query)
        done = self._fill(self._stage_name, self._folder, self._plan, query)
        self._staged = Staged(done, self._folder)
        return self._staged

    def publish(self) -> Published:
        assert self._staged is not None, "write() comes first"
        stage = self._catalog.find(self._stage_name)
        assert stage is not None
        folder, partitions = self._folder, self._catalog.partitions(stage) if stage.partition_keys else []
        if self._output.write_mode == "append" and self._existing:
            folder, partitions = self._merged(stage)
        names = tuple(sorted(partition.location.removeprefix(f"{folder}/") for partition in partitions))
        previous = self._existing.location if self._existing else None
        assert self._plan is not None
        plan = replace(self._plan, location=hive.root(stage) if stage.partition_keys else folder)
        self._switch.show(plan, partitions)
        self._forget()
        return Published(plan.name, self._staged.rows, names, folder, previous)

    def discard(self) -> None:
        if self._switch.begun:
            return
        self._forget()
        if not self._folder.startswith("s3://"):
            if self._hdfs is None or not self._hdfs.delete(self._folder):
                _log.warning("what was staged stays at %s", self._folder)
            return
        bucket, prefix = split_s3(self._folder)
        s3 = self._aws.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            if found := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": found})

    def _forget(self) -> None:
        for name in (self._stage_name, self._merged_name):
            self._catalog.drop(name)

    def _new(self, query: Query) -> TableInfo:
        """A table that does not exist yet."""
        from sqlglot import exp

        keys = [column.lower() for column in self._output.partitioned_by]
        kinds = {
            column.name.lower(): exp.DataType.build(column.type, dialect="trino").sql("hive").lower().replace(", ", ",").replace(": ", ":")
            for column in query.columns
        }
        columns = {name: catalog.Column(name, _TEXT.sub("string", kind)) for name, kind in kinds.items()}
        return TableInfo(
            name=self._output.name.lower(),
            format=self._format,
            location=self._folder,
            columns=tuple(column for name, column in columns.items() if name not in keys),
            partition_keys=tuple(columns[key] for key in keys),
        )

    def _fill(self, name: str, folder: str, plan: TableInfo, query: Query) -> int:
        """An external table on a folder, like `plan`, with the query's rows; how many."""
        table = quoted(HIVE_CATALOG, *name.split("."))
        self._catalog.drop(name)
        self._catalog.create(replace(plan, name=name, location=folder, parameters={}, raw={}, version=None))
        target = self._client.columns(table)
        statement = f"INSERT INTO {table} ({', '.join(quoted(column.name) for column in target)})"
        done = self._client.execute(f"{statement}\n{aligned(query, self._output.name, target)}", session=query.session)
        return max(int(done.written), 0)

    def _merged(self, stage: TableInfo) -> tuple[str, list[Partition]]:
        """A folder with the staged rows and the present ones of the same partitions: this layout has no other atomic append."""
        assert self._existing is not None
        table = quoted(HIVE_CATALOG, *self._existing.name.split("."))
        keys = [quoted(column.name) for column in stage.partition_keys]
        where = ""
        if keys:
            row = f"({', '.join(keys)})" if len(keys) > 1 else keys[0]
            where = f" WHERE {row} IN (SELECT {', '.join(keys)} FROM {self.staged_table})"
        folder = f"{self._folder}-merged"
        text = f"SELECT * FROM {self.staged_table} UNION ALL SELECT * FROM {table}{where}"
        self._fill(self._merged_name, folder, stage, Query(text, self._client.columns(self.staged_table), {}))
        merged = self._catalog.find(self._merged_name)
        assert merged is not None
        return folder, self._catalog.partitions(merged) if merged.partition_keys else []
