"""Data files of Iceberg tables as pyiceberg sees them. Import this module only where pyiceberg is wanted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo, IsNull, Or, Reference
from pyiceberg.expressions.visitors import manifest_evaluator
from pyiceberg.manifest import DataFile, DataFileContent, ManifestFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles, _OverwriteFiles, _SnapshotProducer
from pyiceberg.typedef import Record


def data_files(table: Table, partitions: Collection[Record] | None = None) -> Iterator[DataFile]:
    """Data files of a table's current snapshot, each with the partition spec that it was written with.

    Args:
        partitions: records of the table's current spec. Manifests that hold nothing of them are not opened; those that hold
            something may give files of other partitions too, and manifests of an older spec give all.
    """
    snapshot = table.current_snapshot()
    if snapshot is None:
        return
    may_hold = _evaluator(table, partitions)
    for manifest in snapshot.manifests(table.io):
        if not _is_live(manifest) or (manifest.partition_spec_id == table.spec().spec_id and not may_hold(manifest)):
            continue
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            if entry.data_file.content == DataFileContent.DATA:
                entry.data_file.spec_id = manifest.partition_spec_id
                yield entry.data_file


def partition_path(table: Table, file: DataFile) -> str:
    """`column=value/...` of a file; empty in an unpartitioned table."""
    spec = table.specs()[file.spec_id]
    return str(spec.partition_to_path(file.partition, table.schema())) if spec.fields else ""


class _Careful(_SnapshotProducer[Any]):
    """A commit whose manifests outlive a refusal when they are the table's nevertheless.

    A refusal may answer a request that the client has repeated: the first one was heard, its answer lost. pyiceberg (0.12) deletes
    the manifests of what was refused, and so of a snapshot that readers see.
    """

    def _clean_all_uncommitted(self) -> None:
        table = self._transaction._table
        if table.catalog.load_table(table.name()).snapshot_by_id(self._snapshot_id) is None:
            super()._clean_all_uncommitted()


class Append(_Careful, _FastAppendFiles):
    """A commit that adds files."""

    def __init__(self, transaction: Transaction, properties: dict[str, str]) -> None:
        super().__init__(Operation.APPEND, transaction, transaction._table.io, snapshot_properties=properties)


class Overwrite(_Careful, _OverwriteFiles):
    """A commit that replaces files, and lets go of manifests that name deleted files only.

    Iceberg's Java library leaves them out of the next snapshot; pyiceberg (0.12) does so when it appends, and keeps them all when
    it overwrites: each later publish would open one more of them.
    """

    def __init__(self, transaction: Transaction, properties: dict[str, str]) -> None:
        super().__init__(Operation.OVERWRITE, transaction, transaction._table.io, snapshot_properties=properties)

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        return [manifest for manifest in manifests if _is_live(manifest) or manifest.added_snapshot_id == self._snapshot_id]


def _is_live(manifest: ManifestFile) -> bool:
    return manifest.has_added_files() or manifest.has_existing_files()


def _evaluator(table: Table, partitions: Collection[Record] | None) -> Callable[[ManifestFile], bool]:
    spec = table.spec()
    if partitions is None or not spec.fields:
        return lambda manifest: True
    wanted = [_equals([field.name for field in spec.fields], record) for record in partitions]
    return manifest_evaluator(spec, table.schema(), _joined(Or, wanted))


def _equals(names: Sequence[str], record: Record) -> BooleanExpression:
    terms = [(Reference(name), record[position]) for position, name in enumerate(names)]
    return _joined(And, [IsNull(term=term) if value is None else EqualTo(term=term, value=value) for term, value in terms])


def _joined(kind: type[And] | type[Or], terms: list[BooleanExpression]) -> BooleanExpression:
    return AlwaysTrue() if not terms else terms[0] if len(terms) == 1 else kind(*terms)
