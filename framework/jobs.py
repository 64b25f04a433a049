"""The job model: what a job declares, and nothing that runs it.

A job names the datasets it reads and the one table it writes; its body is pure. This module imports neither pyspark nor
boto3, so that listing and planning jobs is fast and works everywhere.
"""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from framework.errors import JobDefinitionError, ParameterError, nearest

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_TABLE = re.compile(r"[A-Za-z0-9_]+\.[A-Za-z0-9_]+\Z")
_PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)(?::([^{}]+))?\}")

ParamValue: TypeAlias = dt.date | int | str
Params: TypeAlias = Mapping[str, ParamValue]

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


class EngineKind(enum.StrEnum):
    """What executes a job's body."""

    SPARK = "spark"
    SPARK_SQL = "spark_sql"
    TRINO = "trino"

    @property
    def label(self) -> str:
        """Its name, for people."""
        return "Trino" if self is EngineKind.TRINO else "Spark"


@dataclass(frozen=True)
class Param:
    """A typed parameter of a job.

    Attributes:
        type: `datetime.date` (written 2013-03-08), `int`, `str` or an `enum.Enum` subclass with string values.
        default: used when the run does not give the parameter; without one the parameter is required.
        help: one line for `emrjobs jobs` and `emrjobs plan`.
    """

    type: type[Any]
    default: Any = None
    help: str = ""

    def __post_init__(self) -> None:
        known = self.type in (dt.date, int, str) or (isinstance(self.type, type) and issubclass(self.type, enum.Enum))
        if not known:
            raise JobDefinitionError(
                f"a parameter's type must be date, int, str or an Enum, not {getattr(self.type, '__name__', self.type)}"
            )
        if issubclass(self.type, enum.Enum) and not all(isinstance(member.value, str) and member.value for member in self.type):
            raise JobDefinitionError(f"the values of {self.type.__name__} must be texts", fix='write RED = "red"')
        if self.default is not None:
            object.__setattr__(self, "default", self.parse("default", self.default))

    @property
    def type_name(self) -> str:
        """The type as a user writes it: `date`, `int`, `str` or `a|b|c` for an enum."""
        if issubclass(self.type, enum.Enum):
            return "|".join(str(member.value) for member in self.type)
        return str(self.type.__name__)

    def parse(self, name: str, value: Any) -> ParamValue:
        """Turn what the user gave into a value of the parameter's type.

        Raises:
            ParameterError: it is not one.
        """
        try:
            return self._convert(value)
        except (ValueError, TypeError) as exc:
            example = {"date": " like 2013-03-08", "int": " like 7"}.get(self.type_name, "")
            allowed = self.type_name if issubclass(self.type, enum.Enum) else ""
            expected = f"one of {allowed.replace('|', ', ')}" if allowed else _article(self.type_name)
            raise ParameterError(f"parameter {name}: {str(value)!r} is not {expected}{example}") from exc

    def _convert(self, value: Any) -> ParamValue:
        if issubclass(self.type, enum.Enum):
            raw = value.value if isinstance(value, enum.Enum) else value
            return str(self.type(raw).value)
        if self.type is dt.date:
            if isinstance(value, dt.datetime):
                return value.date()
            return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value).strip())
        if self.type is int:
            if isinstance(value, bool):
                raise ValueError(value)
            return int(str(value).strip())
        text = str(value)
        text.encode()  # an argument that is not UTF-8 arrives with lone surrogates, which nothing downstream can write
        return text


def _article(type_name: str) -> str:
    return f"{'an' if type_name[0] in 'aeiou' else 'a'} {type_name}"


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


