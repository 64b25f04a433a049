"""An Iceberg lake in this process: pyiceberg on objects in memory, with faults; as Trino and as Spark's JVM have it."""

from __future__ import annotations

import datetime as dt
import io
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.io import FileIO, InputFile, OutputFile
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.manifest import DataFileContent
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile, ToOutputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

from framework.catalog import TableInfo
from framework.publish import trino_iceberg
from framework.publish.lake_files import Overwrite, data_files
from framework.publish.trino import Column

BUCKET, DATABASE = "lake", "marts"
COLUMNS = [Column("id", "bigint"), Column("day", "varchar"), Column("n", "bigint")]
SCHEMA = Schema(NestedField(1, "id", LongType()), NestedField(2, "day", StringType()), NestedField(3, "n", LongType()))
BY_DAY = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="day"))

Row = tuple[int, str, int]
Rows = list[Row]


class Killed(BaseException):
    """The process is gone."""


class Unreachable(OSError):
    """No answer."""


@dataclass
class Fault:
    """Strikes at one of the operations that change something.

    Attributes:
        left: operations before that one.
        heard: it takes effect, and only its answer is lost.
        kind: what comes instead of an answer. A refused commit that was heard is one that the client had sent twice.
    """

    left: int
    heard: bool
    kind: type[BaseException]


class Lake:
    """Objects, a catalog over them, and a clock that says how old they are."""

    def __init__(self) -> None:
        self.now = 0.0
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.fault: Fault | None = None
        self.meanwhile: Callable[[], None] | None = None
        """Happens once, between what a commit is based on and the commit."""
        self.born: dict[str, float] = {}
        self.committed: dict[int, float] = {}
        self.changes = 0
        self._lock = threading.Lock()
        self._dead = False
        self.tables = _Tables(self)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Where this framework opens the lake, it finds this one."""
        with patch.object(trino_iceberg, "open_lake", lambda aws, metastore: self.tables):
            yield

    @contextmanager
    def changing(self, *, commits: bool = False) -> Iterator[None]:
        """One operation that changes something."""
        with self._lock:
            self.changes += 1
            if self._dead:
                raise Killed
            fault = self.fault
            strikes = fault is not None and fault.left <= 0 and (commits or fault.kind is not CommitFailedException)
            if fault is not None and not strikes:
                fault.left -= 1
            if strikes:
                self.fault = None
        if strikes and fault is not None and not fault.heard:
            self._strike(fault)
        yield
        if strikes and fault is not None and fault.heard:
            self._strike(fault)

    @contextmanager
    def process(self, fault: Fault | None) -> Iterator[None]:
        """What a process does until it ends, or is killed."""
        self.fault, self._dead = fault, False
        try:
            yield
        finally:
            self.fault, self._dead, self.meanwhile = None, False, None

    def interrupt(self) -> None:
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            act()

    def _strike(self, fault: Fault) -> None:
        self._dead = fault.kind is Killed
        raise fault.kind

    def rows(self, name: str) -> Rows | None:
        """What a reader sees, sorted; None when there is no such table."""
        try:
            seen = self.tables.load_table(name).scan().to_arrow().to_pylist()
        except NoSuchTableError:
            return None
        return sorted((row["id"], row["day"], row["n"]) for row in seen)

    def age(self, seconds: float) -> dt.datetime:
        """A time by the real clock, as long ago as it is by this one."""
        return dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self.now - seconds)


class _Tables(SqlCatalog):
    """pyiceberg's catalog, with this lake's objects and faults."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.at: dict[str, str] = {}
        super().__init__("lake", uri="sqlite:///:memory:", warehouse=f"s3://{BUCKET}")

    def _load_file_io(self, properties: Any = None, location: str | None = None) -> FileIO:
        return _Objects(self.lake)

    def load_table(self, identifier: Any) -> Table:
        name = identifier if isinstance(identifier, str) else ".".join(identifier)
        if name not in self.at:
            raise NoSuchTableError(name)
        objects = _Objects(self.lake)
        metadata = FromInputFile.table_metadata(objects.new_input(self.at[name]))
        return Table(tuple(name.split(".")), metadata, self.at[name], objects, self)

    def create_table(self, identifier: Any, *args: Any, **how: Any) -> Table:
        location = f"{how['location']}/metadata/00000-{uuid.uuid4()}.metadata.json"
        metadata = new_table_metadata(how["schema"], how["partition_spec"], UNSORTED_SORT_ORDER, how["location"], {})
        ToOutputFile.table_metadata(metadata, _Objects(self.lake).new_output(location))
        return self.register_table(identifier, location)

    def register_table(self, identifier: Any, metadata_location: str, overwrite: bool = False) -> Table:
        with self.lake.changing():
            if identifier in self.at:
                raise TableAlreadyExistsError(identifier)
            self.at[identifier] = metadata_location
            self.lake.born[identifier] = self.lake.now
            made = self.load_table(identifier)
            self._note(made.metadata)
        return made

    def drop_table(self, identifier: Any) -> None:
        with self.lake.changing():
            del self.at[identifier]

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        self.lake.interrupt()
        with self.lake.changing(commits=True):
            name = ".".join(table.name())
            staged = self._update_and_stage_table(self.load_table(name), table.name(), requirements, updates)
            self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
            self.at[name] = staged.metadata_location
            self._note(staged.metadata)
        return CommitTableResponse(metadata=staged.metadata, metadata_location=staged.metadata_location)

    def _note(self, metadata: Any) -> None:
        for snapshot in metadata.snapshots:
            self.lake.committed.setdefault(snapshot.snapshot_id, self.lake.now)


