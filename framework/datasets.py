"""The datasets that jobs name: a table of the catalog, files on a path, a table of a database.

They say what is meant, and read or write nothing; what is wrong with one in itself is refused where it is declared.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from framework.errors import JobDefinitionError, ParameterError, nearest

_TABLE = re.compile(r"[A-Za-z0-9_]+\.[A-Za-z0-9_]+\Z")
_PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)(?::([^{}]+))?\}")

PATH_FORMATS = ("parquet", "orc", "avro", "json", "csv")
TABLE_FORMATS = ("iceberg", "parquet", "orc", "csv", "json")
MODES = ("append", "overwrite", "overwrite_partitions", "merge")
MALFORMED = ("fail", "quarantine")
SCHEMA_CHANGES = ("fail", "add_columns", "widen")

# Trino's names for the lake: Iceberg tables, and tables in the Hive layout; each hands the other's tables on.
LAKE_CATALOG = "iceberg"
HIVE_CATALOG = "hive"
TRINO_CATALOGS = (LAKE_CATALOG, HIVE_CATALOG, "tpch", "memory", "system")
"""Trino's own catalogs; every other one is a connection."""


@dataclass(frozen=True)
class Table:
    """A table of the catalog, `database.table`.

    As an input, `where` is a predicate over its columns with `{param}` placeholders; partitions that it excludes are not
    even listed. As an output, the other attributes say how the table is created when it is not there yet and how a run's
    rows meet the rows that it has.

    Attributes:
        name: `database.table`.
        where: predicate of an input.
        partitioned_by: partition columns of an output, identity transforms.
        format: `iceberg`, or a Hive-layout format: `parquet`, `orc`, `csv`, `json`.
        mode: `append`; `overwrite` (the whole table); `overwrite_partitions` (those that the run wrote), the default of
            a partitioned output; `merge` (Iceberg: rows replace those with the same `keys`). An unpartitioned output
            defaults to `overwrite`.
        comment: description kept in the catalog.
        keys: columns that identify a row, for `merge`.
        deletes: boolean column of the job's output, for `merge`: true deletes the row with these keys. The table has no such
            column.
        schema_changes: what may happen to the columns of an existing Iceberg table: `fail`; `add_columns`; `widen` (adds
            columns, and makes int bigint, float double, a decimal longer).
        sorted_by: columns by which the rows of each file are sorted.
        target_file_mb: size of the files of a new Iceberg table.
        location: folder in HDFS of a new Hive-layout table, `hdfs:///scratch/flights` or `{scratch}/flights` with a name of
            `paths:`; by default a table lies in its database's folder.
    """

    name: str
    where: str | None = None
    partitioned_by: Sequence[str] = ()
    format: str = "iceberg"
    mode: str | None = None
    comment: str | None = None
    keys: Sequence[str] = ()
    deletes: str | None = None
    schema_changes: str = "fail"
    sorted_by: Sequence[str] = ()
    target_file_mb: int | None = None
    location: str | None = None

    def __post_init__(self) -> None:
        if not is_table_name(self.name):
            raise JobDefinitionError(f"Table({self.name!r}): a table is named database.table")
        if self.format not in TABLE_FORMATS:
            raise JobDefinitionError(f"Table({self.name!r}): unknown format {self.format!r}", fix=nearest(self.format, TABLE_FORMATS))
        _check_output(self, f"Table({self.name!r})", "partitioned_by", "keys", "sorted_by")
        if self.schema_changes not in SCHEMA_CHANGES:
            raise JobDefinitionError(
                f"Table({self.name!r}): unknown schema_changes {self.schema_changes!r}", fix=nearest(self.schema_changes, SCHEMA_CHANGES)
            )
        if self.format != "iceberg" and (self.schema_changes != "fail" or self.mode == "merge" or self.target_file_mb):
            raise JobDefinitionError(
                f"Table({self.name!r}): merge, schema_changes and target_file_mb need format iceberg, not {self.format}"
            )
        if self.location and self.format == "iceberg":
            raise JobDefinitionError(
                f"Table({self.name!r}): an Iceberg table lies in its database's folder", fix="remove location, or use format='parquet'"
            )
        if (self.mode == "merge") != bool(self.keys):
            raise JobDefinitionError(
                f"Table({self.name!r}): mode merge and keys go together", fix="write mode='merge', keys=['column', ...]"
            )
        if self.deletes and self.mode != "merge":
            raise JobDefinitionError(f"Table({self.name!r}): deletes needs mode merge")
        if self.mode == "overwrite_partitions" and not self.partitioned_by:
            raise JobDefinitionError(f"Table({self.name!r}): mode overwrite_partitions needs partitioned_by")

    @property
    def database(self) -> str:
        return self.name.split(".")[0].lower()

    @property
    def table(self) -> str:
        return self.name.split(".")[1].lower()

    @property
    def write_mode(self) -> str:
        """The declared mode, or the default that fits the partitioning."""
        return self.mode or ("overwrite_partitions" if self.partitioned_by else "overwrite")

    @property
    def identity(self) -> str:
        """What no other dataset has."""
        return self.name.lower()

    def describe(self) -> str:
        return self.name


