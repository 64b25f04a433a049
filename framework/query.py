"""Ad-hoc queries: Spark, after the tables that the statement names were looked up, or Trino, which finds them by itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from framework import predicates
from framework.engines.spark import conf, read
from framework.engines.spark.causes import causes
from framework.errors import UserError
from framework.sqlfile import parse_tables

if TYPE_CHECKING:
    from framework.engines.trino.client import TrinoClient
    from framework.platform import Platform


_READS = re.compile(r"\(|(SELECT|WITH|TABLE|VALUES|SHOW|DESCRIBE|DESC|EXPLAIN)\b")
# EXPLAIN ANALYZE does what it explains.
_WRITES = re.compile(r"\b(INSERT|CREATE|DELETE|UPDATE|MERGE|DROP|ALTER|CALL|EXECUTE)\b")


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
    from trino.exceptions import TrinoQueryError

    from framework.engines.trino import failures, statement
    from framework.engines.trino.client import TrinoClient

    body = statement.of(sql, {}, "trino", where="query")
    words = predicates.masked(sql, "trino").strip().rstrip("; \n").upper()
    if ";" in words:
        raise UserError("a query is one statement, this has more", fix="ask them one by one")
    if not _READS.match(words) or (words.startswith("EXPLAIN") and _WRITES.search(words)):
        raise UserError(
            f"a query reads, this is {words.split(None, 1)[0] if words else 'empty'}", fix="write a job: its rows are checked and published"
        )
    client = TrinoClient(platform.trino_url(), platform.settings.trino.user)
    try:
        result = client.execute(body.text, limit=limit)
    except TrinoQueryError as exc:
        found = failures.explain(exc, body, file="query", columns=_columns(platform, sql, client), client=client)
        raise UserError(found.message, where=found.where, details=found.details, fix=found.fix) from exc
    return list(result.columns), [tuple(row) for row in result.rows], result.more


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
