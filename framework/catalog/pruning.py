"""Which partitions a predicate can need, said in the grammar of Glue's GetPartitions.

Glue API reference, GetPartitions, Expression: comparisons, BETWEEN, IN, LIKE over partition keys with AND and OR; dates and
timestamps as quoted texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.catalog import Column

_QUOTED_TYPES = ("string", "date", "timestamp", "char", "varchar")


def expression(predicate: str, keys: Sequence[Column], *, dialect: str = "spark") -> str | None:
    """The part of a predicate that partition keys alone decide; None when that is nothing.

    Every partition that can hold matching rows is matched by the result: what is not understood is left out, never
    guessed.
    """
    import sqlglot
    from sqlglot import exp

    types = {key.name.lower(): key.type.lower() for key in keys}
    tree = sqlglot.parse_one(predicate, read=dialect)
    kept = [text for part in (tree.flatten() if isinstance(tree, exp.And) else [tree]) if (text := _term(part, types))]
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
    if isinstance(node, exp.Between):
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
    from sqlglot import exp

    negative = isinstance(node, exp.Neg)
    while isinstance(node, exp.Cast | exp.Paren | exp.Neg | exp.TsOrDsToDate):
        node = node.this
    if not isinstance(node, exp.Literal):
        return None
    text = str(node.this)
    if kind.startswith(_QUOTED_TYPES):
        # Glue compares texts of any key type; a quote cannot be escaped there, so such a value is not pruned by.
        return None if "'" in text or negative else f"'{text}'"
    try:
        float(text)
    except ValueError:
        return None
    return f"-{text}" if negative else text
