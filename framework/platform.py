"""What one environment gives to a run: clients, catalog, ledger, engine. Everything is opened when it is first needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from framework import jobs
from framework.aws import Aws
from framework.catalog import Catalog, Partition, TableInfo, open_catalog, pruning
from framework.config.loader import Loaded
from framework.config.references import Resolver, local_services
from framework.engines.spark import conf, read
from framework.errors import ConfigError, TableNotFound, nearest
from framework.jobs import EngineKind, Job, Params
from framework.leases import Leases
from framework.ledger import Ledger
from framework.lineage.emit import Emitter, open_emitter
from framework.predicates import render
from framework.publish import StagingArea, database, is_staging_name, open_area
from framework.sources import jdbc, paths, presto_catalogs, trino_catalogs
from framework.sources.hdfs import Hdfs, is_hdfs
from framework.store import Store, open_store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

StartSpark: TypeAlias = Callable[[Mapping[str, str]], "AbstractContextManager[SparkSession]"]


Resolved: TypeAlias = read.ResolvedInput | trino_catalogs.FederatedRead

EMR_TRINO_PORT = 8889
"""Of Trino's coordinator on an EMR cluster's primary node (EMR Management Guide, ports of web interfaces)."""
EMR_INFO = Path("/mnt/var/lib/info/job-flow.json")
"""What every node of a cluster knows of it; a driver in cluster mode runs on any of them, seldom on the primary."""


def emr_trino(info: Path = EMR_INFO) -> str:
    """URL of Trino's coordinator, as seen from a node of an EMR cluster."""
    try:
        host = json.loads(info.read_text(encoding="utf-8"))["masterPrivateDnsName"]
    except (OSError, ValueError, KeyError):
        host = "localhost"
    return f"http://{host}:{EMR_TRINO_PORT}"


