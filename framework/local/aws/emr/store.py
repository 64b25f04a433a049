"""Clusters, steps, instances and the account's settings, in one SQLite file.

Each row holds the API's own structure as JSON (`document`: what Describe answers), what only the endpoint needs (`work`), and the
columns that are searched. Lists page by row number, which is the order of creation.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import sqlite3
import string
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from framework.local.aws.answers import ApiError

VERSION = 1
SCHEMA = """
CREATE TABLE clusters (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, region TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL,
    document TEXT NOT NULL, work TEXT NOT NULL);
CREATE INDEX clusters_in_order ON clusters (region, seq, state, created);
CREATE INDEX clusters_by_state ON clusters (state);
CREATE TABLE steps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, cluster TEXT NOT NULL, state TEXT NOT NULL, document TEXT NOT NULL,
    work TEXT NOT NULL);
CREATE INDEX steps_in_order ON steps (cluster, seq, state);
CREATE INDEX active_steps ON steps (cluster, seq) WHERE state IN ('PENDING', 'RUNNING', 'CANCEL_PENDING');
CREATE TABLE collections (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, cluster TEXT NOT NULL, role TEXT NOT NULL, document TEXT NOT NULL,
    work TEXT NOT NULL);
CREATE INDEX collections_in_order ON collections (cluster, seq);
CREATE TABLE instances (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, cluster TEXT NOT NULL, collection TEXT NOT NULL, role TEXT NOT NULL,
    state TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX instances_in_order ON instances (cluster, seq);
CREATE INDEX instances_of_collection ON instances (collection, state);
CREATE TABLE security_configurations (
    region TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL, content TEXT NOT NULL, PRIMARY KEY (region, name)) WITHOUT ROWID;
CREATE TABLE settings (region TEXT NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (region, name)) WITHOUT ROWID
"""

PAGE = 50

Document = dict[str, Any]


@dataclass
class Cluster:
    """One row of `clusters`. `document` is the API's `Cluster`; `work` is what the controller has to remember."""

    id: str
    region: str
    created: float
    document: Document
    work: Document

    @property
    def state(self) -> str:
        return str(self.document["Status"]["State"])

    def save(self, connection: sqlite3.Connection) -> None:
        """Write it back."""
        values = (self.state, json.dumps(self.document), json.dumps(self.work), self.id)
        connection.execute("UPDATE clusters SET state = ?, document = ?, work = ? WHERE id = ?", values)

    def insert(self, connection: sqlite3.Connection) -> None:
        """Write it for the first time."""
        values = (self.id, self.region, self.state, self.created, json.dumps(self.document), json.dumps(self.work))
        connection.execute("INSERT INTO clusters (id, region, state, created, document, work) VALUES (?, ?, ?, ?, ?, ?)", values)


@dataclass
class Step:
    """One row of `steps`. `document` is the API's `Step`."""

    id: str
    cluster: str
    document: Document
    work: Document

    @property
    def state(self) -> str:
        return str(self.document["Status"]["State"])

    def save(self, connection: sqlite3.Connection) -> None:
        """Write it back."""
        values = (self.state, json.dumps(self.document), json.dumps(self.work), self.id)
        connection.execute("UPDATE steps SET state = ?, document = ?, work = ? WHERE id = ?", values)


@dataclass
class Collection:
    """An instance group or fleet: one row of `collections`. `document` is the API's `InstanceGroup` or `InstanceFleet`."""

    id: str
    cluster: str
    role: str
    document: Document
    work: Document

    @property
    def is_fleet(self) -> bool:
        return "InstanceFleetType" in self.document

    def save(self, connection: sqlite3.Connection) -> None:
        """Write it back."""
        values = (json.dumps(self.document), json.dumps(self.work), self.id)
        connection.execute("UPDATE collections SET document = ?, work = ? WHERE id = ?", values)

    def insert(self, connection: sqlite3.Connection) -> None:
        """Write it for the first time."""
        values = (self.id, self.cluster, self.role, json.dumps(self.document), json.dumps(self.work))
        connection.execute("INSERT INTO collections (id, cluster, role, document, work) VALUES (?, ?, ?, ?, ?)", values)


def cluster(connection: sqlite3.Connection, cluster_id: str) -> Cluster | None:
    """The cluster with this id, of any region."""
    row = connection.execute("SELECT id, region, created, document, work FROM clusters WHERE id = ?", (cluster_id,)).fetchone()
    return Cluster(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4])) if row else None


def clusters_in(connection: sqlite3.Connection, states: Sequence[str]) -> list[str]:
    """Ids of all clusters in one of these states."""
    rows = connection.execute(f"SELECT id FROM clusters WHERE state IN ({_marks(states)}) ORDER BY seq", [*states])
    return [row[0] for row in rows]


