"""Run one case on a Spark session."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.engines.spark import failures
from framework.engines.spark.engine import compute
from framework.errors import CaseError, EmrjobsError, nearest
from framework.jobs import EngineKind, Job, Sql
from framework.testing import frames
from framework.testing.cases import Case, columns_of
from framework.testing.compare import Difference, compare

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ENGINES = (EngineKind.SPARK, EngineKind.SPARK_SQL)


@dataclass(frozen=True)
class Result:
    """How a case ended.

    Attributes:
        columns: what was compared.
        differences: rows that are not as expected.
        error: what the job raised instead of giving rows.
        seconds: wall clock.
    """

    job: str
    case: str
    where: str
    columns: tuple[str, ...] = ()
    expected: int = 0
    differences: tuple[Difference, ...] = ()
    error: str | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.differences and self.error is None


def conf(warehouse: Path) -> dict[str, str]:
    """Spark properties of a session for cases: small, alone, everything in UTC and on this machine."""
    return {
        "spark.master": "local[2]",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": warehouse.as_uri(),
        "spark.sql.sources.default": "parquet",
    }


def run_case(spark: SparkSession, job: Job, case: Case, root: Path) -> Result:
    """Run the job's body on the case's rows and compare.

    The rows are what the body gets: predicates of the inputs (`where`) are not applied to them.

    Raises:
        CaseError: the case does not fit the job.
        ParameterError: a parameter is missing or wrong.
    """
    if job.engine not in ENGINES:
        raise CaseError(f"job {job.name} runs on {job.engine}: cases run on Spark only", where=case.where)
    begun = time.monotonic()
    params = job.bind(case.params)
    given = {name: frames.frame(spark, rows, case.where, job.inputs[name]) for name, rows in case.inputs.items()}
    if isinstance(job.body, Sql):
        _mount(spark, job, given)
    try:
        out = compute(spark, job, given, params)
        types = {field.name: field.dataType.simpleString() for field in out.schema.fields}
        columns = case.expect.columns or tuple(types)
        for column in columns:
            if column not in types:
                raise CaseError(
                    f"{case.name}: expect has the column {column}, the job gives {columns_of(tuple(types))}",
                    where=case.where,
                    fix=nearest(column, types, what="column"),
                )
        got = _collect(out.select([f"`{column}`" for column in columns]))
    except EmrjobsError:
        raise
    except Exception as exc:
        told = failures.explain_run(exc, job, {}, spark, None, root)
        return Result(job.name, case.name, case.where, error=str(told), seconds=time.monotonic() - begun)
    expected = _collect(frames.typed(spark, case.expect, {column: types[column] for column in columns})) if case.expect.rows else []
    differences = compare(expected, got, columns, key=case.key, ordered=case.ordered)
    return Result(job.name, case.name, case.where, columns, len(expected), tuple(differences), None, time.monotonic() - begun)


def _mount(spark: SparkSession, job: Job, given: Mapping[str, DataFrame]) -> None:
    """The tables of a SQL job under their own names, in the session's own catalog."""
    for name, rows in given.items():
        table = job.inputs[name].describe()
        spark.sql(f"CREATE DATABASE IF NOT EXISTS `{table.split('.')[0]}`")
        rows.write.mode("overwrite").saveAsTable(table)


def _collect(frame: DataFrame) -> list[dict[str, Any]]:
    return [row.asDict(recursive=True) for row in frame.collect()]
