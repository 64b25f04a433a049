"""Ad-hoc queries: the tables that a statement names are looked up, then Spark runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from framework.engines.spark import conf, read
from framework.engines.spark.causes import causes
from framework.errors import UserError
from framework.sqlfile import parse_tables

if TYPE_CHECKING:
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
