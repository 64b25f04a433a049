"""Filter expressions of GetPartitions, compiled into a predicate over a partition's values.

The language (Glue Web API, GetPartitions, Expression): comparisons, AND, OR, NOT, IN, BETWEEN, LIKE and IS NULL on partition
keys of the types string, date, timestamp, int, bigint, long, tinyint, smallint, decimal (and char, varchar, which count as
string). Errors carry the codes and words of real Glue as moto's tests record them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from framework.local.aws.answers import ApiError

Values = Sequence[str]
# None is SQL's unknown: what a comparison with NULL gives.
_Condition = Callable[[Values], bool | None]

# How Hive spells a NULL in a partition's value.
_NULL = "__HIVE_DEFAULT_PARTITION__"
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<number>[+-]?\d+(?:\.\d+)?(?![\w.]))
    | (?P<name>`[^`]+`|[\w.$]+)
    | (?P<symbol><>|!=|>=|<=|[=<>(),])
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<>": operator.ne, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_INTEGERS = ("tinyint", "smallint", "int", "integer", "bigint", "long")
_TEXTS = ("string", "char", "varchar")


def compile_filter(expression: str, keys: Sequence[tuple[str, str]]) -> Callable[[Values], bool]:
    """The predicate that `expression` means for a table whose partition columns are `keys`, (name, type) in order.

    Raises:
        ApiError: InvalidInputException, for what is no expression, names no partition column, or compares with a literal that is not
            of the column's type. The predicate raises InvalidStateException for a partition whose own value is not of its type.
    """
    parser = _Parser(expression, keys)
    condition = parser.parse()
    return lambda values: condition(values) is True


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    def is_word(self, *words: str) -> bool:
        return self.kind == "name" and self.text.lower() in words


class _Column:
    """A partition column: its place, and its values converted once per distinct text."""

    def __init__(self, index: int, type_name: str) -> None:
        self._index = index
        self.type = type_name.split("(", 1)[0].strip().lower()
        self._converted: dict[str, Any] = {_NULL: None}

    def value(self, values: Values) -> Any:
        text = values[self._index]
        try:
            return self._converted[text]
        except KeyError:
            pass
        try:
            converted = self._converted[text] = _convert(self.type, text)
        except ValueError as error:
            raise ApiError("InvalidStateException", str(error)) from error
        return converted

    def literal(self, text: str) -> Any:
        try:
            return _convert(self.type, text)
        except ValueError as error:
            raise _invalid(str(error)) from error


class _Parser:
    """Recursive descent: OR binds weakest, then AND, then NOT. Keywords are words, so columns may be named like them."""

    def __init__(self, expression: str, keys: Sequence[tuple[str, str]]) -> None:
        self._expression = expression
        self._columns: Mapping[str, _Column] = {name.lower(): _Column(index, kind) for index, (name, kind) in enumerate(keys)}
        self._tokens = self._split(expression)
        self._at = 0

    def parse(self) -> _Condition:
        condition = self._or()
        if self._at != len(self._tokens):
            raise self._unsupported()
        return condition

    def _split(self, text: str) -> list[_Token]:
        tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise self._unsupported()
            tokens.append(_Token(match.lastgroup, match.group(match.lastgroup)))
            at = match.end()
        return tokens

    def _or(self) -> _Condition:
        operands = [self._and()]
        while self._take_word("or"):
            operands.append(self._and())
        return operands[0] if len(operands) == 1 else _any(operands)

    def _and(self) -> _Condition:
        operands = [self._not()]
        while self._take_word("and"):
            operands.append(self._not())
        return operands[0] if len(operands) == 1 else _all(operands)

    def _not(self) -> _Condition:
        # `not` is a column here if a comparison follows.
        if self._peek().is_word("not") and self._peek(1).kind in ("name", "symbol") and self._peek(1).text not in _COMPARISONS:
            self._at += 1
            return _negated(self._not())
        return self._primary()

    def _primary(self) -> _Condition:
        if self._peek().text != "(" or self._peek().kind != "symbol":
            return self._predicate()
        if self._is_column_in_parentheses():
            return self._predicate()
        self._at += 1
        condition = self._or()
        self._expect(")")
        return condition

    def _is_column_in_parentheses(self) -> bool:
        depth = 0
        while self._peek(depth).text == "(":
            depth += 1
        return self._peek(depth).kind == "name" and all(self._peek(depth + number).text == ")" for number in range(1, depth + 1))

    def _predicate(self) -> _Condition:
        column = self._column()
        token = self._next()
        if token.kind == "symbol" and token.text in _COMPARISONS:
            return _comparison(_COMPARISONS[token.text], column, column.literal(self._literal()))
        if token.is_word("is"):
            negated = self._take_word("not")
            self._expect_word("null")
            return lambda values: (column.value(values) is None) is not negated
        negated = token.is_word("not")
        if negated:
            token = self._next()
        condition = self._membership(column, token)
        return _negated(condition) if negated else condition

    def _membership(self, column: _Column, token: _Token) -> _Condition:
        if token.is_word("in"):
            self._expect("(")
            members = {column.literal(self._literal())}
            while self._take(","):
                members.add(column.literal(self._literal()))
            self._expect(")")
            return _comparison(lambda value, _: value in members, column, None)
        if token.is_word("between"):
            low = column.literal(self._literal())
            self._expect_word("and")
            high = column.literal(self._literal())
            return _comparison(lambda value, _: low <= value <= high, column, None)
        if token.is_word("like"):
            return _like(column, self._literal())
        raise self._unsupported()

    def _column(self) -> _Column:
        if self._take("("):
            column = self._column()
            self._expect(")")
            return column
        token = self._next()
        if token.kind not in ("name", "number"):
            raise self._unsupported()
        name = token.text.strip("`").lower()
        column_found = self._columns.get(name) or self._columns.get(name.rpartition(".")[2])
        if column_found is None:
            raise _invalid("Invalid partition expression!")
        return column_found

    def _literal(self) -> str:
        """The text of a literal; of numbers too, as the column's type says what it means."""
        if self._take("("):
            text = self._literal()
            self._expect(")")
            return text
        token = self._next()
        if token.is_word("date", "timestamp"):  # DATE '2013-01-01'
            token = self._next()
        if token.kind == "string":
            quote = token.text[0]
            return token.text[1:-1].replace(quote * 2, quote)
        if token.kind == "number":
            return token.text
        raise self._unsupported()

    def _peek(self, ahead: int = 0) -> _Token:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else _Token("end", "")

    def _next(self) -> _Token:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, symbol: str) -> bool:
        found = self._peek().kind == "symbol" and self._peek().text == symbol
        self._at += found
        return found

    def _take_word(self, word: str) -> bool:
        found = self._peek().is_word(word)
        self._at += found
        return found

    def _expect(self, symbol: str) -> None:
        if not self._take(symbol):
            raise self._unsupported()

    def _expect_word(self, word: str) -> None:
        if not self._take_word(word):
            raise self._unsupported()

    def _unsupported(self) -> ApiError:
        return _invalid(f"Unsupported expression '{self._expression}'")


