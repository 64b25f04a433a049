"""The Trino engine: one SQL statement over the lake and every connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Self

from framework import progress as events
from framework import sqlfile
from framework.engines import Counted
from framework.engines.trino import failures, session, statement
from framework.engines.trino.client import Progress, TrinoClient
from framework.errors import ConfigError, EmrjobsError
from framework.jobs import Jdbc, Job, Params, Sql, Table
from framework.publish import Staged, way_of
from framework.publish.trino import Column, Query, TrinoArea
from framework.publish.trino_database import TrinoDatabaseArea
from framework.publish.trino_hive import TrinoHiveArea
from framework.publish.trino_iceberg import TrinoIcebergArea
from framework.publish.trino_merge import TrinoMergeArea
from framework.quality.apart import Auditor

if TYPE_CHECKING:
    from framework.platform import Platform
    from framework.quality.gate import CheckReport
    from framework.quality.suite import Suite


class TrinoEngine:
    """Executes one job on a Trino server: its statement, or the one that its function returns.

    Args:
        client: for this run alone.
        platform: what a Python job fetches large results with.
        auditor: of a job with checks.
    """

    def __init__(self, client: TrinoClient, platform: Platform | None = None, auditor: Auditor | None = None) -> None:
        self.client = client
        self._auditor = auditor
        self._platform = platform
        # Trino reads tables whole.
        self.quarantined: dict[str, int] = {}
        self.watermarks: dict[str, str] = {}

    @staticmethod
    def preload() -> None:
        import trino.dbapi  # noqa: F401

    @classmethod
    @contextmanager
    def open(cls, platform: Platform, job: Job) -> Iterator[Self]:
        with Auditor() if job.checks else nullcontext() as auditor:
            named = job.connections
            if isinstance(job.body, Sql):
                named |= sqlfile.connections(job.body.text, job.body.dialect, platform.settings.connections)
            yield cls(cls._client(platform, job, named), platform, auditor)

    @classmethod
    def _client(cls, platform: Platform, job: Job, connections: set[str]) -> TrinoClient:
        """A client of the server, started where that is needed, with these connections as catalogs."""
        platform.find_hdfs([dataset for dataset in (*job.inputs.values(), job.output) if isinstance(dataset, Table)])
        return TrinoClient(platform.trino_url(connections), platform.settings.trino.user)

    def ready(self) -> None:
        """A client belongs to no thread."""

    def area(self, platform: Platform, job: Job, params: Params, run_id: str) -> TrinoArea:
        if isinstance(job.output, Jdbc):
            table = platform.database_table(job, job.output, params, run_id)
            if table.database.kind != "postgresql":
                raise ConfigError(
                    f"connection {job.output.connection} is {table.database.kind}; Trino jobs publish to PostgreSQL only",
                    where=job.where,
                    fix="run the job with engine: spark",
                )
            return TrinoDatabaseArea(self.client, table, job.output)
        output = platform.placed(job.output, job.where)
        existing = platform.catalog.find(output.name)
        way = way_of(output, existing, where=job.where)
        if way == "hive":
            return TrinoHiveArea(self.client, platform.catalog, platform.aws, output, run_id, existing, platform.hdfs_in_use)
        kind = TrinoMergeArea if way == "merge" else TrinoIcebergArea
        area = kind(self.client, platform.catalog, platform.aws, output, run_id, existing, metastore=platform.metastore)
        if way == "iceberg":
            area.begin()
        return area

    def stage(self, job: Job, inputs: Mapping[str, Any], params: Params, area: TrinoArea) -> tuple[Staged, Counted]:
        """Run the job's statement into `area`, which no reader looks at.

        Raises:
            JobFailed: the statement failed; with its line and column.
            DatasetNotFound, AccessRefused, ServiceUnavailable: something that it reads is not there, or not to be read.
            SchemaMismatch: the output does not fit its table.
            EngineUnavailable: Trino stopped; safe to retry.
        """
        from trino.exceptions import TrinoQueryError

        sql, file = self._sql(job, params), job.file if isinstance(job.body, Sql) else f"{job.where}, its statement"
        body = self._body(sql, params, inputs, job.file)
        lines_before: int | None = 1
        try:
            # Analysed alone first: an error in it has its place in the user's file then, and nothing was begun.
            columns = self._describe(body.text)
            lines_before = None
            return area.write(Query(body.text, columns, sql.session)), dict
        except TrinoQueryError as exc:
            known = failures.column_names(inputs, self.client)
            # Later on the query is a part of another statement, and what fails is a value, which has no place.
            raise failures.explain(exc, body, file=file, columns=known, client=self.client, lines_before=lines_before) from exc
        except EmrjobsError as exc:
            exc.where = exc.where or job.where
            raise

    def _sql(self, job: Job, params: Params) -> Sql:
        if isinstance(job.body, Sql):
            return job.body
        assert self._platform is not None
        return Sql(session.text_of(job, params, session.TrinoSession(self.client, self._platform, job.where)), "trino")

    def _body(self, sql: Sql, params: Params, inputs: Mapping[str, Any], where: str) -> statement.Statement:
        """The statement as the server gets it."""
        return statement.of(sql.text, params, sql.dialect, where=where)

    def _describe(self, sql: str) -> list[Column]:
        tell, self.client.on_progress = self.client.on_progress, None
        try:
            return self.client.describe(sql)
        finally:
            self.client.on_progress = tell

    @contextmanager
    def watched(self, text: str, on_event: events.OnRunEvent) -> Iterator[None]:
        def tell(seen: Progress) -> None:
            read = f"{seen.rows:,} rows, {seen.size_bytes / 1e6:,.1f} MB read"
            on_event(events.Working(f"{text}: {seen.state.lower()}, {read}", seen.done, seen.total))

        self.client.on_progress = tell
        try:
            yield
        finally:
            self.client.on_progress = None

    def audit(self, area: TrinoArea, suite: Suite, params: Params) -> CheckReport:
        assert self._auditor is not None
        catalog, schema, table = (part.strip('"') for part in area.staged_table.split("."))
        return self._auditor.audit_table(f"{self.client.sqlalchemy_url}/{catalog}", schema, table, suite, params)

    def explain(self, exc: Exception, where: str) -> EmrjobsError | None:
        return None  # its own methods have explained what they know

    def cancel(self) -> None:
        self.client.cancel()
