"""Glue's operations by name, over one SQLite file."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.local.aws.database import Database
from framework.local.aws.glue import functions, partitions, statistics, tables, tags
from framework.local.aws.glue.catalog import SCHEMA, VERSION, Catalog, GlueOperation
from framework.local.aws.json_service import JsonService, Operation, read_body
from framework.local.aws.router import Call, Handler

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class GlueService:
    """Handler of the signing name `glue`.

    Args:
        path: SQLite file of the catalog.
        otherwise: answers the operations that do not belong to the catalog.
    """

    def __init__(self, path: Path, otherwise: Handler | None = None) -> None:
        self._otherwise = otherwise
        self._database = Database(path, SCHEMA, VERSION)
        operations = {**tables.OPERATIONS, **partitions.OPERATIONS, **statistics.OPERATIONS, **functions.OPERATIONS, **tags.OPERATIONS}
        self._service = JsonService({name: self._bind(operation) for name, operation in operations.items()}, otherwise)

    def _bind(self, operation: GlueOperation) -> Operation:
        def bound(request: dict[str, Any], call: Call) -> dict[str, Any]:
            return operation(Catalog(self._database, call.region), request)

        return bound

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if call.operation in tags.OPERATIONS and self._otherwise is not None:
            body = read_body(environ)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
            if not tags.is_catalog_arn(body):
                return self._otherwise(call, environ, start_response)
        return self._service(call, environ, start_response)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
