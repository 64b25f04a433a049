"""Ad-hoc queries: Spark, after the tables that the statement names were looked up, or Trino, which finds them by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from framework.engines.spark import conf, read
from framework.engines.spark.causes import causes
from framework.errors import JobFailed, ServiceUnavailable, UserError
from framework.jobs import Params, Table, is_table_name
from framework.sqlfile import connections, parse_tables

if TYPE_CHECKING:
    from framework.engines.trino.arrow import Fetch
    from framework.engines.trino.client import TrinoClient
    from framework.engines.trino.statement import Statement
    from framework.platform import Platform


def run_query(platform: Platform, sql: str, limit: int) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """(column names, at most `limit` rows, whether there are more).

    Raises:
        UserError: the statement is not one query, does not parse, or names what is not there.
    """
    try:
        names = parse_tables(sql, "spark", "query")
    except UserError as exc:
        raise UserError(exc.message.replace("a SQL job is", "a query is"), where=exc.where, details=exc.details) from exc
    tables = [platform.read_of(name) for name in names]
    with platform.spark() as spark:
        conf.prepare(spark, platform.aws)
        conf.use_hdfs(spark, platform.hdfs_in_use)
        for table in tables:
            read.mount(spark, table)
        try:
            frame = spark.sql(sql)
            rows = frame.limit(limit + 1).collect()
        except Exception as exc:
            found = causes(exc, spark._jvm)
            cause = found[-1] if found else None
            raise UserError(f"query failed: {cause.sentence if cause else exc}", fix=cause.suggestion if cause else None) from exc
        return frame.columns, [tuple(row) for row in rows[:limit]], len(rows) > limit


def run_trino_query(platform: Platform, sql: str, limit: int) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """As `run_query`, on Trino: a query, or a statement that looks at something (`SHOW TABLES FROM airline_ops.public`).

    Raises:
        UserError: the statement writes, does not parse, or names what is not there.
        EngineUnavailable: Trino does not answer.
    """
    from framework.engines.trino import statement

    body = statement.query(sql, {}, where="query", looks=True)
    client = trino_client(platform, sql)
    try:
        with _explained(platform, sql, body, client):
            result = client.execute(body.text, limit=limit)
    except (JobFailed, ServiceUnavailable) as exc:
        # What was asked for is the whole input here.
        raise UserError(exc.message, where=exc.where, details=exc.details, fix=exc.fix) from exc.__cause__
    return list(result.columns), [tuple(row) for row in result.rows], result.more


@contextmanager
def fetch(platform: Platform, sql: str, params: Params, *, unload: bool | None = None, batch_rows: int | None = None) -> Iterator[Fetch]:
    """A query on Trino whose result is wanted as Arrow; fetch it while the context is open.

    Args:
        params: values of the statement's `{placeholders}`; they become typed literals.
        unload: by way of files on S3 (True) or by the client (False); without it the planner's estimate decides.
        batch_rows: the most rows of one batch.

    Raises:
        UserError: the statement is not a query, does not parse, or names what is not there.
        JobFailed: it failed.
        EngineUnavailable: Trino does not answer; safe to retry.
    """
    from framework.engines.trino import arrow, statement

    body = statement.query(sql, params, where="query")
    client = trino_client(platform, sql)
    # Analysed first: only then has an error its place, on the lines after the first of what is sent.
    with _explained(platform, sql, body, client, lines_before=1):
        found = arrow.Fetch(
            client,
            platform.catalog,
            platform.aws,
            body,
            state=platform.settings.state,
            unload=unload,
            batch_rows=batch_rows or arrow.BATCH_ROWS,
        )
    with _explained(platform, sql, body, client, lines_before=None):
        yield found


def trino_client(platform: Platform, sql: str) -> TrinoClient:
    """A client of the server that has all catalogs which a statement names."""
    from framework.engines.trino.client import TrinoClient

    with suppress(UserError):  # the server says better what is wrong
        platform.find_hdfs([Table(name) for name in parse_tables(sql, "trino", "query") if is_table_name(name)])
    return TrinoClient(platform.trino_url(connections(sql, "trino", platform.settings.connections)), platform.settings.trino.user)


@contextmanager
def _explained(platform: Platform, sql: str, body: Statement, client: TrinoClient, *, lines_before: int | None = 0) -> Iterator[None]:
    from trino.exceptions import TrinoQueryError

    from framework.engines.trino import failures

    try:
        yield
    except TrinoQueryError as exc:
        columns = _columns(platform, sql, client)
        raise failures.explain(exc, body, file="query", columns=columns, client=client, lines_before=lines_before) from exc


def _columns(platform: Platform, sql: str, client: TrinoClient) -> set[str]:
    """Columns of the tables that a statement reads, for suggestions."""
    from framework.engines.trino import failures
    from framework.sources.trino_catalogs import FederatedRead

    try:
        names = parse_tables(sql, "trino", "query")
    except UserError:
        return set()
    reads: dict[str, Any] = {}
    for name in names:
        connection, _, table = name.partition(".")
        reads[name] = FederatedRead(connection, table, "") if "." in table else platform.read_of(name)
    return failures.column_names(reads, client)