@dataclass(frozen=True)
class Sql:
    """The body of a SQL job.

    Attributes:
        text: the file exactly as it is, header included, so that engines report the user's line numbers. Parameters
            stand in it as `{name}`; `framework.predicates` turns them into what the engine binds.
        dialect: what it is written in; another one than the engine's own is translated.
        session: session properties of the engine, for this statement.
    """

    text: str
    dialect: str = "spark"
    session: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One job as declared, whatever engine executes it.

    Attributes:
        name: unique in the project.
        engine: what executes the body.
        inputs: datasets by the name that the body uses.
        output: the table it publishes to, of the lake or of a database.
        params: declared parameters.
        checks: suite in configs/checks/, without `.yaml`.
        body: the Python function, or the SQL statement.
        file: source file, relative to the project; `line` is where the job starts.
        description: first line of the docstring or of the header.
    """

    name: str
    engine: EngineKind
    inputs: Mapping[str, Dataset]
    output: Output
    params: Mapping[str, Param]
    checks: str | None
    body: Callable[..., Any] | Sql
    file: str
    line: int
    description: str = ""

    @property
    def where(self) -> str:
        """`file:line` for messages."""
        return f"{self.file}:{self.line}"

    @property
    def connections(self) -> set[str]:
        """Names of the connections that its declared inputs and its output are of."""
        return {dataset.connection for dataset in (*self.inputs.values(), self.output) if isinstance(dataset, Jdbc)}

    def reads(self) -> list[str]:
        """Identities of the tables that it reads: what another job may write."""
        return [dataset.identity for dataset in self.inputs.values() if isinstance(dataset, Table | Jdbc)]

    def suite_file(self, root: FilePath) -> FilePath | None:
        """The file of its checks, None when it has none."""
        return root / "configs" / "checks" / f"{self.checks}.yaml" if self.checks else None

    def bind(self, given: Mapping[str, Any]) -> dict[str, ParamValue]:
        """Check and convert the parameters of one run, defaults filled in.

        Raises:
            ParameterError: one is unknown, missing or not of its type.
        """
        for name in given:
            if name not in self.params:
                raise ParameterError(
                    f"job {self.name} has no parameter {name!r}", where=self.where, fix=nearest(name, self.params, what="parameter")
                )
        values: dict[str, ParamValue] = {}
        for name, param in self.params.items():
            if name in given and given[name] is not None:
                values[name] = param.parse(name, given[name])
            elif param.default is not None:
                values[name] = param.default
            else:
                raise ParameterError(
                    f"job {self.name} needs the parameter {name} ({param.type_name})",
                    where=self.where,
                    fix=f"give it: emrjobs run {self.name} -p {name}=...  (make run JOB={self.name} {name.upper()}=...)",
                )
        return values

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the body with plain DataFrames, as a unit test does."""
        if not callable(self.body):
            raise TypeError(f"job {self.name} is SQL; run it, or execute its text")
        return self.body(*args, **kwargs)


def job(
    *,
    inputs: Mapping[str, Dataset],
    output: Output,
    params: Mapping[str, Param | type[Any]] | None = None,
    checks: str | None = None,
    name: str | None = None,
    engine: str = "spark",
) -> Callable[[Callable[..., Any]], Job]:
    """Declare a job in Python.

    With engine `spark` the decorated function gets one DataFrame per input and returns the output's rows: its arguments are the
    names of `inputs`; a keyword-only argument may name a parameter. What it decorates stays callable with plain DataFrames.

    With engine `trino` it gets a `TrinoSession` (framework.engines.trino.session), by which it may look at the data, and returns
    the SQL of the output's rows, `{parameters}` in it as in a SQL job: its first argument is `trino`, the others name parameters.
    The inputs say what that statement may read.

    Raises:
        JobDefinitionError: names, arguments or placeholders do not fit together.
    """

    kinds = {"spark": EngineKind.SPARK, "trino": EngineKind.TRINO}
    if engine not in kinds:
        raise JobDefinitionError(f"unknown engine {engine!r}", fix=nearest(engine, kinds))

    def declare(function: Callable[..., Any]) -> Job:
        declared = {key: value if isinstance(value, Param) else Param(value) for key, value in (params or {}).items()}
        doc = inspect.getdoc(function) or ""
        code = inspect.unwrap(function).__code__  # a decorator's own code lies in another file
        result = Job(
            name=name or function.__name__,
            engine=kinds[engine],
            inputs=dict(inputs),
            output=output,
            params=declared,
            checks=checks,
            body=function,
            file=code.co_filename,
            line=code.co_firstlineno,
            description=doc.splitlines()[0] if doc else "",
        )
        check_arguments(result, function)
        return check_declaration(result)

    return declare