@dataclass(frozen=True)
class Newest:
    """Which of several rows of one key is meant: the one with the greatest `by`. Rows without a key all stay.

    Attributes:
        keys: columns that identify a row.
        by: column that orders the rows of one key; null is the oldest.
    """

    keys: Sequence[str]
    by: str

    def __post_init__(self) -> None:
        if isinstance(self.keys, str) or not self.keys:
            raise JobDefinitionError("Newest: keys must be a list of columns", fix="write Newest(keys=['id'], by='updated_at')")
        object.__setattr__(self, "keys", tuple(self.keys))


@dataclass(frozen=True)
class Path:
    """Files below an EMRFS-compatible URI: `s3://`, `s3a://`, `s3n://`, `hdfs://`, `file://`.

    Attributes:
        uri: with `{param}` and `{name}` placeholders, the latter from `paths:` of the configuration.
        format: parquet, orc, avro, json (one object a line) or csv.
        schema: columns as in Spark SQL DDL, `origin string, temp double`. Required for json and csv: a schema that is
            guessed from the data changes with the data.
        options: reader options of the format (`header`, `sep`, ...).
        malformed: what becomes of json and csv records that do not parse: `fail` ends the job with file and line;
            `quarantine` sets them aside on the state prefix, with reason and file, and counts them in the run's record.
        max_malformed: share of the records (0 to 1) above which a job with `quarantine` ends after all.
        dedupe: which of several records of one key is read.
    """

    uri: str
    format: str = "parquet"
    schema: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    malformed: str = "fail"
    max_malformed: float = 0.01
    dedupe: Newest | None = None

    def __post_init__(self) -> None:
        if self.malformed not in MALFORMED:
            raise JobDefinitionError(f"Path({self.uri!r}): unknown malformed {self.malformed!r}", fix=nearest(self.malformed, MALFORMED))
        if self.malformed == "quarantine" and self.format not in ("json", "csv"):
            raise JobDefinitionError(f"Path({self.uri!r}): {self.format} files have no records that could be set aside, only json and csv")
        if not 0 <= self.max_malformed <= 1:
            raise JobDefinitionError(f"Path({self.uri!r}): max_malformed is a share from 0 to 1, not {self.max_malformed}")
        if self.format not in PATH_FORMATS:
            raise JobDefinitionError(f"Path({self.uri!r}): unknown format {self.format!r}", fix=nearest(self.format, PATH_FORMATS))
        if self.format in ("json", "csv") and not self.schema:
            raise JobDefinitionError(
                f"Path({self.uri!r}): format {self.format} needs a schema", fix="add schema='column type, ...' with Spark SQL types"
            )

    def describe(self) -> str:
        return self.uri


