"""SQLite files that survive kill -9: what was committed is there after a restart, what was torn is not.

WAL journal with `synchronous=NORMAL`: a commit is a write into the page cache, so it outlives this process however it ends
(power loss may cost the last commits, but never consistency: sqlite.org/wal.html, "Performance Considerations").
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)


class Database:
    """One SQLite file, shared by the threads of this process: many readers, one writer at a time.

    Args:
        path: of the file; a file that cannot be read, or has another format version, is set aside and a new one begun.
        schema: the statements that create the tables.
        version: format version of the schema, kept in the file (`PRAGMA user_version`).
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connections_lock = threading.Lock()
        # A lock of our own queues writers; SQLite's busy handler would let them poll.
        self._write_lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._prepare(schema, version)
        except (sqlite3.DatabaseError, _ForeignFormat) as error:
            self.close()
            aside = set_aside(path)
            _log.error("%s cannot be read (%s): it was set aside as %s and an empty one begun", path, error, aside.name)
            self._prepare(schema, version)

    def _prepare(self, schema: str, version: int) -> None:
        connection = self._connect()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and found != version:
            raise _ForeignFormat(f"format version {found}, this release reads {version}")
        if not tables:
            connection.executescript(f"BEGIN; {schema}; PRAGMA user_version = {version}; COMMIT;")

    def _connect(self) -> sqlite3.Connection:
        # Used by one thread only, but closed by the one that ends the process.
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
        with self._connections_lock:
            self._connections.append(connection)
        self._local.connection = connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -1024")
        return connection

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        return connection if connection is not None else self._connect()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the data, whatever is committed meanwhile."""
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer can interleave with: reads in it are still true when it commits.

        It is committed when the block ends and rolled back when the block raises.
        """
        connection = self._connection()
        with self._write_lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close every connection; the last one folds the write-ahead log into the file."""
        with self._connections_lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        self._local = threading.local()


class _ForeignFormat(Exception):
    """The file was written by a release with another schema."""


def set_aside(path: Path) -> Path:
    """Rename a file (and its write-ahead log) to the first free `<name>.unreadable-<n>`; returns the new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.unreadable-{number}")).exists():
        number += 1
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.replace(aside.with_name(aside.name + suffix))
    return aside
