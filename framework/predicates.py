"""Parameters inside SQL text: typed literals and markers, never pasted strings."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from framework.errors import JobDefinitionError, ParameterError
from framework.jobs import Params, ParamValue

# One SQL token of interest: a quoted string or identifier, a comment, a {placeholder}, or a quote that nothing closes. Doubled
# quotes inside a string read as two strings side by side, which is all the same here.
_PLAIN = r"'[^']*'|\"[^\"]*\"|`[^`]*`|--[^\n]*"
_ESCAPED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|--[^\n]*"
_REST = r"|/\*.*?\*/|\{(?P<name>[^\W\d]\w*)(?P<format>:[^{}]*)?\}|(?P<open>['\"`]|/\*)"
_TOKENS = {
    "postgres": re.compile(r"\b[eE]'(?:[^'\\]|\\.)*'|(?<!\w)\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|" + _PLAIN + _REST, re.DOTALL),
    "trino": re.compile(_PLAIN + _REST, re.DOTALL),
    "mysql": re.compile(r"#[^\n]*|" + _ESCAPED + _REST, re.DOTALL),
    "spark": re.compile(r"\b[rR]'[^']*'|\b[rR]\"[^\"]*\"|" + _ESCAPED + _REST, re.DOTALL),
}

_COMMENTS = {"postgres": ("--", "/*"), "trino": ("--", "/*"), "mysql": ("--", "/*", "#"), "spark": ("--", "/*")}

# These read a backslash inside a string as an escape.
_BACKSLASH_DIALECTS = {"spark", "mysql"}


def lexical(dialect: str) -> str:
    """The dialect whose strings and comments look like those of `dialect`, as sqlglot names it."""
    return {"presto": "trino", "athena": "trino", "hive": "spark"}.get(dialect, dialect)


def literal(value: ParamValue, dialect: str) -> str:
    """A parameter's value as a literal of the dialect (`postgres`, `mysql`, `trino`, `spark`)."""
    if isinstance(value, dt.date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value) if value >= 0 else f"({value})"
    if "\x00" in value:
        raise ParameterError("a parameter must not contain a zero byte")
    if dialect in _BACKSLASH_DIALECTS:
        value = value.replace("\\", "\\\\")
        return "'" + (value.replace("'", "\\'") if dialect == "spark" else value.replace("'", "''")) + "'"
    return "'" + value.replace("'", "''") + "'"


def spans(sql: str, dialect: str = "spark", *, where: str) -> list[tuple[int, int, str]]:
    """(start, end, name) of each `{name}` in SQL text.

    Raises:
        JobDefinitionError: a placeholder stands inside quotes, where it would be part of a string, or has a format; or a
            quote is not closed, so that nobody can tell what is inside it.
    """
    found = []
    for match in _TOKENS[dialect].finditer(sql):
        at = f"{where}:{sql.count(chr(10), 0, match.start()) + 1}" if where.endswith(".sql") else where
        if match["format"]:
            raise JobDefinitionError(f"{match[0]}: a format has no meaning in SQL", where=at, fix=f"write {{{match['name']}}}")
        if match["name"]:
            found.append((match.start(), match.end(), match["name"]))
        elif match["open"]:
            raise JobDefinitionError(f"{match[0]} is opened and not closed", where=at)
        elif not match[0].startswith(_COMMENTS[dialect]) and (inner := re.search(r"\{[^\W\d]\w*\}", match[0])):
            raise JobDefinitionError(
                f"the placeholder {inner[0]} stands inside quotes: {match[0]}",
                where=at,
                fix="remove the quotes: parameters are typed, a str becomes a string",
            )
    return found


def render(sql: str, params: Params, dialect: str, *, where: str) -> str:
    """SQL text with each `{name}` as a literal of the dialect.

    Raises:
        JobDefinitionError: a placeholder stands inside quotes.
        ParameterError: a placeholder names no parameter.
    """

    def one(name: str) -> str:
        if name not in params:
            raise ParameterError(f"{{{name}}} is not a parameter of the job", where=where)
        return literal(params[name], dialect)

    return _replace(sql, dialect, one, where)


def markers(sql: str, dialect: str = "spark", *, where: str) -> str:
    """SQL text with each `{name}` as the named parameter marker `:name`, as Spark binds them."""
    return _replace(sql, dialect, lambda name: f":{name}", where)


def masked(sql: str, dialect: str) -> str:
    """The text, of the same length, with a space for each character of its strings, quoted names and comments."""
    return _TOKENS[dialect].sub(lambda match: match[0] if match["name"] else " " * len(match[0]), sql)


def _replace(sql: str, dialect: str, one: Callable[[str], str], where: str) -> str:
    parts, position = [], 0
    for start, end, name in spans(sql, dialect, where=where):
        parts += [sql[position:start], one(name)]
        position = end
    return "".join([*parts, sql[position:]])