@dataclass(frozen=True)
class Jdbc:
    """A table of an operational database.

    As an output, `mode`, `keys`, `deletes`, `partitioned_by` and `types` say how a run's rows meet those of the table; the
    other attributes are an input's.

    Attributes:
        connection: an entry of `connections:` in the configuration.
        table: `table` or `schema.table`.
        where: predicate in the database's own SQL with `{param}` placeholders; runs in the database.
        fetch_size: rows a round trip.
        split_by: column by whose quantiles a large read is split over several connections; without it the table's pages
            (PostgreSQL) or its primary key.
        types: Spark SQL types of columns that are to be read otherwise than Spark maps them; `string` gives any value as the
            database writes it, a numeric NaN or an infinite date too. Of an output: the database's own types of columns of a
            table that the first run makes.
        watermark: column that grows with every change: a run reads what is above the greatest value that the last
            published run of the same job and parameters has read, and rows where it is null.
        lookback: how far below that value a run begins, for changes that are committed late: a timedelta, or a number.
        dedupe: which of several rows of one key is read.
        mode: `append` (once for each set of parameters); `overwrite` (all rows); `overwrite_partitions` (those with the values of
            `partitioned_by` that the run gives); `merge` (rows replace those with the same `keys`). Without it: merge where
            there are keys, else overwrite_partitions where there is a partitioning, else overwrite.
        keys: columns that identify a row, for `merge`; the table needs a unique index over them.
        deletes: boolean column of the job's output, for `merge`: true deletes the row with these keys. The table has no such
            column.
        partitioned_by: columns whose values say which rows a run replaces.
    """

    connection: str
    table: str
    where: str | None = None
    fetch_size: int = 10_000
    split_by: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    watermark: str | None = None
    lookback: dt.timedelta | int | None = None
    dedupe: Newest | None = None
    mode: str | None = None
    keys: Sequence[str] = ()
    deletes: str | None = None
    partitioned_by: Sequence[str] = ()

    def __post_init__(self) -> None:
        what = f"Jdbc({self.connection!r}, {self.table!r})"
        if self.lookback is not None and not self.watermark:
            raise JobDefinitionError(f"{what}: lookback needs a watermark")
        _check_output(self, what, "keys", "partitioned_by")
        if (self.write_mode == "merge") != bool(self.keys):
            raise JobDefinitionError(f"{what}: mode merge and keys go together", fix="write keys=['column', ...]")
        if self.deletes and self.write_mode != "merge":
            raise JobDefinitionError(f"{what}: deletes needs mode merge")
        if (self.write_mode == "overwrite_partitions") != bool(self.partitioned_by):
            raise JobDefinitionError(f"{what}: mode overwrite_partitions and partitioned_by go together")

    @property
    def name(self) -> str:
        """`connection.table`, or `connection.schema.table`."""
        return f"{self.connection}.{self.table}"

    @property
    def identity(self) -> str:
        """What no other dataset has; `public` is where PostgreSQL looks when no schema is named."""
        return f"jdbc/{self.connection}.{self.table.removeprefix('public.')}".lower()

    @property
    def format(self) -> str:
        return "jdbc"

    @property
    def write_mode(self) -> str:
        """The declared mode, or the default that fits keys and partitioning."""
        return self.mode or ("merge" if self.keys else "overwrite_partitions" if self.partitioned_by else "overwrite")

    def describe(self) -> str:
        return self.name


def _check_output(output: Table | Jdbc, what: str, *lists: str) -> None:
    """The mode is one, and attributes that list columns become tuples.

    Raises:
        JobDefinitionError: it is none, or one of them is a text.
    """
    if output.mode is not None and output.mode not in MODES:
        raise JobDefinitionError(f"{what}: unknown mode {output.mode!r}", fix=nearest(output.mode, MODES))
    for attribute in lists:
        columns = getattr(output, attribute)
        if isinstance(columns, str):
            raise JobDefinitionError(f"{what}: {attribute} must be a list of columns", fix=f"write [{columns!r}]")
        object.__setattr__(output, attribute, tuple(columns))


Dataset: TypeAlias = Table | Path | Jdbc
Output: TypeAlias = Table | Jdbc


def is_table_name(name: str) -> bool:
    """True for `database.table`."""
    return bool(_TABLE.match(name))


def placeholders(text: str) -> list[str]:
    """Names in `{braces}`, in order."""
    return [match[1] for match in _PLACEHOLDER.finditer(text)]


def fill(text: str, values: Mapping[str, object], *, what: str, where: str | None = None) -> str:
    """A path with its placeholders filled in; dates as 2013-03-08, or as `{date:%Y/%m/%d}` says.

    Raises:
        ParameterError: a placeholder has no value.
    """

    def one(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ParameterError(
                f"{what}: {{{match[1]}}} is neither a parameter of the job nor an entry of `paths:` in the configuration",
                where=where,
                fix=nearest(match[1], values, what="such name"),
            )
        try:
            return format(values[match[1]], match[2] or "")
        except ValueError as exc:
            raise ParameterError(f"{what}: {match[0]} is not a format for {values[match[1]]!r}", where=where) from exc

    return _PLACEHOLDER.sub(one, text)
