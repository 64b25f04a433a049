"""What moto's services know, on disk: a snapshot of each service, and the calls since.

A service is saved as one snapshot after each changing call. Calls that only add data and come often (log events, DynamoDB
items) are journaled instead: the request itself is appended, and repeated on top of the snapshot at the next start. A new
snapshot of the service empties its journal in the same transaction.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from framework.local.aws.database import Database

_log = logging.getLogger(__name__)

VERSION = 1
_SCHEMA = """
CREATE TABLE snapshots (service TEXT PRIMARY KEY, writer TEXT NOT NULL, saved REAL NOT NULL, content BLOB NOT NULL);
CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, request BLOB NOT NULL);
CREATE INDEX journal_of_service ON journal (service, id)
"""


@dataclass(frozen=True)
class Request:
    """An HTTP request that can be repeated.

    Attributes:
        headers: (name, value) as they came.
        body: text, as all journaled protocols are JSON.
    """

    method: str
    uri: str
    headers: list[tuple[str, str]]
    body: str


@dataclass(frozen=True)
class Snapshot:
    """The saved state of one service; `writer` says what wrote it (library and version)."""

    service: str
    writer: str
    content: bytes


class StateStore:
    """Snapshots and journals of services, in one SQLite file under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = Database(folder / "services.sqlite", _SCHEMA, VERSION)

    def save(self, snapshot: Snapshot) -> None:
        """Replace the snapshot of a service and empty its journal, at once."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", (snapshot.service, snapshot.writer, time.time(), snapshot.content)
            )
            connection.execute("DELETE FROM journal WHERE service = ?", (snapshot.service,))

    def append(self, service: str, request: Request) -> None:
        """Add one acknowledged request to the journal of a service."""
        with self._database.write() as connection:
            connection.execute("INSERT INTO journal (service, request) VALUES (?, ?)", (service, json.dumps(asdict(request))))

    def has(self, service: str) -> bool:
        """Whether there is a snapshot of a service."""
        with self._database.read() as connection:
            return connection.execute("SELECT 1 FROM snapshots WHERE service = ?", (service,)).fetchone() is not None

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, by service name."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT service, writer, content FROM snapshots ORDER BY service").fetchall()
        return [Snapshot(*row) for row in rows]

    def journal(self) -> Iterator[tuple[str, Request]]:
        """(service, request) of every journaled request, oldest first. An entry that cannot be read is skipped and logged."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT id, service, request FROM journal ORDER BY id").fetchall()
        for number, service, text in rows:
            try:
                fields = json.loads(text)
                yield service, Request(**{**fields, "headers": [(name, value) for name, value in fields["headers"]]})
            except (ValueError, TypeError, KeyError) as error:
                _log.error("entry %d of the journal of %s cannot be read and is skipped: %s", number, service, error)

    def set_aside(self, service: str) -> Path:
        """Move the snapshot of a service into a file of its own and forget its journal; returns the file."""
        number = 1
        while (aside := self._folder / f"{service}.unreadable-{number}").exists():
            number += 1
        with self._database.write() as connection:
            row = connection.execute("SELECT content FROM snapshots WHERE service = ?", (service,)).fetchone()
            aside.write_bytes(row[0] if row else b"")
            connection.execute("DELETE FROM snapshots WHERE service = ?", (service,))
            connection.execute("DELETE FROM journal WHERE service = ?", (service,))
        return aside

    def close(self) -> None:
        """Close the file."""
        self._database.close()