def insert_steps(connection: sqlite3.Connection, steps: Iterable[Step]) -> None:
    """Write new steps, in their order."""
    rows = [(step.id, step.cluster, step.state, json.dumps(step.document), json.dumps(step.work)) for step in steps]
    connection.executemany("INSERT INTO steps (id, cluster, state, document, work) VALUES (?, ?, ?, ?, ?)", rows)


def active_steps(connection: sqlite3.Connection, cluster_id: str) -> list[Step]:
    """Steps that wait or run, oldest first."""
    rows = connection.execute(
        "SELECT id, document, work FROM steps WHERE cluster = ? AND state IN ('PENDING', 'RUNNING', 'CANCEL_PENDING') ORDER BY seq",
        (cluster_id,),
    )
    return [Step(row[0], cluster_id, json.loads(row[1]), json.loads(row[2])) for row in rows.fetchall()]


def step(connection: sqlite3.Connection, cluster_id: str, step_id: str) -> Step | None:
    """A step of a cluster."""
    row = connection.execute("SELECT document, work FROM steps WHERE id = ? AND cluster = ?", (step_id, cluster_id)).fetchone()
    return Step(step_id, cluster_id, json.loads(row[0]), json.loads(row[1])) if row else None


def collections(connection: sqlite3.Connection, cluster_id: str) -> list[Collection]:
    """Instance groups or fleets of a cluster, oldest first."""
    rows = connection.execute("SELECT id, role, document, work FROM collections WHERE cluster = ? ORDER BY seq", (cluster_id,))
    return [Collection(row[0], cluster_id, row[1], json.loads(row[2]), json.loads(row[3])) for row in rows.fetchall()]


def insert_instances(connection: sqlite3.Connection, cluster_id: str, collection: Collection, documents: Iterable[Document]) -> None:
    """Write new instances of a group or fleet."""
    rows = [(item["Id"], cluster_id, collection.id, collection.role, item["Status"]["State"], json.dumps(item)) for item in documents]
    connection.executemany("INSERT INTO instances (id, cluster, collection, role, state, document) VALUES (?, ?, ?, ?, ?, ?)", rows)


def instances(connection: sqlite3.Connection, cluster_id: str, collection_id: str | None = None) -> list[Document]:
    """Instances that are not terminated, of a cluster or of one of its groups or fleets; oldest first."""
    query = "SELECT document FROM instances WHERE cluster = ? AND state != 'TERMINATED'"
    values = [cluster_id]
    if collection_id is not None:
        query += " AND collection = ?"
        values.append(collection_id)
    return [json.loads(row[0]) for row in connection.execute(f"{query} ORDER BY seq", values).fetchall()]


def save_instances(connection: sqlite3.Connection, documents: Iterable[Document]) -> None:
    """Write instances back."""
    rows = [(item["Status"]["State"], json.dumps(item), item["Id"]) for item in documents]
    connection.executemany("UPDATE instances SET state = ?, document = ? WHERE id = ?", rows)


def page(
    connection: sqlite3.Connection,
    table: str,
    where: str,
    values: Sequence[Any],
    marker: str | None,
    *,
    newest_first: bool,
    size: int = PAGE,
) -> tuple[list[Document], str | None]:
    """(documents of one page, marker of the next one).

    Raises:
        ApiError: InvalidRequestException, for a marker that was not made here.
    """
    after, order = ("<", "DESC") if newest_first else (">", "ASC")
    query = f"SELECT seq, document FROM {table} WHERE {where}"
    parameters = [*values]
    if marker:
        query += f" AND seq {after} ?"
        parameters.append(_position(marker))
    rows = connection.execute(f"{query} ORDER BY seq {order} LIMIT ?", [*parameters, size + 1]).fetchall()
    more = token(rows[size - 1][0]) if len(rows) > size else None
    return [json.loads(row[1]) for row in rows[:size]], more


def any_of(column: str, values: Sequence[str] | None) -> tuple[str, list[str]]:
    """SQL that holds when a column has one of the values; always, when there are none."""
    return (f" AND {column} IN ({_marks(values)})", [*values]) if values else ("", [])


def token(position: int) -> str:
    """An opaque marker."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _position(marker: str) -> int:
    try:
        value = json.loads(base64.urlsafe_b64decode(marker))
    except (ValueError, binascii.Error):
        value = None
    if not isinstance(value, int):
        raise ApiError("InvalidRequestException", f"Marker '{marker}' is not valid.")
    return value


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


_ID_CHARACTERS = string.digits + string.ascii_uppercase


def new_id(prefix: str) -> str:
    """An id in EMR's form: `j-`, `s-`, `ig-` or `if-` and 13 to 20 letters and digits."""
    return prefix + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(13))


def now() -> float:
    """Seconds since the epoch, to the millisecond, as the JSON protocol carries timestamps."""
    return round(time.time(), 3)
