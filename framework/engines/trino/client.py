"""One run's way to a Trino server: statements with their progress, cancelled when the run is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from framework.errors import EngineUnavailable
from framework.jobs import LAKE_CATALOG
from framework.publish.trino import Column

_EVERY = 0.25  # seconds between looks at a statement's figures


@dataclass(frozen=True)
class Progress:
    """What the server says of a statement.

    Attributes:
        state: QUEUED, PLANNING, RUNNING, FINISHING ...
        done: splits that are done, of `total`.
        rows: rows read so far.
        size_bytes: bytes read so far.
    """

    state: str
    done: int
    total: int
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class Result:
    """Rows of a statement, or how many it wrote.

    Attributes:
        read_rows: rows that the sources gave.
        more: there were more rows than asked for.
        query_id: the server's name of the query.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    written: int
    read_rows: int
    more: bool = False
    query_id: str | None = None


class TrinoClient:
    """Statements on one server, one at a time.

    Args:
        url: the coordinator.
        user: whom they run as.

    Attributes:
        name: of the server's kind, for messages.
    """

    name = "Trino"

    def __init__(self, url: str, user: str) -> None:
        from trino.dbapi import connect

        parts = urlsplit(url)
        self.url = url
        self._connect: Callable[..., Any] = lambda session: connect(
            host=parts.hostname,
            port=parts.port or (443 if parts.scheme == "https" else 8080),
            http_scheme=parts.scheme,
            user=user,
            source="emrjobs",
            timezone="UTC",
            session_properties=dict(session),
            request_timeout=60,
            max_attempts=4,
            **self._options(),
        )
        self.sqlalchemy_url = f"{self.name.lower()}://{user}@{parts.netloc}"
        self._cursor: Any = None
        self.on_progress: Callable[[Progress], None] | None = None

    def _options(self) -> dict[str, Any]:
        """Further arguments of a connection."""
        return {"catalog": LAKE_CATALOG}

    def execute(self, sql: str, *, session: Mapping[str, str] | None = None, limit: int | None = None) -> Result:
        """Run one statement to its end.

        Args:
            session: session properties.
            limit: fetch at most so many rows, then cancel the rest.

        Raises:
            trino.exceptions.TrinoQueryError: the server refused it, or it failed.
            EngineUnavailable: the server does not answer.
        """
        with self._connection(session or {}) as cursor:
            with self._watched(cursor):
                cursor.execute(sql)
                rows: list[Any] = cursor.fetchall() if limit is None else cursor.fetchmany(limit + 1)
            columns = [column[0] for column in cursor.description or ()]
            more = limit is not None and len(rows) > limit
            if more:
                cursor.cancel()
            written = cursor.rowcount if isinstance(cursor.rowcount, int) else -1
            read = int((cursor.stats or {}).get("processedRows", 0))
            return Result(columns, rows[:limit] if more else rows, written, read, more, cursor.query_id)

    def stream(self, sql: str, size: int) -> Iterator[Sequence[Sequence[Any]]]:
        """The rows of a query, at most `size` at a time. Whoever stops early ends it on the server too.

        Raises:
            trino.exceptions.TrinoQueryError: the server refused it, or it failed.
            EngineUnavailable: the server does not answer.
        """
        with self._connection({}) as cursor:
            with self._watched(cursor):
                cursor.execute(sql)
                rows = cursor.fetchmany(size)
            while rows:
                yield rows
                rows = cursor.fetchmany(size)

    def describe(self, sql: str) -> list[Column]:
        """Names and types of what a query returns; nothing is read. It stands on the lines after the first of what is sent.

        Not by DESCRIBE OUTPUT: Trino analyses a prepared statement in a form of its own, whose lines are not the user's.

        Raises:
            trino.exceptions.TrinoQueryError: it does not parse, or names what is not there.
            EngineUnavailable: the server does not answer.
        """
        with self._connection({}) as cursor:
            cursor.execute(f"SELECT * FROM (\n{sql}\n) LIMIT 0")
            cursor.fetchall()
            return [Column(column[0], column[1]) for column in cursor.description or ()]

    def columns(self, table: str) -> list[Column]:
        """Columns of a table (quoted, with its catalog)."""
        return [Column(row[0], row[1]) for row in self.execute(f"SHOW COLUMNS FROM {table}").rows]

    def cancel(self) -> None:
        """Stop the statement that runs, on the server too."""
        if self._cursor is not None:
            with suppress(Exception):
                self._cursor.cancel()

    @contextmanager
    def _connection(self, session: Mapping[str, str]) -> Iterator[Any]:
        from requests import RequestException
        from trino.exceptions import HttpError, TrinoConnectionError

        with self._connect(session) as connection:
            self._cursor = cursor = connection.cursor()
            try:
                yield cursor
            except (RequestException, HttpError, TrinoConnectionError) as exc:
                raise EngineUnavailable(
                    f"{self.name} at {self.url} does not answer: {type(exc).__name__}", fix="`emrjobs local status`, then run it again"
                ) from exc
            except BaseException:
                # Ctrl-C: the server would compute on until it misses its client.
                self.cancel()
                raise
            finally:
                self._cursor = None

    @contextmanager
    def _watched(self, cursor: Any) -> Iterator[None]:
        tell = self.on_progress
        if tell is None:
            yield
            return
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(_EVERY):
                stats = cursor.stats
                if stats:
                    tell(
                        Progress(
                            str(stats.get("state", "")),
                            int(stats.get("completedSplits", 0)),
                            int(stats.get("totalSplits", 0)),
                            int(stats.get("processedRows", 0)),
                            int(stats.get("processedBytes", 0)),
                        )
                    )

        watcher = threading.Thread(target=look, name="trino-progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
