"""HDFS in the embedded target: paths and tables at hdfs:///, from Spark and from Trino, on a real NameNode and DataNode."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import fsspec
import psutil
import pytest
from builders import attempt

from framework import Job, Path, Table
from framework.errors import DatasetNotFound, JobFailed
from framework.jobs import EngineKind, Sql
from framework.ledger import RunRecord
from framework.local.supervisor import Supervisor
from framework.platform import Platform

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

MB = 1 << 20


@pytest.fixture(scope="module")
def files(platform: Platform) -> Any:
    """The file system as any WebHDFS client sees it."""
    assert Supervisor(platform.root).status(["hdfs"])[0].state == "stopped"
    place = urllib.parse.urlsplit(platform.resolver.text("${local:hdfs.web}"))
    return fsspec.filesystem("webhdfs", host=place.hostname, port=place.port, user="root", skip_instance_cache=True)


def spark_job(body: Callable[..., Any], output: Table, **inputs: Any) -> Job:
    return Job("in_hdfs", EngineKind.SPARK, inputs, output, {}, None, body, "jobs/in_hdfs.py", 7)


def kept(planes: Any) -> Any:
    return planes.where("engines = 4").select("tailnum", "engine")


@pytest.fixture(scope="module")
def published(files: Any, run: Callable[..., RunRecord]) -> RunRecord:
    output = Table("scratch.four_engines", partitioned_by=["engine"], format="parquet", location="hdfs:///scratch/four_engines")
    return run(spark_job(kept, output, planes=Table("reference.planes")))


def test_a_table_in_hdfs_is_written_read_and_replaced_by_spark(published: RunRecord, files: Any, run: Any, platform: Platform) -> None:
    assert published.output is not None
    assert published.output.rows == 4
    assert platform.table("scratch.four_engines").location == "hdfs:///scratch/four_engines"
    written = [info for info in files.find("/scratch/four_engines", detail=True).values() if info["name"].endswith(".parquet")]
    assert {info["blockSize"] for info in written} == {128 * MB}
    assert {info["replication"] for info in written} == {1}

    def counted(by_table: Any, by_path: Any) -> Any:
        return by_table.join(by_path, ["tailnum", "engine"]).groupBy("engine").count()

    record = run(
        spark_job(
            counted,
            Table("scratch.counts", format="orc", location="hdfs:///scratch/counts"),
            by_table=Table("scratch.four_engines"),
            by_path=Path(f"{published.output.version}/"),
        )
    )
    assert record.output.rows == 2
    assert [one.rows for one in record.inputs] == [4, 4]
    assert record.inputs[1].files == 2
    assert record.inputs[1].size_bytes == sum(info["size"] for info in written)


def test_a_run_that_fails_leaves_nothing_in_hdfs(files: Any, run: Any) -> None:
    def broken(planes: Any) -> Any:
        return planes.selectExpr("tailnum", "if(engines < 4, 'fine', cast(raise_error('too many') as string)) as seen")

    output = Table("scratch.never", format="parquet", location="hdfs:///scratch/never")
    assert isinstance(attempt(lambda: run(spark_job(broken, output, planes=Table("reference.planes")))), JobFailed)
    assert files.find("/scratch/never") == []


@pytest.mark.parametrize("path", ["hdfs:///nothing/here/", "hdfs:///nothing/*/x"])
def test_a_path_that_is_not_there_is_said_before_spark_reads(path: str, files: Any, run: Any) -> None:
    error = attempt(lambda: run(spark_job(kept, Table("scratch.never"), planes=Path(path))))
    assert isinstance(error, DatasetNotFound)
    assert error.message == f"input planes: there are no files at {path}"
    assert error.where == "jobs/in_hdfs.py:7"


def test_trino_reads_what_spark_wrote_there_and_spark_what_trino_wrote(published: RunRecord, files: Any, run: Any, emrjobs: Any) -> None:
    output = Table("scratch.by_trino", partitioned_by=["engine"], format="parquet", location="hdfs:///scratch/by_trino")
    body = "SELECT upper(tailnum) AS tailnum, engine FROM scratch.four_engines"
    statement = Job(
        "t",
        EngineKind.TRINO,
        {"scratch.four_engines": Table("scratch.four_engines")},
        output,
        {},
        None,
        Sql(body, "trino"),
        "jobs/t.sql",
        1,
    )
    record = run(statement)
    assert record.output.rows == 4
    assert [path for path in files.find("/scratch/by_trino") if f"/_runs/{record.run_id}/" in path]
    seen = emrjobs("query", "select count(*) as n, count(distinct engine) as kinds from scratch.by_trino", "--json")
    assert seen.code == 0, seen.err
    assert '"n": 4' in seen.out
    again = emrjobs("query", "--engine", "trino", "select count(*) as n from scratch.by_trino", "--json")
    assert '"n": 4' in again.out, again.err


def test_what_lies_there_outlives_a_restart_and_nobody_else_can_reach_it(
    published: RunRecord, files: Any, platform: Platform, emrjobs: Any
) -> None:
    supervisor = Supervisor(platform.root)
    pid = supervisor.status(["hdfs"])[0].pid
    assert pid is not None
    listening = {one.laddr.ip for one in psutil.Process(pid).net_connections(kind="inet") if one.status == psutil.CONN_LISTEN}
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    supervisor.down(["hdfs"])
    seen = emrjobs("query", "select count(*) as n from scratch.four_engines", "--json")
    assert '"n": 4' in seen.out, seen.err
    assert supervisor.status(["hdfs"])[0].state == "running"
    assert FilePath(platform.root / ".local/data/hdfs").is_dir()
