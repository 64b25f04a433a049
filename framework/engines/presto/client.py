"""One run's way to a PrestoDB server: Trino's client in Presto's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.engines.trino.client import TrinoClient
from framework.jobs import HIVE_CATALOG
from framework.publish.trino import Column
from framework.sources import presto_protocol


class PrestoClient(TrinoClient):
    """Statements on one server, one at a time; a table without a catalog is one of the Hive layout.

    Args:
        credentials: extra credentials: what the server needs for its connections, by the names that their catalogs say.
    """

    name = "Presto"

    def __init__(self, url: str, user: str, credentials: Mapping[str, str]) -> None:
        self._credentials = list(credentials.items())
        super().__init__(url, user)

    def columns(self, table: str) -> list[Column]:
        """Columns of a table (quoted, with its catalog); types as a query has them, which SHOW COLUMNS writes otherwise."""
        return self.describe(f"SELECT * FROM {table}")

    def _options(self) -> dict[str, Any]:
        return {"catalog": HIVE_CATALOG, "http_session": presto_protocol.session(), "extra_credential": self._credentials}
