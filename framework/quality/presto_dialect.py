"""PrestoDB for SQLAlchemy: Trino's dialect, with values as literals, because Presto has no EXECUTE IMMEDIATE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlglot import exp
from trino.sqlalchemy.dialect import TrinoDialect

from framework import predicates
from framework.sources import presto_protocol


class PrestoDialect(TrinoDialect):  # type: ignore[misc]
    """`presto://user@host:port/catalog`. Its name stays Trino's: the SQL that others write for that fits."""

    supports_statement_cache = False

    def connect(self, *arguments: Any, **options: Any) -> Any:
        return super().connect(*arguments, http_session=presto_protocol.session(), **options)

    def do_execute(self, cursor: Any, statement: str, parameters: Sequence[Any], context: Any = None) -> None:
        cursor.execute(bound(statement, parameters))


def bound(statement: str, parameters: Sequence[Any]) -> str:
    """A statement with a literal for each `?` that is a marker.

    Raises:
        ValueError: there are more or fewer values than markers.
    """
    masked = predicates.masked(statement, "trino")
    places = [position for position, char in enumerate(masked) if char == "?"]
    parts, begin = [], 0
    for position, value in zip(places, parameters, strict=True):
        parts += [statement[begin:position], _literal(value)]
        begin = position + 1
    return "".join([*parts, statement[begin:]])


def _literal(value: Any) -> str:
    if isinstance(value, float):  # a bare 0.1 is a decimal
        return exp.cast(exp.Literal.string(repr(value)), "double").sql("presto")
    return exp.convert(value).sql("presto")
