"""What a table needs besides runs: undo one, remove what nobody reads any more, rewrite small files."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from framework.catalog import Partition, TableInfo
from framework.engines.spark import conf
from framework.errors import PublishConflict, UserError
from framework.jobs import Jdbc
from framework.ledger import ROLLED_BACK, SUCCEEDED, OutputRecord, RunRecord
from framework.publish import RUNS, database, iceberg, is_staging_name, partition_values
from framework.sources import jdbc
from framework.sources.hdfs import is_hdfs
from framework.sources.paths import normalise, split_s3

if TYPE_CHECKING:
    from framework.platform import Platform

_log = logging.getLogger(__name__)

_DELETE_BATCH = 1000  # S3 API, DeleteObjects: "up to 1000 keys"


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum removed, or would remove.

    Attributes:
        files: URIs below the table that nothing refers to.
        size_bytes: of these files.
        snapshots: of an Iceberg table, that expire; their files go with the next vacuum's retention.
        names: staging tables that a killed run left in the catalog, or in the database.
    """

    table: str
    files: tuple[str, ...]
    size_bytes: int
    snapshots: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Optimized:
    """Files that were rewritten, and what became of them."""

    table: str
    rewritten: int
    added: int
    size_bytes: int


@dataclass(frozen=True)
class _Object:
    uri: str
    size: int
    written: dt.datetime = field(compare=False)


def rollback(platform: Platform, run_id: str) -> RunRecord:
    """Undo what a run published: readers see again what they saw before it.

    Returns:
        The run's record, now `rolled_back`.

    Raises:
        UserError: it published nothing, made the table, or what it replaced is gone.
        PublishConflict: a later run published over it; that one has to be undone first.
    """
    record = platform.ledger.get(run_id)
    if record.status != SUCCEEDED or record.output is None:
        raise UserError(f"run {record.run_id} is {record.status}: there is nothing to undo", fix="emrjobs runs lists the runs")
    if record.output.kind == "jdbc":
        raise UserError(
            f"run {record.run_id} published to {record.output.table}, and a database keeps no earlier rows",
            fix="run the job again for the data that you want",
        )
    info = platform.table(record.output.table)
    if info.is_iceberg:
        _rollback_iceberg(platform, record, record.output)
    elif info.partition_keys:
        _rollback_partitions(platform, info, record, record.output)
    else:
        _rollback_location(platform, info, record, record.output)
    undone = replace(record, status=ROLLED_BACK)
    platform.ledger.write(undone)
    return undone


def _rollback_iceberg(platform: Platform, record: RunRecord, output: OutputRecord) -> None:
    with platform.spark() as spark:
        conf.prepare(spark, platform.aws)
        table = iceberg.load(spark, output.table)
        current = table.currentSnapshot()
        if current is None or str(current.snapshotId()) != output.version:
            raise _overtaken(platform, record, "")
        if output.previous is None:
            raise _made_the_table(record)
        if table.snapshot(int(output.previous)) is None:
            raise _gone(record)
        table.manageSnapshots().rollbackTo(int(output.previous)).commit()


def _rollback_location(platform: Platform, info: TableInfo, record: RunRecord, output: OutputRecord) -> None:
    if info.location != output.version:
        raise _overtaken(platform, record, "")
    if output.previous is None:
        raise _made_the_table(record)
    if not _is_there(platform, output.previous):
        raise _gone(record)
    platform.catalog.switch(info, output.previous)


def _rollback_partitions(platform: Platform, info: TableInfo, record: RunRecord, output: OutputRecord) -> None:
    """Each partition goes back to the folder of the run before, which the ledger knows; one that the run made goes."""
    now = {partition.values: partition.location for partition in platform.catalog.partitions(info)}
    wanted = {partition_values(name): name for name in output.partitions}
    for values, name in wanted.items():
        if now.get(values) != f"{output.version}/{name}":
            raise _overtaken(platform, record, f" to {name}")
    before: dict[tuple[str, ...], str] = {}
    for earlier in platform.ledger.list():
        if earlier.run_id < record.run_id and earlier.status == SUCCEEDED and earlier.output and earlier.output.table == output.table:
            for name in earlier.output.partitions:
                if (values := partition_values(name)) in wanted or output.mode == "overwrite":
                    before.setdefault(values, f"{earlier.output.version}/{name}")
            # A run that replaced the whole table replaced all that runs since the one that did so before had made.
            if output.mode == "overwrite" and earlier.output.mode == "overwrite":
                break
        if output.mode != "overwrite" and len(before) == len(wanted):
            break
    if missing := [location for location in before.values() if not _is_there(platform, location)]:
        raise _gone(record, missing[0])
    platform.catalog.put_partitions(info, [Partition(values, location) for values, location in before.items()])
    platform.catalog.delete_partitions(info, [Partition(values, now[values]) for values in wanted if values not in before])