def check_arguments(declared: Job, function: Callable[..., Any]) -> None:
    """A Spark function takes exactly its inputs, and parameters by name; one on Trino its session in the inputs' place.

    Raises:
        JobDefinitionError: it does not.
    """
    on_trino = declared.engine is EngineKind.TRINO
    given = ("trino",) if on_trino else tuple(declared.inputs)
    allowed = {*given, *declared.params}
    taken = inspect.signature(function).parameters
    if on_trino and next(iter(taken), None) != "trino":
        raise JobDefinitionError(f"job {declared.name}: the first argument of a function on Trino is trino", where=declared.where)
    if on_trino and (path := next((name for name, one in declared.inputs.items() if isinstance(one, Path)), None)):
        raise JobDefinitionError(
            f"job {declared.name}: input {path} is a Path, which Trino cannot read", where=declared.where, fix="read a table, or use Spark"
        )
    for argument, kind in ((item.name, item.kind) for item in taken.values()):
        if kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            raise JobDefinitionError(
                f"job {declared.name}: *args and **kwargs hide what it reads", where=declared.where, fix="name each input"
            )
        if argument not in allowed:
            raise JobDefinitionError(
                f"job {declared.name}: argument {argument!r} is neither an input nor a parameter",
                where=declared.where,
                fix=nearest(argument, allowed),
            )
    for missing in set(given) - taken.keys():
        raise JobDefinitionError(
            f"job {declared.name}: input {missing!r} is declared and not an argument of the function",
            where=declared.where,
            fix=f"add the argument {missing}, or remove the input",
        )


def check_declaration(declared: Job) -> Job:
    """What holds for jobs of every engine; returns the job.

    Raises:
        JobDefinitionError: a name is not one, or a placeholder names no parameter.
    """
    if not _NAME.match(declared.name):
        raise JobDefinitionError(
            f"{declared.name!r} is not a job name", where=declared.where, fix="use a-z, 0-9 and _, at most 63, a letter first"
        )
    if not isinstance(declared.output, Table | Jdbc):
        raise JobDefinitionError(f"job {declared.name}: the output must be a Table or a Jdbc", where=declared.where)
    for attribute in ("where", "watermark", "split_by", "dedupe"):
        if getattr(declared.output, attribute, None):
            raise JobDefinitionError(f"job {declared.name}: an output has no {attribute}", where=declared.where)
    for param_name in declared.params:
        if not _PLACEHOLDER.fullmatch(f"{{{param_name}}}"):
            raise JobDefinitionError(f"job {declared.name}: {param_name!r} is not a parameter's name", where=declared.where)
        if param_name in declared.inputs:
            raise JobDefinitionError(f"job {declared.name}: {param_name} is an input and a parameter", where=declared.where)
    for input_name, dataset in declared.inputs.items():
        if not isinstance(dataset, Table | Path | Jdbc):
            raise JobDefinitionError(f"job {declared.name}: input {input_name} must be a Table, Path or Jdbc", where=declared.where)
        predicate = getattr(dataset, "where", None)
        for placeholder in placeholders(predicate or ""):
            if placeholder not in declared.params:
                raise JobDefinitionError(
                    f"job {declared.name}: input {input_name} uses {{{placeholder}}}, which is not a parameter",
                    where=declared.where,
                    fix=nearest(placeholder, declared.params, what="parameter")
                    if declared.params
                    else f"add params={{'{placeholder}': Param(...)}}",
                )
    return declared


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


def relocate(declared: Job, file: FilePath, root: FilePath) -> Job:
    """The job with its file relative to the project, as messages and records show it."""
    own = FilePath(declared.file)
    shown = own.relative_to(root) if own.is_relative_to(root) else file.relative_to(root)
    return replace(declared, file=str(shown))
