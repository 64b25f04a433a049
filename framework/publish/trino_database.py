"""Publish a query's rows to a table of a database: Trino writes the staged table, the database does the rest."""

from __future__ import annotations

from framework.errors import EngineUnavailable
from framework.jobs import Jdbc
from framework.publish import Published, Staged
from framework.publish.database import DatabaseTable
from framework.publish.trino import Executes, Query, aligned, as_catalog, check_columns, quoted


class TrinoDatabaseArea:
    """Staging area of one run for one table of a connection, which Trino has as a catalog."""

    def __init__(self, client: Executes, table: DatabaseTable, output: Jdbc) -> None:
        self._client = client
        self._table = table
        self._output = output
        self._staged: Staged | None = None
        self.staged_table = ""

    def write(self, query: Query) -> Staged:
        check_columns(query, self._output)
        self._table.prepare(as_catalog(query.columns))
        schema, _, name = self._table.stage.partition(".")
        self.staged_table = quoted(self._output.connection, schema, name)
        target = self._client.columns(self.staged_table)
        names = ", ".join(quoted(column.name) for column in target)
        statement = f"INSERT INTO {self.staged_table} ({names})\n{aligned(query, self._output.name, target)}"
        # The staged table is nobody's yet: another one, from which its rows come in one piece, would be written for nothing.
        session = {**query.session, f"{self._output.connection}.non_transactional_insert": "true"}
        written, found = max(int(self._client.execute(statement, session=session).written), 0), self._table.staged()
        if found != written:
            raise EngineUnavailable(
                f"{found:,} rows are staged in {self._table.stage} and {written:,} were written", fix="run the job again"
            )
        self._staged = Staged(found, self._table.stage)
        return self._staged

    def publish(self) -> Published:
        assert self._staged is not None, "write() comes first"
        return self._table.publish(self._staged.rows)

    def discard(self) -> None:
        self._table.discard()
