"""Hive metastore, through its Thrift API (Apache Hive 2.3 and 3.1; the database behind it is the metastore's own affair).

A change of a table that must not overwrite another's is made under the metastore's exclusive lock of that table, as Iceberg's
own Hive catalog does; partitions are added and altered in batches, each of which is one transaction of the metastore.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any
from urllib.parse import urlsplit

import tenacity
from hive_metastore import ThriftHiveMetastore, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

from framework.catalog import Column, Partition, TableInfo, serde
from framework.config import model
from framework.errors import ConfigError, EmrjobsError, PublishConflict, ServiceUnavailable

_log = logging.getLogger(__name__)
# It tells of each connection that fails; so does our error. Without a handler that would go to the terminal.
logging.getLogger("thrift").addHandler(logging.NullHandler())

_PORT = 9083
_TIMEOUT = 600_000  # milliseconds; what Hive's own clients wait (metastore.client.socket.timeout)
# One call is one transaction of the metastore's database; it looks at the folder of each partition before it answers.
_BATCH = 100
_TABLES_BATCH = 100
_LOCK_SECONDS = 60
_LITERAL = r"(?:'[^']*'|[-\d.]+)"


class HiveCatalog:
    """Tables of a Hive metastore.

    Each call has a connection of its own: the metastore's protocol knows no request ids, so one connection cannot be shared
    between threads.
    """

    def __init__(self, settings: model.Catalog, uri: str) -> None:
        self._warehouse = settings.warehouse
        self._host, self._port = address(uri)

    def find(self, name: str) -> TableInfo | None:
        database, dot, table = name.lower().partition(".")
        if not (database and dot and table):
            return None
        with self._client(f"look up table {name}") as client:
            try:
                return _table_info(client.get_table(database, table))
            except ttypes.NoSuchObjectException:
                return None

    def tables(self) -> list[TableInfo]:
        found = []
        with self._client("list the tables") as client:
            for database in client.get_all_databases():
                names = client.get_all_tables(database)
                for start in range(0, len(names), _TABLES_BATCH):
                    for raw in client.get_table_objects_by_name(database, names[start : start + _TABLES_BATCH]):
                        try:
                            found.append(_table_info(raw))
                        except EmrjobsError as exc:  # a view, or a SerDe of another tool: not ours to list
                            _log.debug("not listed: %s", exc)
        return sorted(found, key=lambda table: table.name)

    def partitions(self, table: TableInfo, expression: str | None = None) -> list[Partition]:
        database, name = table.name.split(".")
        with self._client(f"list the partitions of {table.name}") as client:
            found = None
            if expression:
                try:
                    found = client.get_partitions_by_filter(database, name, _filter(expression), -1)
                except ttypes.MetaException as exc:
                    # 3.1 evaluates strings and integers only, no dates. The reader filters again in any case.
                    _log.info("the metastore cannot evaluate %s, so all partitions are listed: %s", expression, exc.message)
            if found is None:
                found = client.get_partitions(database, name, -1)
        return [Partition(tuple(raw.values), str(raw.sd.location).rstrip("/")) for raw in found]

    def ensure_database(self, database: str) -> str:
        with self._client(f"create database {database}") as client:
            try:
                return _location(client.get_database(database))
            except ttypes.NoSuchObjectException:
                location = f"{self._warehouse}/{database}.db"
                with contextlib.suppress(ttypes.AlreadyExistsException):
                    client.create_database(ttypes.Database(name=database, locationUri=location, parameters={}))
                return _location(client.get_database(database))

    def create(self, table: TableInfo, comment: str | None = None) -> TableInfo:
        described = {**serde.descriptor(table.format), "Location": table.location}
        parameters = {"EXTERNAL": "TRUE", **({"comment": comment} if comment else {}), **table.parameters}
        return self.create_external(table.name, table.columns, described, parameters, partition_keys=table.partition_keys)

    def create_external(
        self,
        table: str,
        columns: Sequence[Column],
        storage: Mapping[str, Any],
        parameters: Mapping[str, str],
        *,
        partition_keys: Sequence[Column] = (),
    ) -> TableInfo:
        """Create an external table.

        Args:
            storage: Location, InputFormat, OutputFormat and SerdeInfo, as in Glue's StorageDescriptor.

        Raises:
            PublishConflict: somebody else created it meanwhile.
        """
        database, name = table.split(".")
        definition = ttypes.Table(
            dbName=database,
            tableName=name,
            owner=_user(),
            tableType="EXTERNAL_TABLE",
            sd=ttypes.StorageDescriptor(
                cols=_fields(columns),
                location=storage["Location"],
                inputFormat=storage["InputFormat"],
                outputFormat=storage["OutputFormat"],
                compressed=False,
                numBuckets=-1,
                serdeInfo=ttypes.SerDeInfo(
                    serializationLib=storage["SerdeInfo"]["SerializationLibrary"], parameters=dict(storage["SerdeInfo"]["Parameters"])
                ),
                bucketCols=[],
                sortCols=[],
                parameters={},
            ),
            partitionKeys=_fields(partition_keys),
            parameters=dict(parameters),
        )
        with self._client(f"create table {table}") as client:
            try:
                client.create_table(definition)
            except ttypes.AlreadyExistsException as exc:
                raise PublishConflict(f"table {table} was created by somebody else meanwhile", fix="run the job again") from exc
            return _table_info(client.get_table(database, name))

    def put_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        """100 partitions a call; those that exist are switched to their new location."""
        database, name = table.name.split(".")
        with self._client(f"register partitions of {table.name}") as client:
            storage = client.get_table(database, name).sd
            for start in range(0, len(partitions), _BATCH):
                wanted = {
                    partition.values: _partition(database, name, storage, partition) for partition in partitions[start : start + _BATCH]
                }
                request = ttypes.AddPartitionsRequest(
                    dbName=database, tblName=name, parts=list(wanted.values()), ifNotExists=True, needResult=True
                )
                added = {tuple(raw.values) for raw in client.add_partitions_req(request).partitions or ()}
                present = [partition for values, partition in wanted.items() if values not in added]
                if present:
                    # Without this it would list the files of every new location, to count them.
                    context = ttypes.EnvironmentContext(properties={"DO_NOT_UPDATE_STATS": "true"})
                    client.alter_partitions_with_environment_context(database, name, present, context)

    def delete_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        database, name = table.name.split(".")
        with self._client(f"remove partitions of {table.name}") as client:
            for partition in partitions:
                with contextlib.suppress(ttypes.NoSuchObjectException):
                    client.drop_partition(database, name, list(partition.values), False)

    def switch(self, table: TableInfo, location: str) -> None:
        database, name = table.name.split(".")
        with self._client(f"switch table {table.name}") as client, _locked(client, database, name):
            current = client.get_table(database, name)
            if _version(current) != table.version:
                raise PublishConflict(f"table {table.name} changed while this run was writing", fix="run the job again")
            changed = deepcopy(current)
            changed.sd.location = location
            changed.parameters = serde.without_statistics(changed.parameters)
            context = ttypes.EnvironmentContext(properties={"DO_NOT_UPDATE_STATS": "true"})
            client.alter_table_with_environment_context(database, name, changed, context)

    def drop(self, name: str) -> None:
        database, table = name.split(".")
        with self._client(f"drop table {name}") as client, contextlib.suppress(ttypes.NoSuchObjectException):
            client.drop_table(database, table, False)

    @contextlib.contextmanager
    def _client(self, doing: str) -> Iterator[Any]:
        """One connection; what Thrift raises inside becomes one of ours."""
        connection = TSocket(self._host, self._port)
        connection.setTimeout(_TIMEOUT)
        transport = TBufferedTransport(connection)
        where = f"the Hive metastore at {self._host}:{self._port}"
        try:
            transport.open()
            yield ThriftHiveMetastore.Client(TBinaryProtocol(transport))
        except (TTransportException, OSError) as exc:
            raise ServiceUnavailable(f"could not {doing}: {where} does not answer", details=[str(exc)], fix="check catalog.uri") from exc
        except TException as exc:
            raise ServiceUnavailable(f"could not {doing}: {where} says: {getattr(exc, 'message', None) or exc}") from exc
        finally:
            transport.close()


@contextlib.contextmanager
def _locked(client: Any, database: str, table: str) -> Iterator[None]:
    """Hold the metastore's exclusive lock of a table, which Iceberg's commits take too.

    Raises:
        PublishConflict: somebody else holds it for too long.
    """
    component = ttypes.LockComponent(type=ttypes.LockType.EXCLUSIVE, level=ttypes.LockLevel.TABLE, dbname=database, tablename=table)
    answer = client.lock(ttypes.LockRequest(component=[component], user=_user(), hostname=socket.gethostname()))
    request = ttypes.CheckLockRequest(lockid=answer.lockid)
    try:
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda state: state == ttypes.LockState.WAITING),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
            stop=tenacity.stop_after_delay(_LOCK_SECONDS),
        )
        if answer.state == ttypes.LockState.WAITING:
            waiting(lambda: client.check_lock(request).state)
        yield
    except tenacity.RetryError as exc:
        raise PublishConflict(
            f"table {database}.{table} is locked by somebody else for more than {_LOCK_SECONDS} s", fix="run the job again"
        ) from exc
    finally:
        with contextlib.suppress(TException, OSError):
            client.unlock(ttypes.UnlockRequest(lockid=answer.lockid))


def _filter(expression: str) -> str:
    """A pruning expression in the metastore's grammar (Hive 3.1, Filter.g), which has no IN."""

    def alternatives(match: re.Match[str]) -> str:
        return f"({' OR '.join(f'{match[1]} = {value}' for value in re.findall(_LITERAL, match[2]))})"

    return re.sub(rf"\b(\w+) IN \(((?:{_LITERAL}(?:, )?)+)\)", alternatives, expression)


