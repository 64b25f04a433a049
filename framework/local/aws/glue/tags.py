"""Tags of databases and tables; those of crawlers, jobs and the like are not the catalog's."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from framework.local.aws.glue.catalog import Catalog, GlueOperation, required

_CATALOG_ARN = re.compile(rb'"ResourceArn"\s*:\s*"arn:[^"]*:(?:database|table)/')


def is_catalog_arn(body: bytes) -> bool:
    """Whether a request is about the tags of a database or table."""
    return _CATALOG_ARN.search(body) is not None


def put(connection: sqlite3.Connection, resource: str, tags: Mapping[str, str]) -> None:
    """Add tags to a resource, replacing those of the same names."""
    connection.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", [(resource, name, value) for name, value in tags.items()])


def get_tags(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.read() as connection:
        rows = connection.execute("SELECT name, value FROM tags WHERE arn = ?", (required(request, "ResourceArn"),))
        return {"Tags": dict(rows.fetchall())}


def tag_resource(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    with catalog.write() as connection:
        put(connection, required(request, "ResourceArn"), required(request, "TagsToAdd", dict))
    return {}


def untag_resource(catalog: Catalog, request: dict[str, Any]) -> dict[str, Any]:
    resource, names = required(request, "ResourceArn"), required(request, "TagsToRemove", list)
    with catalog.write() as connection:
        connection.executemany("DELETE FROM tags WHERE arn = ? AND name = ?", [(resource, name) for name in names])
    return {}


OPERATIONS: dict[str, GlueOperation] = {"GetTags": get_tags, "TagResource": tag_resource, "UntagResource": untag_resource}