class _Objects(FileIO):
    def __init__(self, lake: Lake) -> None:
        super().__init__()
        self.lake = lake

    def new_input(self, location: str) -> InputFile:
        return _Object(self.lake, location)

    def new_output(self, location: str) -> OutputFile:
        return _Object(self.lake, location)

    def delete(self, location: Any) -> None:
        with self.lake.changing():
            self.lake.objects.pop(location if isinstance(location, str) else location.location, None)


class _Object(InputFile, OutputFile):
    def __init__(self, lake: Lake, location: str) -> None:
        super().__init__(location)
        self.lake = lake

    def __len__(self) -> int:
        return len(self._content)

    def exists(self) -> bool:
        return self.location in self.lake.objects

    def open(self, seekable: bool = True) -> Any:
        return io.BytesIO(self._content)

    def create(self, overwrite: bool = False) -> Any:
        return _Written(self.lake, self.location)

    def to_input_file(self) -> InputFile:
        return self

    @property
    def _content(self) -> bytes:
        if not self.exists():
            raise FileNotFoundError(self.location)
        return self.lake.objects[self.location][0]


class _Written(io.BytesIO):
    """An object is there when it is closed."""

    def __init__(self, lake: Lake, location: str) -> None:
        super().__init__()
        self.lake, self.location = lake, location

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            with self.lake.changing():
                self.lake.objects[self.location] = (content, self.lake.now)