def address(uri: str) -> tuple[str, int]:
    """Host and port of `thrift://host[:port]`.

    Raises:
        ConfigError: it is no such address.
    """
    parts = urlsplit(uri)
    try:
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        host, port = None, 0
    if parts.scheme != "thrift" or not host:
        raise ConfigError(f"catalog.uri: {uri!r} is not the address of a Hive metastore", fix="write thrift://host:9083")
    return host, port


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without an account
        return str(os.getuid())


def _table_info(raw: Any) -> TableInfo:
    storage = raw.sd
    described = {
        "DatabaseName": raw.dbName,
        "Name": raw.tableName,
        "Parameters": dict(raw.parameters or {}),
        "PartitionKeys": _columns(raw.partitionKeys),
        "VersionId": _version(raw),
        "StorageDescriptor": {
            "Columns": _columns(storage.cols),
            "Location": storage.location or "",
            "SerdeInfo": {
                "SerializationLibrary": storage.serdeInfo.serializationLib or "",
                "Parameters": dict(storage.serdeInfo.parameters or {}),
            },
        },
    }
    return serde.table_info(described)


def _version(raw: Any) -> str:
    """The metastore counts no versions: a table is as it was when it points at the same place and was not altered since."""
    return f"{raw.sd.location}@{(raw.parameters or {}).get('transient_lastDdlTime', '')}"


def _location(raw: Any) -> str:
    return str(raw.locationUri).rstrip("/")


def _columns(fields: Any) -> list[dict[str, str]]:
    return [{"Name": one.name, "Type": one.type, **({"Comment": one.comment} if one.comment else {})} for one in fields or ()]


def _fields(columns: Sequence[Column]) -> list[Any]:
    return [ttypes.FieldSchema(name=column.name, type=column.type, comment=column.comment) for column in columns]


def _partition(database: str, table: str, storage: Any, partition: Partition) -> Any:
    described = deepcopy(storage)
    described.location = partition.location
    return ttypes.Partition(values=list(partition.values), dbName=database, tableName=table, sd=described, parameters={})
