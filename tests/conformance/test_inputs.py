"""Inputs: every file format and scheme, and catalog tables with only the partitions that a run needs."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import pytest

from framework import Job, Param, Path, Table
from framework.datasets import PATH_FORMATS
from framework.engines.spark import read
from framework.engines.spark.databases import Databases
from framework.jobs import EngineKind
from framework.platform import Platform
from framework.publish import open_area

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]

SCHEMA = "id int, name string, at timestamp"
ROWS = [(1, "a,b", dt.datetime(2024, 1, 1, 12, 30)), (2, None, dt.datetime(2024, 1, 2))]


def reading(dataset: Path | Table) -> Job:
    """A job with one input; its body is never called."""
    day = {"day": Param(dt.date, dt.date(2024, 1, 1))}
    return Job("reading", EngineKind.SPARK, {"rows": dataset}, Table("t.unused"), day, None, lambda rows: rows, "jobs/reading.py", 1)


def rows_of(platform: Platform, spark: Any, dataset: Path | Table, **params: Any) -> list[tuple[Any, ...]]:
    job = reading(dataset)
    values = job.bind(params)
    resolved = platform.resolve(job, values)["rows"]
    with Databases(spark, {}) as databases:
        return sorted(tuple(row) for row in read.frame(spark, resolved, values, databases, where=job.where).collect())


@pytest.mark.parametrize("file_format", PATH_FORMATS)
def test_files_of_every_format_are_read_with_the_declared_schema(file_format: str, platform: Platform, spark: Any) -> None:
    uri = f"s3://emrjobs-raw/conformance/{file_format}/day=2024-01-01"
    spark.createDataFrame(ROWS, SCHEMA).write.format(file_format).mode("overwrite").save(uri)
    declared = SCHEMA if file_format in ("json", "csv") else None
    assert rows_of(platform, spark, Path("{raw}/conformance/" + file_format + "/day={day}/", file_format, declared)) == ROWS


@pytest.mark.parametrize("scheme", ["s3", "s3a", "s3n"])
def test_the_old_schemes_of_s3_mean_the_same_files(scheme: str, platform: Platform, spark: Any) -> None:
    platform.aws.client("s3").put_object(Bucket="emrjobs-raw", Key="conformance/schemes/a.json", Body=b'{"id": 7}\n')
    assert rows_of(platform, spark, Path(f"{scheme}://emrjobs-raw/conformance/schemes/", "json", "id int")) == [(7,)]


def test_files_of_this_machine_are_read(tmp_path: FilePath, platform: Platform, spark: Any) -> None:
    (tmp_path / "a.json").write_text("\n".join(json.dumps({"id": number}) for number in range(3)), encoding="utf-8")
    assert rows_of(platform, spark, Path(tmp_path.as_uri(), "json", "id int")) == [(0,), (1,), (2,)]


@pytest.mark.parametrize("table_format", ["iceberg", "parquet"])
def test_a_table_gives_only_the_rows_of_its_predicate_and_lists_only_their_partitions(
    table_format: str, platform: Platform, spark: Any
) -> None:
    name = f"conformance.inputs_{table_format}"
    platform.catalog.drop(name)
    area = open_area(
        spark, platform.catalog, Table(name, partitioned_by=["day"], format=table_format), f"20240101T000000-in-{table_format}"
    )
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(3)]
    area.write(spark.createDataFrame(list(enumerate(days)), "id int, day date"))
    area.publish()
    dataset = Table(name, where="day = {day}")
    assert rows_of(platform, spark, dataset, day="2024-01-02") == [(1, days[1])]
    resolved = platform.resolve(reading(dataset), {"day": days[1]})["rows"]
    assert isinstance(resolved, read.TableRead)
    assert len(resolved.partitions) == (0 if table_format == "iceberg" else 1)


@pytest.mark.slow
def test_upstream_jobs_run_first_and_data_docs_are_written(emrjobs: Callable[..., Any], root: FilePath) -> None:
    done = emrjobs("run", "carrier_scorecard", "--upstream", "--docs", "--json", "-p", "date=2013-05-17")
    assert done.code == 0, done.err
    records = json.loads(done.out)
    assert [(record["job"], record["status"]) for record in records] == [("daily_etl", "succeeded"), ("carrier_scorecard", "succeeded")]
    assert records[0]["params"] == {"date": "2013-05-17"}
    assert "expect" in (root / ".local" / "docs" / "index.html").read_text(encoding="utf-8").lower()


@pytest.mark.slow
def test_a_run_without_the_warm_jvm_gives_the_same(emrjobs: Callable[..., Any]) -> None:
    done = emrjobs("run", "ingest_weather", "--json", "-p", "date=2013-05-17", "--set", "spark.warm=false")
    assert done.code == 0, done.err
    assert json.loads(done.out)["output"]["rows"] == 72
