"""The Presto engine: a SQL file on PrestoDB 0.287, published as a table in the Hive layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from framework import sqlfile
from framework.engines.presto.client import PrestoClient
from framework.engines.trino import statement
from framework.engines.trino.engine import TrinoEngine
from framework.errors import SchemaMismatch
from framework.jobs import LAKE_CATALOG, Job, Params, Sql, Table
from framework.publish.trino import TrinoArea
from framework.publish.trino_hive import TrinoHiveArea

if TYPE_CHECKING:
    from framework.engines.trino.client import TrinoClient
    from framework.platform import Platform


class PrestoEngine(TrinoEngine):
    """Executes one SQL job on a Presto server; it differs from Trino in its protocol, its SQL and what it can publish."""

    @classmethod
    def _client(cls, platform: Platform, job: Job, connections: set[str]) -> TrinoClient:
        url, credentials = platform.presto(connections)
        return PrestoClient(url, platform.settings.presto.user, credentials)

    def area(self, platform: Platform, job: Job, params: Params, run_id: str) -> TrinoArea:
        assert isinstance(job.output, Table)
        existing = platform.catalog.find(job.output.name)
        if existing and existing.is_iceberg:
            raise SchemaMismatch(
                f"table {job.output.name} is iceberg; a Presto job publishes tables in the Hive layout",
                where=job.where,
                fix="publish to another table, or use `engine: trino`",
            )
        return TrinoHiveArea(self.client, platform.catalog, platform.aws, job.output, run_id, existing)

    def _body(self, sql: Sql, params: Params, inputs: Mapping[str, Any], where: str) -> statement.Statement:
        body = statement.of(sql.text, params, sql.dialect, where=where, target="presto")
        iceberg = {name for name, read in inputs.items() if (info := getattr(read, "info", None)) and info.is_iceberg}
        return in_catalog(body, iceberg, where) if iceberg else body


def in_catalog(body: statement.Statement, iceberg: set[str], where: str) -> statement.Statement:
    """The statement with the catalog of the Iceberg tables that it names without one: Presto's `hive` does not hand them on."""
    found = sqlfile.sources(sqlfile.parse(body.text, "presto", where), "presto", where)
    places = {table.args["db"].meta["start"] for table, name in found if name in iceberg and not table.catalog}
    return body.inserted(f"{LAKE_CATALOG}.", places)
