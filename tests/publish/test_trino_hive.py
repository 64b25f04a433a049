"""What becomes of a run's files when a catalog takes some of its partitions and refuses another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from framework.catalog import Column, Partition, TableInfo
from framework.errors import PublishConflict
from framework.jobs import Table
from framework.publish.trino import Column as TrinoColumn
from framework.publish.trino import Query
from framework.publish.trino_hive import TrinoHiveArea

ROOT = "s3://lake/marts.db/daily"
KEYS = (Column("day", "string"),)
RUN = "20240101T000000000-daily-aaaaaa"


class HalfOpen:
    """A catalog that refuses every second partition, and each switch of a table."""

    def __init__(self, table: TableInfo) -> None:
        self.known = {table.name: table}
        self.located: dict[str, list[Partition]] = {table.name: []}

    def find(self, name: str) -> TableInfo | None:
        return self.known.get(name)

    def create(self, table: TableInfo, comment: str | None = None) -> TableInfo:
        self.known[table.name] = table
        found = [Partition((day,), f"{table.location}/day={day}") for day in ("1", "2")]
        self.located[table.name] = found if table.partition_keys else []
        return table

    def drop(self, name: str) -> None:
        self.known.pop(name, None)

    def partitions(self, table: TableInfo, expression: str | None = None) -> list[Partition]:
        return self.located[table.name]

    def put_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        self.located[table.name] = [partitions[0]]
        raise PublishConflict(f"Glue refused partition {partitions[1].values}")

    def switch(self, table: TableInfo, location: str) -> None:
        raise PublishConflict("table marts.daily changed")


@pytest.mark.parametrize(("keys", "kept"), [(KEYS, True), ((), False)])
def test_a_run_discards_nothing_that_readers_may_see(keys: tuple[Column, ...], kept: bool) -> None:
    table = TableInfo("marts.daily", "parquet", ROOT, (Column("n", "bigint"),), keys)
    columns = [TrinoColumn("n", "bigint"), *([TrinoColumn("day", "varchar")] if keys else [])]
    objects = {f"marts.db/daily/_runs/{RUN}/day={day}/part-0" for day in ("1", "2")}

    def delete(**asked: Any) -> None:
        objects.difference_update(one["Key"] for one in asked["Delete"]["Objects"])

    pages = SimpleNamespace(paginate=lambda **asked: [{"Contents": [{"Key": key} for key in objects if key.startswith(asked["Prefix"])]}])
    s3 = SimpleNamespace(get_paginator=lambda operation: pages, delete_objects=delete)
    catalog: Any = HalfOpen(table)
    trino: Any = SimpleNamespace(columns=lambda table: columns, execute=lambda *asked, **how: SimpleNamespace(written=2, rows=[]))
    aws: Any = SimpleNamespace(client=lambda service: s3)
    output = Table("marts.daily", partitioned_by=[column.name for column in keys], format="parquet")
    area = TrinoHiveArea(trino, catalog, aws, output, RUN, replace(table))
    area.write(Query("SELECT ...", columns, {}))
    with pytest.raises(PublishConflict):
        area.publish()
    area.discard()
    assert bool(objects) == kept