def _convert(type_name: str, text: str) -> Any:
    """A value of the column's type.

    Raises:
        ValueError: the text is none.
        ApiError: partition columns of this type cannot be filtered.
    """
    if type_name in _TEXTS:
        return text
    if type_name in _INTEGERS:
        try:
            return int(text)
        except ValueError:
            raise ValueError(f'"{text}" is not an integer.') from None
    if type_name == "decimal":
        try:
            return Decimal(text)
        except InvalidOperation:
            raise ValueError(f"{text} is not a decimal.") from None
    if type_name == "date":
        try:
            return date.fromisoformat(text) if len(text) == 10 else _no_date(text)
        except ValueError:
            return _no_date(text)
    if type_name == "timestamp":
        return _timestamp(text)
    raise _invalid(f"Unknown type : '{type_name}'")


def _no_date(text: str) -> date:
    raise ValueError(f"{text} is not a date.")


def _timestamp(text: str) -> tuple[datetime, int]:
    """(second, nanoseconds)."""
    problem = f"Timestamp format must be yyyy-mm-dd hh:mm:ss[.fffffffff] {text} is not a timestamp."
    match = re.fullmatch(r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?", text)
    if match is None:
        raise ValueError(problem)
    try:
        second = datetime.strptime(match.group(1), "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise ValueError(problem) from None
    return second, int((match.group(2) or "").ljust(9, "0"))


def _comparison(compare: Callable[[Any, Any], bool], column: _Column, literal: Any) -> _Condition:
    def condition(values: Values) -> bool | None:
        value = column.value(values)
        return None if value is None else compare(value, literal)

    return condition


def _like(column: _Column, pattern: str) -> _Condition:
    if column.type not in _TEXTS:
        kind = "Integral" if column.type in _INTEGERS else column.type.capitalize()
        raise _invalid(f"{kind} data type doesn't support operation 'LIKE'")
    expression = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern)
    matches = re.compile(expression, re.DOTALL).fullmatch
    return _comparison(lambda value, _: matches(value) is not None, column, None)


def _all(operands: Sequence[_Condition]) -> _Condition:
    def condition(values: Values) -> bool | None:
        result: bool | None = True
        for operand in operands:
            holds = operand(values)
            if holds is False:
                return False
            if holds is None:
                result = None
        return result

    return condition


def _any(operands: Sequence[_Condition]) -> _Condition:
    def condition(values: Values) -> bool | None:
        result: bool | None = False
        for operand in operands:
            holds = operand(values)
            if holds:
                return True
            if holds is None:
                result = None
        return result

    return condition


def _negated(operand: _Condition) -> _Condition:
    def condition(values: Values) -> bool | None:
        holds = operand(values)
        return None if holds is None else not holds

    return condition


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidInputException", message)
