"""Trino's types beside Arrow's: how each value comes from the one to the other without a loss."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlglot import exp

from framework.errors import UserError
from framework.publish.trino import Column

_PLAIN = {
    "BOOLEAN": pa.bool_(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "VARBINARY": pa.binary(),
    "DATE": pa.date32(),
}
# Iceberg has none of these; the value comes as the second type.
_NARROW = {
    "TINYINT": (pa.int8(), "integer"),
    "SMALLINT": (pa.int16(), "integer"),
    "CHAR": (pa.string(), "varchar"),
    "UUID": (pa.string(), "varchar"),
}
_MICROSECONDS = 6


@dataclass(frozen=True)
class Field:
    """One column of a result.

    Attributes:
        type: in Arrow.
        trino_type: as Trino writes it.
        stored: the SQL that turns it (as {}) into what a file can hold and Arrow makes the type of; None: as it is.
        cast: the client has no exact value for it either, so that the SQL is needed on both ways.
    """

    name: str
    type: pa.DataType
    trino_type: str
    stored: str | None = None
    cast: bool = False

    def expression(self, column: str) -> str:
        """The column as it is asked for."""
        return self.stored.format(column) if self.stored else column

    def array(self, values: Sequence[Any]) -> pa.Array:
        """The client's values."""
        if self.cast:
            return self.finished(pa.chunked_array([pa.array(values, pa.string())])).combine_chunks()
        convert = _converter(self.type)
        return pa.array([convert(value) for value in values] if convert else values, self.type)

    def finished(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column as a file holds it, in the type of the field."""
        return column if column.type == self.type else column.cast(self.type)


def fields_of(columns: Sequence[Column]) -> list[Field]:
    """The columns of a query.

    Raises:
        UserError: one has no type.
    """
    fields = []
    for column in columns:
        if column.type == "unknown":
            raise UserError(f"column {column.name} has no type", fix=f"write CAST(NULL AS varchar) AS {column.name}")
        fields.append(_field(column.name, column.type))
    return fields


def _field(name: str, trino_type: str) -> Field:
    parsed = exp.DataType.build(trino_type, dialect="trino", udt=True)
    kind = _kind(parsed)
    precision = _precision(parsed, 3)
    if kind == "TIMESTAMP" and _MICROSECONDS < precision <= 9:
        # Texts of the length that Arrow reads as nanoseconds.
        return Field(name, pa.timestamp("ns"), trino_type, "CAST({} AS varchar)", cast=True)
    found = _exact(parsed)
    if found is not None:
        arrow, stored = found
        needs = stored.lower() != trino_type.lower()
        return Field(name, arrow, trino_type, f"CAST({{}} AS {stored})" if needs else None)
    if kind in ("ARRAY", "MAP", "STRUCT", "JSON"):
        return Field(name, pa.string(), trino_type, "json_format(CAST({} AS json))", cast=True)
    return Field(name, pa.string(), trino_type, "CAST({} AS varchar)", cast=True)


def _exact(parsed: exp.DataType) -> tuple[pa.DataType, str] | None:
    """The type in Arrow, and in Trino one that an Iceberg table holds; None where values would lose something."""
    kind = _kind(parsed)
    if kind in _PLAIN:
        return _PLAIN[kind], parsed.sql("trino")
    if kind in _NARROW:
        return _NARROW[kind]
    if kind == "DECIMAL":
        precision, scale = (int(part.name) for part in parsed.expressions) if parsed.expressions else (38, 0)
        return pa.decimal128(precision, scale), parsed.sql("trino").replace(", ", ",")
    if kind in ("TIMESTAMP", "TIMESTAMPTZ", "TIME"):
        if _precision(parsed, 3) > _MICROSECONDS:
            return None
        return {"TIMESTAMP": pa.timestamp("us"), "TIMESTAMPTZ": pa.timestamp("us", "UTC"), "TIME": pa.time64("us")}[kind], parsed.sql(
            "trino"
        )
    if kind == "ARRAY":
        item = _exact(parsed.expressions[0])
        return item and (pa.list_(item[0]), f"array({item[1]})")
    if kind == "MAP":
        parts = [_exact(part) for part in parsed.expressions]
        return (pa.map_(parts[0][0], parts[1][0]), f"map({parts[0][1]},{parts[1][1]})") if parts[0] and parts[1] else None
    if kind == "STRUCT":
        return _struct(parsed)
    return None


def _struct(parsed: exp.DataType) -> tuple[pa.DataType, str] | None:
    names, kinds = [], []
    for part in parsed.expressions:
        found = _exact(part.args["kind"]) if isinstance(part, exp.ColumnDef) else None
        if found is None:  # without a name, or of such a type
            return None
        names.append(part.name)
        kinds.append(found)
    described = ", ".join('"{}" {}'.format(name.replace('"', '""'), kind[1]) for name, kind in zip(names, kinds, strict=True))
    return pa.struct([(name, kind[0]) for name, kind in zip(names, kinds, strict=True)]), f"row({described})"


def _kind(parsed: exp.DataType) -> str:
    return str(getattr(parsed.this, "name", parsed.this)).upper()


def _precision(parsed: exp.DataType, default: int) -> int:
    return int(parsed.expressions[0].name) if parsed.expressions and isinstance(parsed.expressions[0], exp.DataTypeParam) else default


def _converter(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """From the client's Python value to one that Arrow takes; None where it is one already."""
    if pa.types.is_string(kind):
        return lambda value: str(value) if isinstance(value, uuid.UUID) else value
    if pa.types.is_list(kind):
        if (each := _converter(kind.value_type)) is None:
            return None
        return lambda values: None if values is None else [each(value) for value in values]
    if pa.types.is_map(kind):
        key, item = _converter(kind.key_type) or _same, _converter(kind.item_type) or _same
        return lambda values: None if values is None else [(key(one), item(value)) for one, value in values.items()]
    if pa.types.is_struct(kind):
        parts = [(field.name, _converter(field.type) or _same) for field in kind]
        return lambda row: None if row is None else {name: part(value) for (name, part), value in zip(parts, row, strict=True)}
    return None


def _same(value: Any) -> Any:
    return value