class Platform:
    """One environment, ready to run jobs.

    Args:
        loaded: its settings.
        start_spark: opens a session with the given properties and closes it.
        start_trino: starts a Trino server with the given catalogs and says where it listens; None where one is there already.
        start_presto: the same of a Presto server; None where there is none.
        local: values of a local service by its name, which this starts; None where there are no local services.
        running: names of the local services that run; asking starts none.
        engine_log: what the engine wrote to its log since the last session was opened.
    """

    def __init__(
        self,
        loaded: Loaded,
        start_spark: StartSpark,
        *,
        start_trino: Callable[[trino_catalogs.Catalogs], str] | None = None,
        start_presto: Callable[[trino_catalogs.Catalogs], str] | None = None,
        local: Callable[[str], Mapping[str, str]] | None = None,
        running: Callable[[], Iterable[str]] = tuple,
        engine_log: Callable[[], str] = str,
    ) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.root: Path = loaded.root
        self.resolver = Resolver(secrets_client=self._client, local=local, root=loaded.root, origin=loaded.origin)
        self.aws = Aws(loaded.settings.aws, self.resolver)
        self._start_spark = start_spark
        self._start_trino = start_trino
        self._start_presto = start_presto
        self._running = running
        self._needs_hdfs = False
        self.engine_log = engine_log

    def _client(self, service: str) -> Any:
        return self.aws.client(service)

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.settings.catalog, self.aws, self.metastore)

    @property
    def metastore(self) -> str | None:
        """Address of the Hive metastore where the catalog is one; on this machine asking for it starts it."""
        if self.settings.catalog.kind != "hive":
            return None
        return self.resolver.text(self.settings.catalog.uri, key="catalog.uri")

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self._state)

    @cached_property
    def leases(self) -> Leases:
        return Leases(self._state)

    @cached_property
    def _state(self) -> Store:
        return open_store(self.settings.state, self.aws)

    @cached_property
    def lineage(self) -> Emitter:
        """Who is told of runs.

        Raises:
            ConfigError: the receiver's address or key is wrong or leads nowhere.
        """
        return open_emitter(self.loaded, self.resolver, lambda: str(self.aws.client("sts").get_caller_identity()["Account"]))

    def spark(self) -> AbstractContextManager[SparkSession]:
        """A Spark session of this environment; leaving the context stops it."""
        return self._start_spark(conf.derive(self.settings, self.aws, project=str(self.root), metastore=self.metastore))

    def trino_url(self, connections: Collection[str] | None = None) -> str:
        """Where Trino's coordinator listens; a server of this machine is started when it does not run yet.

        Args:
            connections: those that are going to be read there, beside the lake; what no statement names is not started for it.
                Without it all that there are.

        Raises:
            ConfigError: a connection cannot be a catalog.
            SecretUnresolved: a connection's password cannot be found.
            ServiceUnavailable: the server did not start.
        """
        if self.settings.trino.url or self._start_trino is None:
            return self.resolver.text(self.settings.trino.url or emr_trino(), key="trino.url")
        # A server that runs was needed, and will be again: Trino's catalog is not made anew for statements that need it and do not.
        hdfs = self._hdfs if self._needs_hdfs or (self.settings.hdfs.uri and self._is_up(self.settings.hdfs.uri)) else None
        catalogs = trino_catalogs.render(self.settings, lambda text, key: self.resolver.text(text, key=key), connections, hdfs)
        return self._start_trino(catalogs)

    def presto(self, connections: Collection[str]) -> tuple[str, Mapping[str, str]]:
        """Where a Presto server listens, which is started when it does not run yet, and the credentials that its queries bring along.

        Args:
            connections: as of `trino_url`.

        Raises:
            ConfigError: this environment has no Presto server, or one of the connections or the lake's catalog is none that it has.
            SecretUnresolved: a connection's password cannot be found.
            ServiceUnavailable: the server did not start.
        """
        if self._start_presto is None:
            raise ConfigError(
                f"environment {self.loaded.env} has no Presto server: jobs with engine presto run on the local services",
                fix="run it with --env embedded, or declare `engine: trino` with `dialect: presto`",
            )
        catalogs, credentials = presto_catalogs.render(self.settings, lambda text, key: self.resolver.text(text, key=key), connections)
        return self._start_presto(catalogs), credentials

    def need_hdfs(self) -> Hdfs | None:
        """What `hdfs:///path` is a path of; on this machine asking for it starts it. None: of the cluster's own."""
        self._needs_hdfs = True
        return self._hdfs

    @property
    def hdfs_in_use(self) -> Hdfs | None:
        """The same, where something has needed it."""
        return self._hdfs if self._needs_hdfs else None

    @cached_property
    def _hdfs(self) -> Hdfs | None:
        settings, text = self.settings.hdfs, self.resolver.text
        if settings.uri is None:
            return None
        web = text(settings.web, key="hdfs.web") if settings.web else None
        return Hdfs(text(settings.uri, key="hdfs.uri"), web, text(settings.core_site, key="hdfs.core_site") if settings.core_site else None)

    def find_hdfs(self, tables: Iterable[jobs.Table]) -> None:
        """Have what follows know HDFS where one of these tables lies there, or is going to."""
        if self.settings.hdfs.uri is None or self._needs_hdfs:
            return
        for table in tables:
            info = None if table.location else self.catalog.find(table.name)
            if table.location or (info and is_hdfs(info.location)):
                self.need_hdfs()

    def _is_up(self, reference: str) -> bool:
        """Whether a setting leads to what is there, or can be resolved without starting a service."""
        return local_services(reference) <= {*self.settings.local.services, *self._running()}

    def placed(self, output: jobs.Table, where: str) -> jobs.Table:
        """A job's output with its location filled in."""
        return replace(output, location=paths.output_location(output, self.settings.paths, where=where))

    def area(self, spark: SparkSession, job: Job, params: Params, run_id: str) -> StagingArea:
        """Where a run's rows are staged."""
        if isinstance(job.output, jobs.Table):
            return open_area(spark, self.catalog, self.placed(job.output, job.where), run_id, where=job.where)
        from framework.publish.jdbc import JdbcArea

        table = self.database_table(job, job.output, params, run_id)
        # A task that reads from the same database holds two connections, and one more holds the snapshot that it reads.
        beside = any(isinstance(one, jobs.Jdbc) and one.connection == job.output.connection for one in job.inputs.values())
        most = table.database.max_connections
        return JdbcArea(spark, table, max(1, (most - 1) // 2 if beside else most))

    def database_table(self, job: Job, output: jobs.Jdbc, params: Params, run_id: str) -> database.DatabaseTable:
        """The way of a run's rows into a table of a database, whatever engine computes them.

        Raises:
            ConfigError: there is no such connection, or none that can be published to.
            DatasetNotFound: the table's name is none.
            SecretUnresolved: the connection's password cannot be found.
        """
        jdbc.check_table(output.table, where=job.where)
        return database.DatabaseTable(self.open_connection(output.connection, job.where), output, database.keys_of(job, params, run_id))

    def open_connection(self, name: str, where: str | None = None) -> jdbc.Database:
        """A connection of the configuration, with its password.

        Raises:
            ConfigError: there is no such connection, or none with a driver.
            SecretUnresolved: its password cannot be found.
        """
        entry = jdbc.find(self.settings.connections, name, where=where)
        looked_in = self.loaded.looked_in(f"connections.{name}.password")
        return jdbc.open_entry(name, entry, self.resolver, where=where, looked_in=looked_in)

    def resolve(self, job: Job, params: Params, run_id: str = "adhoc") -> dict[str, Resolved]:
        """Each input looked up: where it is, that it is there, which partitions the run needs, how far the last run came.

        Raises:
            DatasetNotFound: a table, bucket or path is not there.
            ConfigError: an unknown connection, or a secret that cannot be resolved.
        """
        values: dict[str, object] = {**self.settings.paths, **params}
        resolved: dict[str, Resolved] = {}
        if isinstance(job.output, jobs.Jdbc):  # what is wrong with it is said before anything is computed
            self.database_table(job, job.output, params, run_id)
        else:
            self.find_hdfs([self.placed(job.output, job.where)])
        if job.engine.federated:
            return self._resolve_federated(job)
        incremental = any(isinstance(dataset, jobs.Jdbc) and dataset.watermark for dataset in job.inputs.values())
        reached = self.ledger.watermarks(job.name, {name: str(value) for name, value in params.items()}) if incremental else {}
        for name, dataset in job.inputs.items():
            if isinstance(dataset, jobs.Table):
                resolved[name] = self._table(name, dataset, params, job.where)
            elif isinstance(dataset, jobs.Path):
                resolved[name] = paths.resolve(
                    name,
                    dataset,
                    values,
                    self.aws,
                    where=job.where,
                    quarantine=f"{self.settings.state}/quarantine/{run_id}",
                    hdfs=self.need_hdfs,
                )
            else:
                resolved[name] = jdbc.resolve(
                    name,
                    dataset,
                    params,
                    self.settings.connections,
                    self.resolver,
                    where=job.where,
                    after=reached.get(name),
                    looked_in=self.loaded.looked_in(f"connections.{dataset.connection}.password"),
                )
        return resolved

    def _resolve_federated(self, job: Job) -> dict[str, Resolved]:
        """The server reads by itself; what it would not find is said before it is started."""
        if job.engine is EngineKind.PRESTO:
            presto_catalogs.check(job, self.settings)
        resolved: dict[str, Resolved] = {}
        for name, dataset in job.inputs.items():
            if isinstance(dataset, jobs.Jdbc):
                connection = jdbc.find(self.settings.connections, dataset.connection, where=job.where)
                resolved[name] = trino_catalogs.FederatedRead(dataset.connection, dataset.table, connection.kind)
            else:
                assert isinstance(dataset, jobs.Table)
                resolved[name] = read.TableRead(self.table(dataset.name, where=job.where))
        return resolved

    def table(self, name: str, *, where: str | None = None) -> TableInfo:
        """A catalog table by name.

        Raises:
            TableNotFound: it is not there.
        """
        info = self.catalog.find(name)
        if info is None:
            known = [table.name for table in self.catalog.tables() if not is_staging_name(table.name)]
            raise TableNotFound(name, where=where, fix=nearest(name.lower(), known, what="table"))
        if is_hdfs(info.location):
            self.need_hdfs()
        return info

    def read_of(self, name: str) -> read.TableRead:
        """A whole catalog table, for ad-hoc queries."""
        info = self.table(name)
        return read.TableRead(info, None, self._partitions(info, None))

    def _table(self, name: str, dataset: jobs.Table, params: Params, where: str) -> read.TableRead:
        info = self.table(dataset.name, where=where)
        expression = None
        if dataset.where:
            predicate = render(dataset.where, params, "spark", where=where)
            expression = pruning.expression(predicate, info.partition_keys) if info.partition_keys else None
        return read.TableRead(info, dataset.where, self._partitions(info, expression))

    def _partitions(self, info: TableInfo, expression: str | None) -> tuple[Partition, ...]:
        return tuple(self.catalog.partitions(info, expression)) if info.partition_keys else ()
