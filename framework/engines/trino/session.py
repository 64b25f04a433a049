"""What a Python job on Trino asks with: it looks at the data, and returns the SQL of its rows."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from framework import predicates, sqlfile
from framework.engines.trino import failures, statement
from framework.errors import EmrjobsError, JobFailed, UserError
from framework.jobs import TRINO_CATALOGS, Job, Params, ParamValue
from framework.publish.trino import quoted

if TYPE_CHECKING:
    import pyarrow as pa

    from framework.engines.trino.client import TrinoClient
    from framework.engines.trino.statement import Statement
    from framework.platform import Platform


class TrinoSession:
    """Queries of one job. They read; what the job writes is the statement that it returns.

    Args:
        where: the job's place, for messages.
    """

    def __init__(self, client: TrinoClient, platform: Platform, where: str) -> None:
        self._client = client
        self._platform = platform
        self._where = where

    def rows(self, sql: str, **params: ParamValue) -> list[tuple[Any, ...]]:
        """All rows of a query, each a tuple of Python values; `{name}` in it is a parameter.

        Raises:
            JobFailed: it is not a query, or failed.
        """
        body = self._body(sql, params)
        return [tuple(row) for row in self._asked(body, lambda: self._client.execute(body.text)).rows]

    def value(self, sql: str, **params: ParamValue) -> Any:
        """The one value of a query that has one row of one column.

        Raises:
            JobFailed: it has not, or failed.
        """
        found = self.rows(sql, **params)
        if len(found) != 1 or len(found[0]) != 1:
            raise JobFailed(f"one value was asked for, the query has {len(found)} rows", where=self._where)
        return found[0][0]

    def fetch_arrow(self, sql: str, **params: ParamValue) -> pa.Table:
        """The result of a query as Arrow, a large one by way of files.

        Raises:
            JobFailed: it is not a query, or failed.
        """
        from framework.engines.trino.arrow import Fetch

        platform, body = self._platform, self._body(sql, params)
        return self._asked(body, lambda: Fetch(self._client, platform.catalog, platform.aws, body, state=platform.settings.state).table())

    @staticmethod
    def identifier(*names: str) -> str:
        """A name as it stands in SQL, whatever is in it: `identifier("a b", "c")` is `"a b"."c"`."""
        return quoted(*names)

    @staticmethod
    def literal(value: ParamValue) -> str:
        """A value as it stands in SQL, whatever is in it."""
        return predicates.literal(value, "trino")

    def _body(self, sql: str, params: Params) -> Statement:
        try:
            return statement.query(sql, params, where=self._where)
        except UserError as exc:
            raise JobFailed(exc.message, where=self._where, fix=exc.fix) from exc

    def _asked(self, body: Statement, act: Callable[[], Any]) -> Any:
        from trino.exceptions import TrinoQueryError

        try:
            return act()
        except TrinoQueryError as exc:
            raise failures.explain(exc, body, file=self._where, columns=(), client=self._client, lines_before=None) from exc


def text_of(job: Job, params: Params, session: TrinoSession) -> str:
    """The SQL that a Python job returns.

    Raises:
        JobFailed: it raised, returned something else, or reads what it does not declare.
    """
    assert callable(job.body)
    taken = inspect.signature(job.body).parameters
    try:
        sql = job.body(session, **{name: value for name, value in params.items() if name in taken})
    except EmrjobsError:
        raise
    except Exception as exc:
        own = [frame for frame in traceback.extract_tb(exc.__traceback__) if frame.filename.endswith(job.file)]
        where = f"{job.file}:{own[-1].lineno}" if own else job.where
        raise JobFailed(f"job {job.name} failed: {type(exc).__name__}: {exc}", where=where) from exc
    if not isinstance(sql, str):
        raise JobFailed(f"job {job.name} returned {type(sql).__name__}, not the SQL of its rows", where=job.where)
    lexical = predicates.lexical("trino")
    declared = {dataset.identity for dataset in job.inputs.values() if hasattr(dataset, "identity")}
    for table in sqlfile.parse_tables(predicates.markers(sql, lexical, where=job.where), "trino", job.where):
        if table not in declared and table.split(".")[0] not in TRINO_CATALOGS:
            raise JobFailed(
                f"job {job.name} reads {table}, which is not among its inputs", where=job.where, fix="declare it: nothing else knows of it"
            )
    return sql
