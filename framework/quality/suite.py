"""Suites: what a table must satisfy before a run may publish it, written in configs/checks/<name>.yaml.

    expectations:
      - expect_table_row_count_to_be_between: {min_value: 1}
      - expect_column_values_to_not_be_null: {column: carrier}
      - expect_column_values_to_be_between: {column: delay_rate, min_value: 0, max_value: 1, severity: warn, mostly: 0.99}
      - expect_column_values_to_be_in_set: {column: flight_date, value_set: ["{date}"]}

Expectations and their arguments are Great Expectations' own (https://greatexpectations.io/expectations); `severity` (error
blocks the publish, warn reports) and `note` are added. `row_condition` is a SQL condition. A value that is exactly "{name}"
is the run's parameter of that name. A suite is validated here in full, without importing Great Expectations.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from framework.config import document
from framework.errors import SuiteError, nearest
from framework.jobs import Job
from framework.quality import catalogue
from framework.quality.words import statement

_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")
_OWN = ("severity", "note")


class Severity(StrEnum):
    """What a failed expectation does: `error` blocks the publish, `warn` is only reported."""

    ERROR = "error"
    WARN = "warn"


class Expectation(BaseModel):
    """One expectation of a suite.

    Attributes:
        type: Great Expectations' name of it, `expect_column_values_to_not_be_null`.
        kwargs: its arguments as written; a value "{name}" stands for a parameter of the run.
        where: `file:line` of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    kwargs: dict[str, Any]
    severity: Severity = Severity.ERROR
    note: str | None = None
    where: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it judges; none when it is about the table."""
        if self.type.startswith("expect_table_"):
            return ()
        single = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return tuple(map(str, [*single, *(self.kwargs.get("column_list") or ())]))

    @property
    def statement(self) -> str:
        """In words: `carrier must not be null`."""
        return statement(self.type, self.kwargs)


class Suite(BaseModel):
    """A named list of expectations.

    Attributes:
        name: the file's name without its ending; what a job's `checks=` says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    expectations: tuple[Expectation, ...]

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the run's parameters that the suite uses."""
        return frozenset(name for expectation in self.expectations for name in _parameters(expectation.kwargs))

    def bind(self, parameters: Mapping[str, Any]) -> Suite:
        """The suite with the values of a run's parameters in place of "{name}".

        Raises:
            SuiteError: it uses a parameter that the run does not have, or one of the wrong type.
        """
        bound = []
        for expectation in self.expectations:
            for name in _parameters(expectation.kwargs):
                if name not in parameters:
                    raise SuiteError(
                        f"{expectation.type}: the job has no parameter {name!r}",
                        where=expectation.where,
                        fix=nearest(name, parameters, what="parameter"),
                    )
            kwargs = {key: _replace(value, parameters) for key, value in expectation.kwargs.items()}
            for key, value in kwargs.items():
                if value != expectation.kwargs[key]:
                    _check_value(expectation.type, key, value, expectation.where)
            _check_bounds(expectation.type, kwargs, expectation.where)
            bound.append(expectation.model_copy(update={"kwargs": kwargs}))
        return self.model_copy(update={"expectations": tuple(bound)})


def load_suite(path: Path, *, name: str, shown: str | None = None, engine: str = "spark") -> Suite:
    """Read and validate one suite.

    Args:
        path: the YAML file.
        shown: how messages name it, when not as `path`.
        engine: `spark` or `sql`: what will compute it; some expectations exist for one only.

    Raises:
        SuiteError: with file and line: bad YAML, an unknown key, expectation or argument (with the nearest), an argument that is
            missing or of the wrong type, or an expectation that the engine cannot compute.
    """
    source = document.read(path, name=shown, error=SuiteError)
    for key in source.data:
        if key != "expectations":
            raise SuiteError(f"{key}: unknown key", where=source.where((key,)), fix=nearest(key, ["expectations"]))
    items = source.data.get("expectations")
    if not isinstance(items, list) or not items:
        raise SuiteError("expectations: must be a list of at least one expectation", where=source.where(("expectations",)))
    return Suite(name=name, expectations=tuple(_expectation(source, index, item, engine) for index, item in enumerate(items)))


def of_job(job: Job, root: Path) -> Suite | None:
    """The suite of a job, None when it has no checks; messages name the file relative to the project `root`.

    Raises:
        SuiteError: as `load_suite`.
    """
    file = job.suite_file(root)
    if file is None:
        return None
    engine = "sql" if job.engine.federated else "spark"
    return load_suite(file, name=str(job.checks), shown=file.relative_to(root).as_posix(), engine=engine)


