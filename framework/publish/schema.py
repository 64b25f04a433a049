"""Does a job's output fit its table? Decided before anything is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from framework.catalog import Column
from framework.errors import BadData, SchemaMismatch, nearest
from framework.jobs import Output

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A value of the first type is exactly a value of each later one (Spark's store assignment, without its lossy part).
_WIDENINGS = (("tinyint", "smallint", "int", "bigint"), ("float", "double"))
_VOID = re.compile(r"(^|[<:,])void($|[>,])")
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")


def columns_of(frame: DataFrame) -> tuple[Column, ...]:
    """The frame's columns with types as the catalog writes them.

    Raises:
        SchemaMismatch: a column has no type (a bare NULL).
    """
    columns = []
    for field in frame.schema.fields:
        kind = field.dataType.simpleString()
        if _VOID.search(kind):
            raise SchemaMismatch(
                f"column {field.name} has no type", fix=f"cast it in the job: lit(None).cast('string').alias({field.name!r})"
            )
        # Hive and Glue know one timestamp.
        columns.append(Column(field.name.lower(), kind.replace("timestamp_ntz", "timestamp")))
    return tuple(columns)


def check_partitioning(columns: Sequence[Column], output: Output) -> None:
    """A new table's partition columns are among the job's columns.

    Raises:
        SchemaMismatch: one is not.
    """
    check_named(output.partitioned_by, [column.name for column in columns], output.name, "partitioned")


def check_merging(given: Iterable[str], output: Output) -> None:
    """The keys, and the column that marks deletions, are among the job's columns.

    Args:
        given: their names in lower case.

    Raises:
        SchemaMismatch: one is not.
    """
    check_named([*output.keys, *([output.deletes] if output.deletes else [])], given, output.name, "merged")


def check_named(names: Iterable[str], given: Iterable[str], table: str, what: str) -> None:
    """What a declaration names is among the job's columns.

    Args:
        given: the job's columns, in lower case.
        what: what is done to the table by the columns, `partitioned`.

    Raises:
        SchemaMismatch: one is not.
    """
    known = list(given)
    for name in names:
        if name.lower() not in known:
            raise SchemaMismatch(
                f"the job's output has no column {name}, by which {table} is {what}", fix=nearest(name.lower(), known, what="column")
            )


def bad_keys(table: str, keys: Sequence[str], found: Iterable[Sequence[Any]]) -> BadData:
    """The refusal of rows that cannot be merged.

    Args:
        found: some of the keys that are null or not unique, each as its values and the number of its rows.
    """
    return BadData(
        f"the job's output has keys ({', '.join(keys)}) that are null or not unique; {table} cannot be merged by them",
        details=[", ".join(f"{key}={value!r}" for key, value in zip(keys, row[:-1], strict=True)) + f": {row[-1]} rows" for row in found],
        fix="let the job give one row a key; in a Spark job `dedupe` of an input keeps the newest of several",
    )


def fits(source: str, target: str) -> bool:
    """True when every value of `source` is exactly a value of `target`."""
    # Hive's bare decimal is decimal(10,0).
    source, target = (re.sub(r"^decimal$", "decimal(10,0)", kind.replace(" ", "").lower()) for kind in (source, target))
    if source == target or {source, target} == {"timestamp", "timestamp_ntz"}:
        return True
    for chain in _WIDENINGS:
        if source in chain and target in chain:
            return chain.index(source) <= chain.index(target)
    if target == "string" and source.startswith(("varchar", "char")):
        return True
    narrow, wide = _DECIMAL.fullmatch(source), _DECIMAL.fullmatch(target)
    if narrow and wide:
        digits = [int(match[1]) - int(match[2]) for match in (narrow, wide)]
        return digits[0] <= digits[1] and int(narrow[2]) <= int(wide[2])
    return False


def widens(source: str, target: str) -> bool:
    """True when an Iceberg column can become `target` without a rewrite (Iceberg, Schema Evolution: int to long, float to double,
    decimal to more digits with the same scale)."""
    if (source, target) in (("int", "bigint"), ("float", "double")):
        return True
    narrow, wide = _DECIMAL.fullmatch(source), _DECIMAL.fullmatch(target)
    return bool(narrow and wide and int(narrow[2]) == int(wide[2]) and int(narrow[1]) < int(wide[1]))


def evolution(given: Sequence[Column], present: Sequence[Column], policy: str) -> tuple[Column, ...]:
    """Columns that a table gets, or gets wider, so that it holds what a job gives.

    Args:
        policy: the output's `schema_changes`.

    Returns:
        Each with its new type. Nothing when the job does not give all of the table's columns: it is refused anyway.
    """
    given_names, known = {column.name for column in given}, {column.name.lower(): column.type for column in present}
    if policy == "fail" or known.keys() - given_names:
        return ()
    return tuple(
        column
        for column in given
        if column.name not in known
        or (policy == "widen" and not fits(column.type, known[column.name]) and widens(known[column.name], column.type))
    )


def evolved(present: Sequence[Column], changes: Sequence[Column]) -> list[Column]:
    """The table's columns when it has changed."""
    wanted = {column.name: column for column in present} | {column.name: column for column in changes}
    return list(wanted.values())


def check_fit(given: Mapping[str, str], wanted: Mapping[str, str], table: str, *, as_spark: Callable[[str], str] = str) -> None:
    """The columns that a job gives are those of its table.

    Args:
        given, wanted: types by lower-case names, in the engine's own words.
        as_spark: the type in Spark's words.

    Raises:
        SchemaMismatch: a column is missing, unknown, or of a type that does not fit.
    """
    problems = [
        f"{name}: the job gives {given[name]}, the table has {kind}"
        for name, kind in wanted.items()
        if name in given and not fits(as_spark(given[name]), as_spark(kind))
    ]
    problems += [f"{name}: the table has it ({kind}), the job does not give it" for name, kind in wanted.items() if name not in given]
    problems += [
        f"{name}: the job gives it ({given[name]}), the table does not have it; {nearest(name, wanted)}"
        for name in given
        if name not in wanted
    ]
    if problems:
        raise SchemaMismatch(
            f"the job's output does not fit table {table}",
            details=problems,
            fix="change the job's columns or casts, or publish to another table",
        )


def align(frame: DataFrame, table: str, columns: Sequence[Column]) -> DataFrame:
    """The frame with the table's columns, in the table's order and types.

    Raises:
        SchemaMismatch: a column is missing, unknown, or of a type that does not fit.
    """
    from pyspark.sql import functions as F

    given = {column.name: column.type for column in columns_of(frame)}
    wanted = {column.name.lower(): column.type for column in columns}
    check_fit(given, wanted, table)
    if [(field.name, field.dataType.simpleString()) for field in frame.schema] == list(wanted.items()):
        return frame
    return frame.select([F.col(f"`{name}`").cast(kind.replace("timestamp_ntz", "timestamp")).alias(name) for name, kind in wanted.items()])
