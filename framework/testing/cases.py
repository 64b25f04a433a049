"""Cases of a job: `jobs/<job>.test.yaml`, or `tests/jobs/<job>.test.yaml` for those who keep tests apart.

    a flight in the rain is counted:
      params: {date: 2013-03-08}
      inputs:
        flights: fixtures/flights.csv                # a CSV file with a header, beside this file
        weather:                                     # or rows
          - {origin: EWR, time_hour: 2013-03-08 12:00:00, precip: 0.1}
        airlines: {schema: "carrier string, name string", rows: []}
      expect:
        - {carrier: UA, flights: 1, flights_in_rain: 1}
      key: [carrier]

Only the columns that `expect` names are compared, in any order of the rows unless `ordered: true`. `schema` gives types
(Spark SQL DDL) where neither the job nor the values say them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from framework.config import document
from framework.config.document import Document
from framework.errors import CaseError, nearest
from framework.jobs import Job

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """Small data.

    Attributes:
        columns: names, in order.
        rows: values as YAML or CSV gave them: texts of a CSV file are texts, an empty one is null.
        schema: Spark SQL DDL of some or all columns.
        text: the values are texts whose types have to be found out.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    schema: str | None = None
    text: bool = False


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: as written.
        where: `file:line`.
        params: of the run, unchecked.
        inputs: by the job's input names.
        expect: the rows that must come out.
        key: columns that tell which row is which, for the diff.
        ordered: rows must come in this order.
    """

    name: str
    where: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Rows]
    expect: Rows
    key: tuple[str, ...] = ()
    ordered: bool = False


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Data(_Model):
    """Rows or a file, with types."""

    file: str | None = None
    rows: list[dict[str, Any]] | None = None
    schema_: str | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=lambda name: name.rstrip("_"))


class _Case(_Model):
    params: dict[str, Any] = {}
    inputs: dict[str, _Data] = {}
    expect: _Data
    key: list[str] = []
    ordered: bool = False

    @field_validator("inputs", mode="before")
    @classmethod
    def _inputs(cls, value: Any) -> Any:
        return {name: _short(data) for name, data in value.items()} if isinstance(value, dict) else value

    @field_validator("expect", mode="before")
    @classmethod
    def _expect(cls, value: Any) -> Any:
        return _short(value)


def _short(value: Any) -> Any:
    """A file's name or plain rows stand for the longer form."""
    if isinstance(value, str):
        return {"file": value}
    return {"rows": value} if isinstance(value, list) else value


def files_of(job: Job, root: Path) -> list[Path]:
    """The files that may hold a job's cases; the first is where a new one goes."""
    beside = (root / job.file).with_suffix("").with_suffix(".test.yaml").with_stem(f"{job.name}.test")
    return [beside, root / "tests" / "jobs" / f"{job.name}.test.yaml"]


def load(job: Job, root: Path) -> list[Case]:
    """All cases of a job, in the order of the file; empty when it has none.

    Raises:
        CaseError: a file is wrong; with file and line.
    """
    found: list[Case] = []
    for file in files_of(job, root):
        if file.is_file():
            read = document.read(file, name=str(file.relative_to(root)), error=CaseError)
            found += [_case(job, name, data, read, file.parent) for name, data in read.data.items()]
    return found


def _case(job: Job, name: str, data: Any, read: Document, folder: Path) -> Case:
    if not isinstance(data, dict):
        raise CaseError(f"{name}: a case has inputs: and expect:", where=read.where((name,)))
    model = document.validate(_Case, data, document=read, at=(name,), error=CaseError)
    for given in model.inputs:
        if given not in job.inputs:
            raise CaseError(
                f"{name}: job {job.name} has no input {given!r}",
                where=read.where((name, "inputs", given)),
                fix=nearest(given, job.inputs, what="input"),
            )
    for missing in job.inputs.keys() - model.inputs.keys():
        raise CaseError(
            f"{name}: the input {missing} is not given",
            where=read.where((name, "inputs")),
            fix=f"add its rows, or `{missing}: {{schema: 'column type, ...', rows: []}}` for none",
        )
    inputs = {key: _rows(value, folder, read, (name, "inputs", key)) for key, value in model.inputs.items()}
    expect = _rows(model.expect, folder, read, (name, "expect"))
    for column in model.key:
        if column not in expect.columns:
            raise CaseError(
                f"{name}: the key column {column} is not in expect",
                where=read.where((name, "key")),
                fix=nearest(column, expect.columns, what="column"),
            )
    return Case(name, read.where((name,)), model.params, inputs, expect, tuple(model.key), model.ordered)


def _rows(data: _Data, folder: Path, read: Document, at: tuple[str, ...]) -> Rows:
    label = f"{at[0]}: {at[-1]}"
    if (data.file is None) == (data.rows is None):
        raise CaseError(f"{label}: give either file or rows", where=read.where(at))
    if data.rows is not None:
        columns = dict.fromkeys(column for row in data.rows for column in row)
        return Rows(tuple(columns), tuple(data.rows), data.schema_)
    assert data.file is not None
    path = folder / data.file
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            columns_, rows = _csv(lines)
    except OSError as exc:
        fix = "a file's path starts at the folder of the cases"
        raise CaseError(f"{label}: {data.file} cannot be read: {exc.strerror}", where=read.where(at), fix=fix) from exc
    except (ValueError, csv.Error) as exc:
        raise CaseError(f"{label}: {data.file}: {exc}", where=read.where(at)) from exc
    return Rows(columns_, rows, data.schema_, text=True)


def _csv(lines: Any) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    reader = csv.reader(lines, strict=True)
    header = tuple(name.strip() for name in next(reader, []))
    if not header or len(set(header)) < len(header) or "" in header:
        raise ValueError("the first line must name each column once")
    rows = []
    for values in reader:
        if not values:
            continue
        if len(values) != len(header):
            raise ValueError(f"line {reader.line_num} has {len(values)} values, the header has {len(header)}")
        rows.append({name: value if value != "" else None for name, value in zip(header, values, strict=True)})
    return header, tuple(rows)


def columns_of(names: Sequence[str]) -> str:
    """Names for a message."""
    return ", ".join(names) or "none"
