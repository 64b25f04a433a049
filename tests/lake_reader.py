"""Tables as boto3, pyiceberg and pyarrow see them: nothing of the framework is used but where its environment's servers are."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import pyarrow.parquet

from framework.aws import Aws

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Seen:
    """What a table holds at one moment.

    Attributes:
        rows: in the order of their text.
        partitions: `column=value`, in order; none of an unpartitioned table.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    partitions: tuple[str, ...]


class Lake:
    """Reads Iceberg tables, and Parquet tables in the Hive layout, from Glue and S3.

    Args:
        clients: a boto3 client by the service's name.
        iceberg: pyiceberg's properties of S3.
    """

    def __init__(self, clients: Callable[[str], Any], iceberg: dict[str, str]) -> None:
        self._clients = clients
        self._iceberg = iceberg

    @classmethod
    def of(cls, aws: Aws) -> Lake:
        """Where an environment's clients look."""
        keys = aws.credentials()
        assert keys is not None
        session: Any = boto3.Session(keys.key_id, keys.secret, region_name=aws.region)
        made = {name: session.client(name, endpoint_url=aws.endpoint(name)) for name in ("glue", "s3")}
        properties = {"s3.region": aws.region, "s3.access-key-id": keys.key_id, "s3.secret-access-key": keys.secret}
        properties |= {"s3.endpoint": aws.endpoint("s3") or "", "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"}
        return cls(made.__getitem__, properties)

    def read(self, name: str) -> Seen:
        """All rows of `database.table`; nothing where there is no such table."""
        database, _, table = name.partition(".")
        glue = self._clients("glue")
        try:
            described = glue.get_table(DatabaseName=database, Name=table)["Table"]
        except glue.exceptions.EntityNotFoundException:
            return Seen((), (), ())
        if "metadata_location" in described.get("Parameters", {}):
            return self._of_iceberg(described["Parameters"]["metadata_location"])
        if described.get("PartitionKeys"):
            return self._of_partitions(database, table, described["PartitionKeys"])
        return _seen(self._files(described["StorageDescriptor"]["Location"]), [])

    def _of_iceberg(self, metadata: str) -> Seen:
        from pyiceberg.table import StaticTable

        table = StaticTable.from_metadata(metadata, self._iceberg)
        found = [row["partition"] for row in table.inspect.partitions().to_pylist()] if table.spec().fields else []
        return _seen(table.scan().to_arrow().to_pylist(), found)

    def _of_partitions(self, database: str, table: str, keys: list[dict[str, Any]]) -> Seen:
        rows, found = [], []
        for page in self._clients("glue").get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table):
            for one in page["Partitions"]:
                texts = zip(keys, one["Values"], strict=True)
                values = {key["Name"]: int(text) if key["Type"] in ("int", "bigint") else text for key, text in texts}
                rows += [{**row, **values} for row in self._files(one["StorageDescriptor"]["Location"])]
                found.append(values)
        return _seen(rows, found)

    def _files(self, folder: str) -> list[dict[str, Any]]:
        s3 = self._clients("s3")
        bucket, _, prefix = folder.removeprefix("s3://").partition("/")
        rows: list[dict[str, Any]] = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix.rstrip('/')}/"):
            for item in page.get("Contents", []):
                if item["Key"].endswith(".parquet"):
                    data = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                    rows += pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
        return rows


def _seen(rows: list[dict[str, Any]], partitions: list[dict[str, Any]]) -> Seen:
    columns = tuple(rows[0]) if rows else ()
    named = sorted("/".join(f"{key}={value}" for key, value in one.items()) for one in partitions)
    return Seen(columns, tuple(sorted((tuple(row.values()) for row in rows), key=str)), tuple(named))


@dataclass
class Watcher:
    """Somebody who reads a table again and again, from `with` to its end.

    Attributes:
        states: everything that was seen, each once.
        looks: how often.
    """

    lake: Lake
    table: str
    every: float = 0.3
    states: set[Seen] = field(default_factory=set)
    looks: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _broken: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._look, name="watcher", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._over.set()
        self._thread.join()
        if self._broken and problem[0] is None:
            raise self._broken[0]

    def _look(self) -> None:
        try:
            while not self._over.is_set():
                self.states.add(self.lake.read(self.table))
                self.looks += 1
                self._over.wait(self.every)
        except BaseException as exc:
            self._broken.append(exc)
