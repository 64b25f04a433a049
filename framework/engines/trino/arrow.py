"""Results of queries as Arrow: small ones by the client, large ones by way of Parquet files on S3.

The client gets its rows as JSON and makes a Python object of each value; Trino's own writers and Arrow's reader are several
times faster, at the price of a table that is made and dropped. The planner's estimate chooses.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import math
import uuid
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from framework.aws import Aws
from framework.catalog import Catalog
from framework.engines.trino.types import Field, fields_of
from framework.errors import EmrjobsError, ServiceUnavailable, UserError
from framework.jobs import LAKE_CATALOG
from framework.predicates import literal
from framework.publish import staging_name
from framework.publish.trino import quoted
from framework.sources.paths import split_s3

if TYPE_CHECKING:
    from framework.engines.trino.client import TrinoClient
    from framework.engines.trino.statement import Statement

_log = logging.getLogger(__name__)

LARGE = 100_000
"""Rows from which on a result is unloaded; where the planner has no estimate, it counts as large."""

BATCH_ROWS = 65_536

_STAMP = "%Y%m%dt%H%M%S"

DATABASE = "emrjobs_unload"
# Statistics of a table that lives for seconds would cost as much as its files.
_SESSION = {
    f"{LAKE_CATALOG}.collect_extended_statistics_on_write": "false",
    f"{LAKE_CATALOG}.compression_codec": "SNAPPY",
    f"{LAKE_CATALOG}.parquet_writer_block_size": "32MB",
    # From one writer it would come to all of them only while the data pass.
    "scale_writers": "false",
    "task_scale_writers_enabled": "false",
}


class Fetch:
    """One query whose result is wanted as Arrow.

    Args:
        statement: the query, parameters filled in.
        state: prefix on S3 below which a large result lies while it is fetched; None: it always comes by the client.
        unload: True or False choose the way; None leaves it to the planner's estimate.

    Raises:
        UserError: a column has no name or type, or one of a type that only an unordered query can give.
        trino.exceptions.TrinoQueryError: the query is wrong.
        EngineUnavailable: the server does not answer.
    """

    def __init__(
        self,
        client: TrinoClient,
        catalog: Catalog,
        aws: Aws,
        statement: Statement,
        *,
        state: str | None,
        unload: bool | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._aws = aws
        self._text = statement.text
        self._ordered = is_ordered(statement.text)
        self._state = state if state and state.startswith("s3://") else None
        self._batch_rows = batch_rows
        self._fields: Sequence[Field] = fields_of(client.describe(statement.text))
        self.schema = pa.schema([pa.field(field.name, field.type) for field in self._fields])
        self.unloads = self._chosen(unload)
        if not self.unloads and self._ordered and (odd := next((field for field in self._fields if field.cast), None)):
            raise UserError(
                f"column {odd.name} is {odd.trino_type}, which has no exact value in Python",
                fix=f"cast it in the query: CAST({odd.name} AS varchar)",
            )

    def table(self) -> pa.Table:
        """The whole result."""
        if not self.unloads:
            return pa.Table.from_batches(list(self._by_client()), self.schema)
        with self._unloaded() as files:
            found = files.table()
            return self.schema.empty_table() if found is None else self._finished(found)

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """The result in batches of at most `batch_rows` rows; no more than some of them are in memory at a time."""
        if not self.unloads:
            yield from self._by_client()
            return
        with self._unloaded() as files:
            for batch in files.batches(self._batch_rows):
                yield from self._finished(pa.Table.from_batches([batch])).to_batches()

    def _chosen(self, unload: bool | None) -> bool:
        # A table has no order.
        if self._ordered or self._state is None or not self._fields:
            return False
        return unload if unload is not None else self._estimated() >= LARGE

    def _estimated(self) -> float:
        """Rows of the result as the planner sees them; infinite where it sees nothing."""
        explained = self._client.execute(f"EXPLAIN (TYPE LOGICAL, FORMAT JSON)\n{self._text}").rows[0][0]
        try:
            rows = float(json.loads(explained)["estimates"][0]["outputRowCount"])
        except (ValueError, KeyError, IndexError, TypeError):
            return math.inf
        return math.inf if math.isnan(rows) else rows

    def _transported(self) -> str:
        """The query with its columns under names and in types that survive the way."""
        given = ", ".join(quoted(f"c{index}") for index in range(len(self._fields)))
        taken = ", ".join(f"{field.expression(quoted(f'c{index}'))} AS {quoted(f'c{index}')}" for index, field in enumerate(self._fields))
        return f"SELECT {taken} FROM (\n{self._text}\n) AS t ({given})"

    # By the client

    def _by_client(self) -> Iterator[pa.RecordBatch]:
        text = self._transported() if any(field.cast for field in self._fields) else self._text
        for rows in self._client.stream(text, self._batch_rows):
            columns = zip(*rows, strict=True)
            arrays = [field.array(values) for field, values in zip(self._fields, columns, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    # By way of S3

    def _finished(self, table: pa.Table) -> pa.Table:
        return pa.table([field.finished(table.column(index)) for index, field in enumerate(self._fields)], schema=self.schema)

    @contextlib.contextmanager
    def _unloaded(self) -> Iterator[_Files]:
        """The result as files, which are there while the context is open."""
        unloads = _Files(self._aws, f"{self._state}/trino/unload")
        self._catalog.ensure_database(DATABASE)
        self._sweep(unloads)
        mark = f"{dt.datetime.now(dt.UTC):{_STAMP}}_{uuid.uuid4().hex[:8]}"
        name, files = staging_name(f"{DATABASE}.result", mark), unloads.below(mark)
        properties = f"format = 'PARQUET', location = {literal(files.folder, 'trino')}"
        try:
            self._client.execute(
                f"CREATE TABLE {quoted(LAKE_CATALOG, *name.split('.'))} WITH ({properties}) AS\n{self._transported()}", session=_SESSION
            )
            yield files
        finally:
            # Whatever the first error was, it is the one to read.
            try:
                self._catalog.drop(name)
                files.delete()
            except EmrjobsError as exc:
                _log.warning("%s was not removed: %s", files.folder, exc)

    def _sweep(self, unloads: _Files) -> None:
        """Remove what fetches that were killed left a day ago or earlier."""
        until = f"{dt.datetime.now(dt.UTC) - dt.timedelta(days=1):{_STAMP}}"
        for mark in unloads.folders():
            if mark < until:
                self._catalog.drop(staging_name(f"{DATABASE}.result", mark))
                unloads.below(mark).delete()


@dataclass(frozen=True)
class _Files:
    """Parquet files below a prefix."""

    aws: Aws
    folder: str

    def below(self, name: str) -> _Files:
        """Those in a folder of this one."""
        return _Files(self.aws, f"{self.folder}/{name}")

    def folders(self) -> list[str]:
        """Names of the folders in this one."""
        bucket, prefix = split_s3(self.folder)
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/", Delimiter="/")
        return [one["Prefix"].rstrip("/").rsplit("/", 1)[1] for page in pages for one in page.get("CommonPrefixes", [])]

    def table(self) -> pa.Table | None:
        """All rows; None where there are no files."""
        import pyarrow.dataset as ds

        keys = self._keys()
        with _told():
            return ds.dataset(keys, filesystem=self._filesystem, format="parquet").to_table() if keys else None

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        for key in self._keys():
            # Read as it is decoded: a whole row group would be as large as the file.
            with _told(), self._filesystem.open_input_file(key) as file:
                yield from pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False).iter_batches(batch_size=rows)

    def delete(self) -> None:
        """Remove all that is there."""
        s3 = self.aws.client("s3")
        bucket, prefix = split_s3(self.folder)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            if found := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": found})

    def _keys(self) -> list[str]:
        bucket, prefix = split_s3(self.folder)
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/data/")
        return sorted(f"{bucket}/{item['Key']}" for page in pages for item in page.get("Contents", []))

    @cached_property
    def _filesystem(self) -> Any:
        from pyarrow.fs import S3FileSystem

        options: dict[str, Any] = {"region": self.aws.region}
        if keys := self.aws.credentials():
            options |= {"access_key": keys.key_id, "secret_key": keys.secret, "session_token": keys.token}
        if endpoint := self.aws.endpoint("s3"):
            options["scheme"], _, options["endpoint_override"] = endpoint.partition("://")
        return S3FileSystem(**options)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as exc:  # as Arrow tells of S3
        raise ServiceUnavailable(f"the files of the result cannot be read: {exc}", fix="run it again") from exc


def is_ordered(sql: str) -> bool:
    """Whether the rows of a query come in an order that it asks for; True for what cannot be told."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        query = sqlglot.parse_one(sql, read="trino")
    except (SqlglotError, RecursionError):
        return True
    return not isinstance(query, exp.Query) or query.args.get("order") is not None