def _overtaken(platform: Platform, record: RunRecord, what: str) -> PublishConflict:
    assert record.output is not None
    later = [
        one.run_id
        for one in platform.ledger.list()
        if one.run_id > record.run_id and one.status == SUCCEEDED and one.output and one.output.table == record.output.table
    ]
    newest = later[0] if later else None
    return PublishConflict(
        f"{record.output.table} has changed since run {record.run_id} published{what}",
        details=[f"later run: {run_id}" for run_id in later[:5]],
        fix=f"roll back {newest} first" if newest else "see who else writes to the table",
    )


def _made_the_table(record: RunRecord) -> UserError:
    assert record.output is not None
    return UserError(f"run {record.run_id} made {record.output.table}: there is nothing before it", fix="drop the table if it has to go")


def _gone(record: RunRecord, what: str | None = None) -> UserError:
    return UserError(
        f"what run {record.run_id} replaced has been removed by a vacuum",
        details=[what] if what else (),
        fix="run the job again for the data that you want",
    )


def vacuum(platform: Platform, name: str, *, retention: dt.timedelta, dry_run: bool) -> Vacuumed:
    """Remove what no reader can see any more and what is older than the retention.

    That is: files of crashed runs, of superseded ones, and of expired snapshots; snapshots; staging names. What is younger stays:
    a run may be at work on it, a reader may still have it open, and a rollback may need it. Of a table of a database: staged tables.

    Args:
        name: `database.table`, or `connection.table` of a database.
        dry_run: change nothing.

    Raises:
        DatasetNotFound: there is no such table.
        UserError: its files are not on S3.
    """
    until = dt.datetime.now(dt.UTC) - retention
    connection, _, table_name = name.partition(".")
    if connection in platform.settings.connections and ("." in table_name or platform.catalog.find(name) is None):
        return _vacuum_database(platform, Jdbc(connection, table_name), until, dry_run)
    info = platform.table(name)
    if not info.location.startswith("s3://"):
        raise UserError(f"{name} lies at {info.location}; only tables on S3 can be vacuumed")
    snapshots = 0
    if info.is_iceberg:
        with platform.spark() as spark:
            conf.prepare(spark, platform.aws)
            table = iceberg.load(spark, info.name)
            snapshots = _expire(table, until, dry_run)
            live = _live_files(spark, table, info.name)
            root = info.location
    else:
        root = info.location.partition(f"/{RUNS}/")[0]
        places = [partition.location for partition in platform.catalog.partitions(info)] if info.partition_keys else [info.location]
        live = None
        live_folders = tuple(f"{place}/" for place in places)
    staged = [
        table
        for table in platform.catalog.tables()
        if is_staging_name(table.name) and table.name.startswith(f"{info.name}__") and _is_older(table, until)
    ]
    listed = list(_objects(platform, root if live is not None else f"{root}/{RUNS}"))
    # A table is staged in a folder of its own as long as there is none of its name.
    for place in {table.location.rstrip("/") for table in staged}:
        if live is not None and place.startswith("s3://") and not f"{place}/".startswith(f"{root.rstrip('/')}/"):
            listed += _objects(platform, place)
    dead = [
        one for one in listed if one.written < until and (one.uri not in live if live is not None else not one.uri.startswith(live_folders))
    ]
    if not dry_run:
        _delete(platform, [one.uri for one in dead])
        for table in staged:
            platform.catalog.drop(table.name)
    names = tuple(table.name for table in staged)
    return Vacuumed(info.name, tuple(one.uri for one in dead), sum(one.size for one in dead), snapshots, names)