class Names:
    """The same catalog as this framework's."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def find(self, name: str) -> TableInfo | None:
        if name not in self.lake.tables.at:
            return None
        made = self.lake.age(self.lake.born[name])
        return TableInfo(name, "iceberg", self.lake.tables.at[name].rpartition("/metadata/")[0], (), raw={"CreateTime": made})

    def tables(self) -> list[TableInfo]:
        return [info for name in sorted(self.lake.tables.at) if (info := self.find(name))]

    def ensure_database(self, database: str) -> str:
        return f"s3://{BUCKET}/{database}.db"

    def drop(self, name: str) -> None:
        if self.find(name) is not None:
            self.lake.tables.drop_table(name)


class S3:
    """The same objects as boto3's."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def delete_object(self, **asked: str) -> None:
        with self.lake.changing():
            self.lake.objects.pop(f"s3://{asked['Bucket']}/{asked['Key']}", None)

    def delete_objects(self, **asked: Any) -> dict[str, Any]:
        for one in asked["Delete"]["Objects"]:
            self.delete_object(Bucket=asked["Bucket"], Key=one["Key"])
        return {}

    def get_paginator(self, operation: str) -> S3:
        return self

    def paginate(self, **asked: str) -> Iterator[dict[str, Any]]:
        prefix = f"s3://{asked['Bucket']}/"
        yield {
            "Contents": [
                {"Key": uri.removeprefix(prefix), "Size": len(content), "LastModified": self.lake.age(written)}
                for uri, (content, written) in self.lake.objects.items()
                if uri.startswith(prefix + asked["Prefix"])
            ]
        }


class Trino:
    """As much of a Trino server as publishing to Iceberg asks of it."""

    def __init__(self, lake: Lake, queries: dict[str, Rows]) -> None:
        self.lake = lake
        self.queries = queries

    def columns(self, table: str) -> list[Column]:
        return COLUMNS

    def execute(self, text: str, *, session: Any = None) -> Any:
        first, *others = [f"{DATABASE}.{name}" for name in re.findall(r'"iceberg"\."marts"\."(\w+)"', text)]
        if text.startswith("CREATE TABLE"):
            return SimpleNamespace(written=self._make(first, text), rows=[])
        if text.startswith("INSERT INTO"):
            return SimpleNamespace(written=self._add(first, self._rows(text)), rows=[])
        if text.startswith("MERGE INTO"):
            return SimpleNamespace(written=0, rows=[], query_id=self._merge(first, others[0]))
        return SimpleNamespace(written=0, rows=[])

    def _make(self, name: str, text: str) -> int:
        found = re.search(r"location = '([^']+)'", text)
        assert found is not None
        if any(uri.startswith(f"{found[1]}/") for uri in self.lake.objects):
            raise AssertionError(f"Cannot create a table on a non-empty location: {found[1]}")
        self.lake.tables.create_table(name, schema=SCHEMA, location=found[1], partition_spec=BY_DAY)
        return self._add(name, self._rows(text))

    def _add(self, name: str, rows: Rows) -> int:
        self.lake.tables.load_table(name).append(_arrow(rows))
        return len(rows)

    def _merge(self, name: str, staged: str) -> str:
        """One commit, refused when another one came between; returns the query's id, which is in its snapshot."""
        self.lake.interrupt()
        changed = {row[0]: row for row in self.lake.rows(staged) or []}
        made, table = f"query_{uuid.uuid4().hex[:8]}", self.lake.tables.load_table(name)
        after = merged(self.lake.rows(name) or [], changed)
        table.metadata.properties["commit.retry.num-retries"] = "0"
        with table.transaction() as transaction, Overwrite(transaction, {"trino_query_id": made}) as commit:
            for file in data_files(table):
                commit.delete_data_file(file)
            for file in _dataframe_to_data_files(table.metadata, _arrow(after), table.io):
                commit.append_data_file(file)
        return made

    def _rows(self, text: str) -> Rows:
        found = re.search(r"rows_\w+", text)
        assert found is not None
        return self.queries[found[0]]


def merged(before: Rows, changed: dict[int, Row]) -> Rows:
    """Rows after a merge by their first column."""
    known = {row[0] for row in before}
    return sorted([changed.get(row[0], row) for row in before] + [row for key, row in changed.items() if key not in known])


