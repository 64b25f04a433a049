"""Which partitions a predicate can need, said in the grammar of Glue's GetPartitions.

Glue API reference, GetPartitions, Expression: comparisons, BETWEEN, IN, LIKE over partition keys with AND and OR; keys of the
types string, date, timestamp, int, bigint, long, tinyint, smallint, decimal; dates as quoted texts; at most 2048 bytes.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

from framework.catalog import Column

_INTEGERS = ("tinyint", "smallint", "int", "integer", "bigint", "long")
# Glue cannot escape a quote inside a text, and takes no control characters.
_UNSAFE_TEXT = re.compile(r"['\x00-\x1f]")
_MOST_BYTES = 2048


def expression(predicate: str, keys: Sequence[Column], *, dialect: str = "spark") -> str | None:
    """The part of a predicate that partition keys alone decide; None when that is nothing.

    Every partition that can hold matching rows is matched by the result: what is not understood is left out, never
    guessed.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if "\\" in predicate:  # what an escape means differs between parsers
        return None
    types = {key.name.lower(): key.type.lower() for key in keys}
    try:
        tree = sqlglot.parse_one(predicate, read=dialect)
    except (SqlglotError, RecursionError):  # Spark will say what is wrong with it
        return None
    kept: list[str] = []
    for part in tree.flatten() if isinstance(tree, exp.And) else [tree]:
        text = _term(part, types)
        if text and len(" AND ".join([*kept, text]).encode()) <= _MOST_BYTES:
            kept.append(text)
    return " AND ".join(kept) or None


def _term(node: object, types: dict[str, str]) -> str | None:
    from sqlglot import exp

    operators = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
    mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
    if isinstance(node, exp.Paren):
        inner = _term(node.this, types)
        return f"({inner})" if inner else None
    if isinstance(node, exp.And | exp.Or):
        left, right = _term(node.left, types), _term(node.right, types)
        if left and right:
            return f"({left} {'AND' if isinstance(node, exp.And) else 'OR'} {right})"
        # Half of an AND still excludes only what does not match; half of an OR would exclude matches.
        return (left or right) if isinstance(node, exp.And) else None
    if type(node) in operators and isinstance(node, exp.Binary):
        operator = operators[type(node)]
        column, value = node.left, node.right
        if not isinstance(column, exp.Column):
            column, value, operator = value, column, mirrored.get(operator, operator)
        return _join(column, operator, [value], types)
    if isinstance(node, exp.Between) and not node.args.get("symmetric"):
        return _join(node.this, "BETWEEN", [node.args["low"], node.args["high"]], types)
    if isinstance(node, exp.In) and node.expressions:
        return _join(node.this, "IN", node.expressions, types)
    return None


def _join(column: object, operator: str, values: Sequence[object], types: dict[str, str]) -> str | None:
    from sqlglot import exp

    if not isinstance(column, exp.Column) or column.name.lower() not in types:
        return None
    kind = types[column.name.lower()]
    literals = [_literal(value, kind) for value in values]
    if any(literal is None for literal in literals):
        return None
    texts = [literal for literal in literals if literal is not None]
    name = column.name.lower()
    if operator == "BETWEEN":
        return f"({name} >= {texts[0]} AND {name} <= {texts[1]})"
    return f"{name} IN ({', '.join(texts)})" if operator == "IN" else f"{name} {operator} {texts[0]}"


def _literal(node: object, kind: str) -> str | None:
    """The value as Glue compares it with a key of that type; None where Spark may compare in another way.

    Spark casts before it compares values of different types: a string key `03` equals the number 3, and `2013-1-5` equals
    DATE '2013-01-05'. Only what is compared as it is written is kept.
    """
    from sqlglot import exp

    sign = ""
    while isinstance(node, exp.Paren | exp.Neg):
        if isinstance(node, exp.Neg):
            sign = "" if sign else "-"
        node = node.this
    if kind == "date":
        if isinstance(node, exp.Cast) and node.is_type("date"):  # DATE '2013-01-05'
            node = node.this
        return f"'{node.this}'" if isinstance(node, exp.Literal) and node.is_string and not sign and _is_day(node.this) else None
    if not isinstance(node, exp.Literal):
        return None
    text = str(node.this)
    if node.is_string:
        texts = kind == "string" or kind.startswith("varchar")
        return f"'{text}'" if texts and not sign and not _UNSAFE_TEXT.search(text) else None
    if kind in _INTEGERS:
        return f"{sign}{text}" if re.fullmatch(r"\d+", text) else None
    if kind.startswith("decimal"):
        return f"{sign}{text}" if re.fullmatch(r"\d+(\.\d+)?", text) else None
    return None


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
