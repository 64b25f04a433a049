"""Small projects and values for tests: written out in a line or two, everything else has a default."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from framework.catalog import Column, TableInfo
from framework.config import model
from framework.discovery import Jobs, discover
from framework.errors import EmrjobsError

if TYPE_CHECKING:
    from framework.catalog.glue import GlueCatalog

BASE = """\
state: s3://state
paths:
  raw: s3://raw
catalog:
  warehouse: s3://warehouse
connections:
  ops:
    kind: postgresql
    host: db.example.internal
    database: ops
    user: reader
    password: ${env:OPS_PASSWORD}
"""
EMBEDDED = "target: embedded\n"

PYTHON_JOB = """\
import datetime as dt
from framework import Jdbc, Param, Path, Table, job

@job(
    params={"date": Param(dt.date, default=dt.date(2013, 1, 15))},
    inputs={
        "flights": Jdbc("ops", "flights", where="flight_date = {date}"),
        "weather": Path("{raw}/weather/date={date}/", format="json", schema="origin string"),
        "airlines": Table("reference.airlines"),
    },
    output=Table("marts.daily", partitioned_by=["flight_date"]),
)
def daily(flights, weather, airlines):
    \"\"\"Delays of one day.\"\"\"
    return flights
"""
SQL_JOB = """\
/*
description: Scores
engine: spark
output: marts.scores
params:
  least: {type: int, default: 1}
*/
SELECT carrier FROM marts.daily WHERE flights >= {least}
"""


class Project:
    """A project in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def job(self, name: str, *, reads: str | None = None, writes: str = "db.out", params: str = "{}", file: str | None = None) -> Path:
        """A Spark job that reads one table and writes another."""
        inputs = f'{{"one": Table("{reads}")}}' if reads else "{}"
        arguments = "one" if reads else ""
        return self.write(
            f"jobs/{file or name}.py",
            f"""\
            import datetime as dt
            from framework import Param, Table, job

            @job(inputs={inputs}, output=Table("{writes}"), params={params})
            def {name}({arguments}):
                return one
            """,
        )

    def sql(self, name: str, statement: str, *, header: str = "engine: spark\noutput: db.out") -> Path:
        return self.write(f"jobs/{name}.sql", f"/*\n{header}\n*/\n{statement}\n")

    def jobs(self) -> Jobs:
        return discover(self.root)

    def problem(self, name: str) -> str:
        """What discovery says of one job, as printed."""
        return str(self.jobs().problems[name])


def table(name: str = "db.flights", *, keys: Mapping[str, str] | None = None, version: str | None = None, **raw: Any) -> TableInfo:
    """A Hive-layout table as a catalog would describe it."""
    return TableInfo(
        name=name,
        format="parquet",
        location=f"s3://warehouse/{name}",
        columns=(Column("n", "bigint"),),
        partition_keys=tuple(Column(key, kind) for key, kind in (keys or {}).items()),
        version=version,
        raw={"Name": name.split(".")[1], "StorageDescriptor": {"Columns": [], "Location": f"s3://warehouse/{name}"}, **raw},
    )


class OneClient:
    """Stands for `framework.aws.Aws` where one ready-made client answers everything."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def client(self, service: str) -> Any:
        return self._client


def attempt(act: Callable[[], Any]) -> Any:
    """What `act` returns, or the error that it raises on purpose; any other exception fails the test."""
    try:
        return act()
    except EmrjobsError as exc:
        return exc


@st.composite
def mutated(draw: st.DrawFn, text: str, pieces: Sequence[str], *, longest: int) -> str:
    """A text of which some places, of at most so many characters, are replaced by one of the pieces or by any characters."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 6, longest])))
        piece = draw(st.one_of(st.sampled_from(pieces), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)))
        text = text[:start] + piece + text[end:]
    return text


def glue_catalog(client: Any) -> GlueCatalog:
    from framework.catalog.glue import GlueCatalog  # here, because it imports botocore

    return GlueCatalog(model.Catalog(warehouse="s3://warehouse"), OneClient(client))  # type: ignore[arg-type]
