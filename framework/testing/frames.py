"""Small data as DataFrames."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from framework.errors import CaseError
from framework.jobs import Dataset, Path
from framework.testing.cases import Rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\Z")
_INT = re.compile(r"[+-]?\d{1,18}\Z")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")


def frame(spark: SparkSession, rows: Rows, where: str, dataset: Dataset | None = None) -> DataFrame:
    """An input's rows. Types come from its `schema`, else from what the job declares of it, else from the values.

    Raises:
        CaseError: there is nothing to take the columns from.
    """
    declared = dataset.schema if isinstance(dataset, Path) else None
    types = _ddl(spark, declared, where) | _ddl(spark, rows.schema, where) if declared or rows.schema else {}
    if not types and not rows.columns:
        raise CaseError("there are no rows and no schema", where=where, fix="write {schema: 'column type, ...', rows: []}")
    for column in rows.columns:
        if column not in types:
            types[column] = infer([row.get(column) for row in rows.rows], text=rows.text)
    return typed(spark, rows, types)


def typed(spark: SparkSession, rows: Rows, types: Mapping[str, str]) -> DataFrame:
    """The rows with exactly these columns and types; a column that no row has is null."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import StringType, StructField, StructType

    texts = StructType([StructField(name, StringType()) for name in types])
    values = [tuple(_text(row.get(name)) for name in types) for row in rows.rows]

    def cast(name: str, kind: str) -> Column:
        column = F.col(f"`{name}`")
        nested = kind.startswith(("array", "map", "struct"))
        return (F.from_json(column, kind) if nested else column.cast(kind)).alias(name)

    return spark.createDataFrame(values, texts).select([cast(name, kind) for name, kind in types.items()])


def _ddl(spark: SparkSession, ddl: str | None, where: str) -> dict[str, str]:
    if not ddl:
        return {}
    try:
        fields = spark.createDataFrame([], ddl).schema.fields
    except Exception as exc:  # Spark's parser says what it does not understand
        reason = str(exc).strip().splitlines()[0]
        raise CaseError(f"the schema is not Spark SQL DDL: {reason}", where=where, fix="write 'a int, b string'") from exc
    return {field.name: field.dataType.simpleString() for field in fields}


def infer(values: Iterable[Any], *, text: bool) -> str:
    """The narrowest Spark type of all values; string when they have none in common.

    Args:
        text: the values are texts (of a CSV file).
    """
    kinds = {(_kind_of_text(value) if text else _kind(value)) for value in values if value is not None}
    if not kinds:
        return "string"
    if len(kinds) == 1:
        return kinds.pop()
    for chain in (("int", "bigint", "double"), ("date", "timestamp")):
        if kinds <= set(chain):
            return max(kinds, key=chain.index)
    return "string"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "int" if -(2**31) <= value < 2**31 else "bigint"
    if isinstance(value, float | decimal.Decimal):
        return "double"
    if isinstance(value, dt.datetime):
        return "timestamp"
    if isinstance(value, dt.date):
        return "date"
    return "string"


def _kind_of_text(value: str) -> str:
    if _INT.match(value):
        return _kind(int(value))
    if _FLOAT.match(value):
        return "double"
    if _DATE.match(value):
        return "date"
    if _TIMESTAMP.match(value):
        return "timestamp"
    return "boolean" if value.lower() in ("true", "false") else "string"


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat(" ") if isinstance(value, dt.datetime) else value.isoformat()
    return json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)