def _expectation(source: document.Document, index: int, item: Any, engine: str) -> Expectation:
    where = source.where(("expectations", index))
    if isinstance(item, str):
        item = {item: None}
    if not isinstance(item, dict) or len(item) != 1:
        raise SuiteError(
            f"expectations.{index}: must be one expectation with its arguments",
            where=where,
            fix="write `- expect_column_values_to_not_be_null: {column: carrier}`",
        )
    ((kind, given),) = item.items()
    known = catalogue.load()
    if kind not in known:
        raise SuiteError(f"{kind}: there is no such expectation", where=where, fix=_nearest_type(kind, known))
    if engine not in known[kind].engines:
        raise SuiteError(f"{kind}: Great Expectations cannot compute it on {engine}", where=where, fix="use another expectation")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise SuiteError(f"{kind}: its arguments must be key: value pairs", where=where)
    _check_arguments(kind, given, lambda key: source.where(("expectations", index, kind, key)), where)
    return Expectation(
        type=kind,
        kwargs={key: value for key, value in given.items() if key not in _OWN and value is not None},
        severity=Severity(given.get("severity", Severity.ERROR)),
        note=given.get("note"),
        where=where,
    )


def _nearest_type(kind: str, known: Mapping[str, Any]) -> str:
    # The usual slip is the order of the words: to_be_not_null.
    for name in known:
        if sorted(name.split("_")) == sorted(kind.split("_")):
            return f"did you mean {name!r}?"
    hint = nearest(kind, known, what="expectation")
    return hint if hint.startswith("did you mean") else "https://greatexpectations.io/expectations lists them all"


def _check_arguments(kind: str, given: Mapping[str, Any], line: Any, where: str) -> None:
    known = catalogue.load()[kind]
    for key in given:
        if key not in known.arguments and key not in _OWN:
            raise SuiteError(
                f"{kind}.{key}: unknown argument", where=line(key), fix=nearest(key, [*known.arguments, *_OWN], what="argument")
            )
    severity, note = given.get("severity", Severity.ERROR), given.get("note")
    if severity not in tuple(Severity):
        raise SuiteError(f"{kind}.severity: must be error or warn, not {severity!r}", where=line("severity"))
    if note is not None and not isinstance(note, str):
        raise SuiteError(f"{kind}.note: must be text", where=line("note"), fix="put it in quotes")
    for key, argument in known.arguments.items():
        if argument.required and given.get(key) is None:
            raise SuiteError(f"{kind}.{key}: is required and not given", where=where)
        if given.get(key) is not None:
            _check_value(kind, key, given[key], line(key))
    if "{batch}" not in given.get("unexpected_rows_query", "{batch}"):
        raise SuiteError(
            f"{kind}.unexpected_rows_query: must name the checked rows as {{batch}}",
            where=line("unexpected_rows_query"),
            fix='write it as "select * from {batch} where ..."',
        )
    if known.any_of and all(given.get(key) is None for key in known.any_of):
        raise SuiteError(f"{kind}: needs {' or '.join(known.any_of)}", where=where)
    _check_bounds(kind, given, where)


def _check_bounds(kind: str, given: Mapping[str, Any], where: str | None) -> None:
    low, high = given.get("min_value"), given.get("max_value")
    with suppress(TypeError):  # of different types: one is still a parameter
        if low is not None and high is not None and low > high:
            raise SuiteError(f"{kind}: min_value {low} is greater than max_value {high}", where=where)


def _check_value(kind: str, key: str, value: Any, where: str | None) -> None:
    argument = catalogue.load()[kind].arguments[key]
    if isinstance(value, str) and _PARAMETER.fullmatch(value):
        return
    if not any(_is(value, expected) for expected in argument.kinds):
        expected = " or ".join(_NAMES[one] for one in sorted(argument.kinds) if one != "null")
        raise SuiteError(f"{kind}.{key}: must be {expected}, not {value!r}", where=where)
    if argument.choices and value not in argument.choices:
        raise SuiteError(f"{kind}.{key}: must be one of {', '.join(argument.choices)}, not {value!r}", where=where)


_NAMES = {
    "boolean": "true or false",
    "date": "a date",
    "fraction": "a number from 0 to 1",
    "integer": "a whole number",
    "list": "a list",
    "mapping": "key: value pairs",
    "number": "a number",
    "string": "text",
}


def _is(value: Any, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and number
        case "number":
            return number
        case "fraction":
            return number and 0 <= value <= 1
        case "date":
            return isinstance(value, datetime.date) or (isinstance(value, str) and _is_iso(value))
        case "list":
            return isinstance(value, list)
        case "mapping":
            return isinstance(value, dict)
        case "string":
            return isinstance(value, str)
    return False


def _is_iso(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _parameters(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _parameters(item)
    elif isinstance(value, str) and (match := _PARAMETER.fullmatch(value)):
        yield match[1]


def _replace(value: Any, parameters: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _replace(item, parameters) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, parameters) for item in value]
    if isinstance(value, str) and (match := _PARAMETER.fullmatch(value)):
        return parameters[match[1]]
    return value