def _arrow(rows: Sequence[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    kinds = [("id", pa.int64()), ("day", pa.string()), ("n", pa.int64())]
    return pa.table({name: pa.array(column, kind) for (name, kind), column in zip(kinds, columns, strict=True)})


def spark(lake: Lake) -> Any:
    """A session, as far as maintenance asks its JVM for Iceberg's Java library."""
    files = SimpleNamespace(
        metadataFileLocations=lambda table, recursive: [table.at, *(entry.metadata_file for entry in table.metadata.metadata_log)],
        manifestListLocations=lambda table: [one.manifest_list for one in table.metadata.snapshots],
        statisticsFilesLocations=lambda table: [one.statistics_path for one in table.metadata.statistics],
        versionHintLocation=lambda table: f"{table.metadata.location}/metadata/version-hint.text",
    )
    loads = SimpleNamespace(Spark3Util=SimpleNamespace(loadIcebergTable=lambda session, name: _JavaTable(lake, name)))
    iceberg = SimpleNamespace(ReachableFileUtil=files, spark=loads)
    jvm = SimpleNamespace(
        org=SimpleNamespace(apache=SimpleNamespace(iceberg=iceberg)), SparkSession=SimpleNamespace(setActiveSession=lambda session: None)
    )

    def select(text: str) -> Any:
        found = re.search(r"FROM (\w+\.\w+)\.all_(\w+)", text)
        assert found is not None
        table = lake.tables.load_table(found[1])
        manifests = {one.manifest_path: one for snapshot in table.metadata.snapshots for one in snapshot.manifests(table.io)}
        if found[2] == "manifests":
            return SimpleNamespace(collect=lambda: [(path,) for path in manifests])
        entries = [entry for one in manifests.values() for entry in one.fetch_manifest_entry(table.io, discard_deleted=True)]
        assert all(entry.data_file.content == DataFileContent.DATA for entry in entries)
        return SimpleNamespace(collect=lambda: [(entry.data_file.file_path,) for entry in entries])

    return SimpleNamespace(_jvm=jvm, _jsparkSession=None, sql=select)


class _JavaTable:
    """org.apache.iceberg.Table."""

    def __init__(self, lake: Lake, name: str) -> None:
        self.lake, self.name = lake, name
        self.refresh()

    def refresh(self) -> None:
        self.table = self.lake.tables.load_table(self.name)
        self.metadata, self.at = self.table.metadata, self.table.metadata_location

    def currentSnapshot(self) -> Any:
        return self._java(self.table.current_snapshot())

    def snapshot(self, number: int) -> Any:
        return self._java(self.table.snapshot_by_id(number))

    def snapshots(self) -> list[Any]:
        return [self._java(one) for one in self.metadata.snapshots]

    def refs(self) -> dict[str, Any]:
        return {name: SimpleNamespace(snapshotId=lambda one=one: one.snapshot_id) for name, one in self.metadata.refs.items()}

    def manageSnapshots(self) -> Any:
        return SimpleNamespace(rollbackTo=lambda number: self.table.manage_snapshots().rollback_to_snapshot(number))

    def expireSnapshots(self) -> Any:
        return _Expiry(self)

    def _java(self, snapshot: Any) -> Any:
        if snapshot is None:
            return None
        millis = int(self.lake.age(self.lake.committed[snapshot.snapshot_id]).timestamp() * 1000)
        return SimpleNamespace(snapshotId=lambda: snapshot.snapshot_id, timestampMillis=lambda: millis)


class _Expiry:
    """org.apache.iceberg.ExpireSnapshots: what is older goes, unless a branch or a tag is at it."""

    def __init__(self, table: _JavaTable) -> None:
        self.table, self.until = table, 0

    def expireOlderThan(self, millis: int) -> _Expiry:
        self.until = millis
        return self

    def retainLast(self, number: int) -> _Expiry:
        assert number == 1
        return self

    def cleanExpiredFiles(self, clean: bool) -> _Expiry:
        assert not clean
        return self

    def commit(self) -> None:
        kept = {one.snapshotId() for one in self.table.refs().values()}
        old = [one.snapshotId() for one in self.table.snapshots() if one.timestampMillis() < self.until]
        self.table.table.maintenance.expire_snapshots().by_ids([one for one in old if one not in kept]).commit()
