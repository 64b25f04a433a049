"""Data files of Iceberg tables: what is opened to find those of a partition, and what a replacing commit leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import ManifestFile
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField, StringType

from framework.publish.lake_files import Overwrite, data_files, partition_path

SCHEMA = Schema(NestedField(1, "day", StringType(), required=False), NestedField(2, "flights", LongType(), required=False))
BY_DAY = PartitionSpec(PartitionField(source_id=1, field_id=1000, transform=IdentityTransform(), name="day"))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = SqlCatalog("lake", uri="sqlite:///:memory:", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("marts")
    return catalog


@pytest.fixture
def table(catalog: Catalog) -> Table:
    table = catalog.create_table("marts.days", SCHEMA, partition_spec=BY_DAY)
    for day in ("mon", "tue", None):
        table.append(pa.table({"day": pa.array([day], pa.string()), "flights": pa.array([1], pa.int64())}))
    return table


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Manifests that were opened."""
    paths: list[str] = []
    fetch = ManifestFile.fetch_manifest_entry

    def noted(self: ManifestFile, *args: Any, **kwargs: Any) -> Any:
        paths.append(self.manifest_path)
        return fetch(self, *args, **kwargs)

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", noted)
    return paths


@pytest.mark.parametrize(("day", "path"), [("mon", "day=mon"), (None, "day=null")])
def test_only_the_manifests_of_a_partition_are_opened(table: Table, opened: list[str], day: str | None, path: str) -> None:
    assert [partition_path(table, file) for file in data_files(table, {Record(day)})] == [path]
    assert len(opened) == 1


def test_without_partitions_all_files_are_given(table: Table) -> None:
    assert sorted(partition_path(table, file) for file in data_files(table)) == ["day=mon", "day=null", "day=tue"]


def test_replacing_a_partition_again_and_again_leaves_no_trail_of_manifests(table: Table, catalog: Catalog, opened: list[str]) -> None:
    other = catalog.create_table("marts.staged", SCHEMA, partition_spec=BY_DAY, location=table.location())
    other.append(pa.table({"day": ["mon"], "flights": pa.array([2], pa.int64())}))
    [first] = data_files(other)
    for _ in range(5):
        [old] = [file for file in data_files(table, {Record("mon")}) if file.partition == Record("mon")]
        with table.transaction() as transaction, Overwrite(transaction, {"run": "1"}) as commit:
            commit.delete_data_file(old)
            commit.append_data_file(first)

    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(table.io)) == 4  # one a day, and what this commit deleted
    assert snapshot.summary is not None
    assert snapshot.summary["run"] == "1"
    assert sorted(table.scan().to_arrow()["flights"].to_pylist()) == [1, 1, 2]
    opened.clear()
    assert len(list(data_files(table))) == 3
    assert len(opened) == 3