def _vacuum_database(platform: Platform, output: Jdbc, until: dt.datetime, dry_run: bool) -> Vacuumed:
    jdbc.check_table(output.table)
    table = database.DatabaseTable(platform.open_connection(output.connection), output, database.RunKeys("vacuum", "", ""))
    left = table.abandoned(until)
    if not dry_run:
        table.drop(left)
    return Vacuumed(output.name, (), sum(one.size_bytes for one in left), 0, tuple(one.name for one in left))


def optimize(platform: Platform, name: str) -> Optimized:
    """Rewrite small files of an Iceberg table into large ones, in the table's order of rows where it has one. Readers see no change.

    Raises:
        DatasetNotFound: there is no such table.
        UserError: it is not an Iceberg table.
    """
    info = platform.table(name)
    if not info.is_iceberg:
        raise UserError(
            f"{info.name} is {info.format}; only Iceberg tables can be optimized", fix="run its job again: a run writes whole files"
        )
    with platform.spark() as spark:
        conf.prepare(spark, platform.aws)
        ordered = iceberg.load(spark, info.name).sortOrder().isSorted()
        strategy = ", strategy => 'sort'" if ordered else ""
        done = spark.sql(f"CALL spark_catalog.system.rewrite_data_files(table => '{info.name}'{strategy})").head()
        spark.sql(f"CALL spark_catalog.system.rewrite_manifests('{info.name}')")
    return Optimized(info.name, done["rewritten_data_files_count"], done["added_data_files_count"], done["rewritten_bytes_count"])


def _expire(table: Any, until: dt.datetime, dry_run: bool) -> int:
    """Let snapshots go that are older and that no branch or tag leads to; the current one always stays."""
    current = table.currentSnapshot()
    millis = int(until.timestamp() * 1000)
    kept = {reference.snapshotId() for reference in table.refs().values()} | ({current.snapshotId()} if current else set())
    old = [one.snapshotId() for one in table.snapshots() if one.timestampMillis() < millis and one.snapshotId() not in kept]
    if old and not dry_run:
        # Files are found and removed below, where their age counts too.
        expire = table.expireSnapshots().expireOlderThan(millis).retainLast(1).cleanExpiredFiles(False)
        expire.commit()
        table.refresh()
    return len(old)


def _live_files(spark: Any, table: Any, name: str) -> set[str]:
    """Every file that the table's metadata refers to, the metadata itself included."""
    util = spark._jvm.org.apache.iceberg.ReachableFileUtil
    found = {str(one) for one in util.metadataFileLocations(table, False)}
    found |= {str(one) for one in util.manifestListLocations(table)} | {str(one) for one in util.statisticsFilesLocations(table)}
    found.add(str(util.versionHintLocation(table)))
    found |= {row[0] for row in spark.sql(f"SELECT path FROM {name}.all_manifests").collect()}
    found |= {row[0] for row in spark.sql(f"SELECT file_path FROM {name}.all_files").collect()}
    return {normalise(one) for one in found}


def _objects(platform: Platform, prefix: str) -> Iterator[_Object]:
    bucket, key = split_s3(prefix)
    for page in platform.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{key.rstrip('/')}/"):
        for item in page.get("Contents", []):
            yield _Object(f"s3://{bucket}/{item['Key']}", item["Size"], item["LastModified"])


def _is_there(platform: Platform, folder: str) -> bool:
    if is_hdfs(folder):
        hdfs = platform.need_hdfs()
        found = hdfs.files(folder) if hdfs else None
        if found is None:
            raise UserError(f"nobody can be asked whether {folder} is still there", fix="set hdfs.web to the cluster's WebHDFS")
        return bool(found)
    return next(_objects(platform, folder), None) is not None


def _delete(platform: Platform, uris: Sequence[str]) -> None:
    by_bucket: dict[str, list[str]] = {}
    for uri in uris:
        bucket, key = split_s3(uri)
        by_bucket.setdefault(bucket, []).append(key)
    for bucket, keys in by_bucket.items():
        for batch in _batches(keys):
            answer = platform.aws.client("s3").delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
            )
            for error in answer.get("Errors", []):
                _log.warning("s3://%s/%s was not removed: %s", bucket, error.get("Key"), error.get("Message"))


def _batches(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _DELETE_BATCH] for start in range(0, len(keys), _DELETE_BATCH))


def _is_older(table: TableInfo, until: dt.datetime) -> bool:
    made = table.raw.get("CreateTime")
    return isinstance(made, dt.datetime) and made < until
