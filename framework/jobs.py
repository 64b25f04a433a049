"""The job model: what a job declares, and nothing that runs it.

A job names the datasets it reads and the one table it writes; its body is pure. This module imports neither pyspark nor
boto3, so that listing and planning jobs is fast and works everywhere.
"""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from framework.datasets import (
    HIVE_CATALOG,
    LAKE_CATALOG,
    MODES,
    TABLE_FORMATS,
    TRINO_CATALOGS,
    Dataset,
    Jdbc,
    Newest,
    Output,
    Path,
    Table,
    fill,
    is_table_name,
    placeholders,
)
from framework.errors import JobDefinitionError, ParameterError, nearest

__all__ = [
    "HIVE_CATALOG",
    "LAKE_CATALOG",
    "MODES",
    "TABLE_FORMATS",
    "TRINO_CATALOGS",
    "Dataset",
    "EngineKind",
    "Jdbc",
    "Job",
    "Newest",
    "Output",
    "Param",
    "ParamValue",
    "Params",
    "Path",
    "Sql",
    "Table",
    "check_arguments",
    "check_declaration",
    "fill",
    "is_table_name",
    "job",
    "placeholders",
    "relocate",
]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")

ParamValue: TypeAlias = dt.date | int | str
Params: TypeAlias = Mapping[str, ParamValue]


class EngineKind(enum.StrEnum):
    """What executes a job's body."""

    SPARK = "spark"
    SPARK_SQL = "spark_sql"
    TRINO = "trino"
    PRESTO = "presto"

    @property
    def label(self) -> str:
        """Its name, for people."""
        return {EngineKind.TRINO: "Trino", EngineKind.PRESTO: "Presto"}.get(self, "Spark")

    @property
    def federated(self) -> bool:
        """Whether a SQL server runs the job, which finds tables, partitions and connections by itself."""
        return self in (EngineKind.TRINO, EngineKind.PRESTO)


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
    if engine == EngineKind.PRESTO:
        raise JobDefinitionError("a function runs on spark or trino, not on presto", fix="write the job as a .sql file")
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
        if placeholders(f"{{{param_name}}}") != [param_name]:
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


def relocate(declared: Job, file: FilePath, root: FilePath) -> Job:
    """The job with its file relative to the project, as messages and records show it."""
    own = FilePath(declared.file)
    shown = own.relative_to(root) if own.is_relative_to(root) else file.relative_to(root)
    return replace(declared, file=str(shown))
