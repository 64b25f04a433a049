"""A SQL job's text as Trino gets it, and the way back from a position in that to the user's file."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from framework import predicates
from framework.errors import JobDefinitionError, ParameterError, UserError, nearest
from framework.jobs import Params

_QUERY = re.compile(r"\(|(SELECT|WITH|TABLE|VALUES)\b")
_LOOKS = re.compile(r"\(|(SELECT|WITH|TABLE|VALUES|SHOW|DESCRIBE|DESC|EXPLAIN)\b")
# EXPLAIN ANALYZE does what it explains.
_WRITES = re.compile(r"\b(INSERT|CREATE|DELETE|UPDATE|MERGE|DROP|ALTER|CALL|EXECUTE)\b")


@dataclass(frozen=True)
class Statement:
    """A query with its parameters filled in as typed literals.

    Attributes:
        text: without a semicolon at its end; line for line the file where nothing had to be translated.
        source: the file's text.
        edits: (start, end) in `text` and (start, end) in `source` of each parameter or insertion; None when it was translated.
    """

    text: str
    source: str
    edits: tuple[tuple[int, int, int, int], ...] | None

    def position(self, line: int, column: int) -> tuple[int, int] | None:
        """Line and column (from 1) in the file of those in `text`; None when the text was translated."""
        if self.edits is None or line < 1:
            return None
        lines = self.text.split("\n")
        if line > len(lines):
            return None
        offset = self._in_source(sum(len(one) + 1 for one in lines[: line - 1]) + min(column - 1, len(lines[line - 1])))
        before = self.source[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1

    def inserted(self, text: str, places: Collection[int]) -> Statement:
        """With a text before each of these offsets in `text`; positions still lead back to the file."""
        assert self.edits is not None, "it was translated"
        whole, edits, length = self.text, self.edits, len(text)
        for place in sorted(places, reverse=True):
            source = self._in_source(place)
            later = tuple((start + length, end + length, begin, stop) for start, end, begin, stop in edits if start >= place)
            edits = (*(edit for edit in edits if edit[0] < place), (place, place + length, source, source), *later)
            whole = whole[:place] + text + whole[place:]
        return Statement(whole, self.source, edits)

    def _in_source(self, offset: int) -> int:
        for start, end, source_start, source_end in reversed(self.edits or ()):
            if offset >= end:
                return offset + source_end - end
            if offset >= start:
                return source_start
        return offset


def of(source: str, params: Params, dialect: str, *, where: str, target: str = "trino") -> Statement:
    """The statement of a job.

    Args:
        dialect: what it is written in; `trino`, or what can be translated to it.
        target: what the server speaks; a dialect that is this is not translated.

    Raises:
        JobDefinitionError: a placeholder stands inside quotes, or the dialect cannot be translated.
    """
    parts, edits, position, length = [], [], 0, 0
    token_dialect = predicates.lexical(dialect)
    for start, end, name in predicates.spans(source, token_dialect, where=where):
        literal = predicates.literal(params[name], token_dialect)
        between = source[position:start]
        begin = length + len(between)
        edits.append((begin, begin + len(literal), start, end))
        parts += [between, literal]
        position, length = end, begin + len(literal)
    text = without_semicolon("".join([*parts, source[position:]]), token_dialect)
    if dialect == target:
        return Statement(text, source, tuple(edits))
    return Statement(translate(text, dialect, where=where)[0], source, None)


def query(sql: str, params: Params, *, where: str, looks: bool = False) -> Statement:
    """One statement that reads.

    Args:
        looks: SHOW, DESCRIBE and EXPLAIN are fine too.

    Raises:
        UserError: it is none, or more than one.
        JobDefinitionError: a placeholder stands inside quotes.
        ParameterError: a placeholder names no parameter.
    """
    for _, _, name in predicates.spans(sql, "trino", where=where):
        if name not in params:
            raise ParameterError(f"{{{name}}} has no value", where=where, fix=nearest(name, params, what="parameter"))
    words = predicates.masked(sql, "trino").strip().rstrip("; \n").upper()
    if ";" in words:
        raise UserError("a query is one statement, this has more", fix="ask them one by one")
    if not (_LOOKS if looks else _QUERY).match(words) or (words.startswith("EXPLAIN") and _WRITES.search(words)):
        raise UserError(
            f"a query reads, this is {words.split(None, 1)[0] if words else 'empty'}", fix="write a job: its rows are checked and published"
        )
    return of(sql, params, "trino", where=where)


def translate(sql: str, dialect: str, *, where: str) -> tuple[str, list[str]]:
    """A statement in Trino's SQL, and what could not be translated with certainty; `:name` comes back as `{name}`.

    Raises:
        JobDefinitionError: it does not parse.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError, UnsupportedError

    try:
        parsed = sqlglot.parse_one(sql, read=dialect)
        tree = parsed.transform(lambda node: exp.Var(this=f"{{{node.name}}}") if isinstance(node, exp.Placeholder) else node)
        try:
            return tree.sql(dialect="trino", pretty=True, comments=False, unsupported_level=sqlglot.ErrorLevel.RAISE), []
        except UnsupportedError as exc:
            return tree.sql(dialect="trino", pretty=True, comments=False, unsupported_level=sqlglot.ErrorLevel.IGNORE), str(
                exc
            ).splitlines()
    except SqlglotError as exc:
        raise JobDefinitionError(f"does not parse as {dialect} SQL: {str(exc).splitlines()[0]}", where=where) from exc


def without_semicolon(sql: str, dialect: str) -> str:
    """The text with the semicolon that ends it as a space: the statement goes on inside another one."""
    masked = predicates.masked(sql, dialect)
    return "".join(" " if mask == ";" else char for char, mask in zip(sql, masked, strict=True))
