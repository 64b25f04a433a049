"""Records that do not parse, come twice, or were read before: what a run does with them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from framework import Jdbc, Job, Newest, Path, Table, maintenance
from framework.errors import BadData
from framework.jobs import EngineKind
from framework.ledger import RunRecord
from framework.platform import Platform
from framework.query import run_query

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]


def job_of(source: Path | Jdbc, body: Callable[..., Any] = lambda rows: rows, **output: Any) -> Job:
    table = Table(f"conformance.r_{uuid.uuid4().hex[:10]}", **output)
    return Job("records", EngineKind.SPARK, {"rows": source}, table, {}, None, body, "jobs/records.py", 1)


def put(platform: Platform, name: str, *lines: str) -> str:
    platform.aws.client("s3").put_object(Bucket="emrjobs-raw", Key=f"records/{name}", Body="\n".join(lines).encode())
    return f"{{raw}}/records/{name}"


def rows_of(platform: Platform, job: Job) -> list[tuple[Any, ...]]:
    return sorted(run_query(platform, f"SELECT * FROM {job.output.name}", 1000)[1])


def test_malformed_json_is_set_aside_with_file_and_reason_and_counted(platform: Platform, run: Callable[..., RunRecord]) -> None:
    uri = put(platform, "a.json", '{"id": 1, "n": 1}', '{"id": 2, "n": "x"}', '{"id": 3,', '{"id": 4, "n": 4}')
    source = Path(uri, "json", "id int, n int", malformed="quarantine", max_malformed=0.5)
    # The job does not look at the column that is malformed: the record is set aside all the same.
    job = job_of(source, lambda rows: rows.select("id"))
    record = run(job)
    assert rows_of(platform, job) == [(1,), (4,)]
    (one,) = record.inputs
    assert one.quarantined == 2
    bucket, _, key = str(one.quarantine).removeprefix("s3://").partition("/")
    s3 = platform.aws.client("s3")
    found = []
    for name in (item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]):
        body = s3.get_object(Bucket=bucket, Key=name)["Body"].read().decode() if name.endswith(".json") else ""
        found += [json.loads(line) for line in body.splitlines()]
    assert {(row["record"], row["reason"]) for row in found} == {
        ('{"id": 2, "n": "x"}', "a value does not fit id int, n int"),
        ('{"id": 3,', "is not a JSON object"),
    }
    assert all(row["file"] == "s3://emrjobs-raw/records/a.json" for row in found)


def test_more_malformed_records_than_allowed_end_the_run_and_publish_nothing(platform: Platform, run: Callable[..., RunRecord]) -> None:
    uri = put(platform, "b.csv", "1,1", "2,x", "3,3", "4,4")
    job = job_of(Path(uri, "csv", "id int, n int", malformed="quarantine"), lambda rows: rows.select("id"))
    with pytest.raises(BadData, match=r"input rows: 1 of 4 records are malformed, more than 1.00%; nothing was published") as caught:
        run(job)
    assert "s3://emrjobs-raw/records/b.csv: 2,x: does not fit id int, n int" in caught.value.details
    assert platform.catalog.find(job.output.name) is None
    enough = replace(job, inputs={"rows": replace(job.inputs["rows"], max_malformed=0.25)})  # type: ignore[type-var]
    assert run(enough).inputs[0].quarantined == 1
    assert rows_of(platform, enough) == [(1,), (3,), (4,)]


def test_of_several_records_of_one_key_the_newest_is_read(platform: Platform, run: Callable[..., RunRecord]) -> None:
    records = [(1, 5, "new"), (1, 3, "late"), (1, None, "undated"), (2, None, "only"), (None, 1, "no key"), (None, 1, "nor this")]
    uri = put(platform, "c.json", *[json.dumps({"id": key, "at": at, "text": text}) for key, at, text in records])
    schema = "id int, at int, text string"
    for malformed in ("fail", "quarantine"):
        job = job_of(
            Path(uri, "json", schema, malformed=malformed, dedupe=Newest(["id"], by="at")),
            lambda rows: rows.selectExpr("coalesce(id, 0)", "text"),
        )
        run(job)
        assert rows_of(platform, job) == [(0, "no key"), (0, "nor this"), (1, "new"), (2, "only")]


@pytest.mark.slow
def test_an_incremental_read_begins_where_the_last_published_run_ended(platform: Platform, run: Callable[..., RunRecord]) -> None:
    entry, text = platform.settings.connections["airline_ops"], platform.resolver.text
    address: dict[str, Any] = {"host": text(entry.host), "port": text(entry.port), "user": text(entry.user), "dbname": entry.database}
    with psycopg.connect(**address, password=text(entry.password or ""), autocommit=True) as database:
        database.execute("create table changes (id int, at timestamptz)")
        try:
            source = Jdbc("airline_ops", "changes", watermark="at", lookback=dt.timedelta(minutes=10))
            job = replace(job_of(source, mode="merge", keys=["id"]), name=f"changes_{uuid.uuid4().hex[:6]}")

            def insert(*rows: tuple[int, str | None]) -> None:
                database.cursor().executemany("insert into changes values (%s, %s)", list(rows))

            def read() -> tuple[int | None, str | None]:
                (one,) = run(job).inputs
                return one.rows, one.watermark

            insert((1, "2024-01-01 10:00:00Z"), (2, "2024-01-01 12:00:00.000001Z"))
            assert read() == (2, "2024-01-01 12:00:00.000001+00")
            # Late, within the lookback; too late; new; never dated.
            insert((3, "2024-01-01 11:55:00Z"), (4, "2024-01-01 10:30:00Z"), (5, "2024-01-01 13:00:00Z"), (6, None))
            failing = replace(job, body=lambda rows: rows.selectExpr("id", "at", "raise_error('no') AS x"))
            with pytest.raises(Exception, match="no"):
                run(failing)
            assert read() == (4, "2024-01-01 13:00:00+00")  # 2 and 3 by the lookback, 5, and 6: the failed run moved nothing
            assert [row[0] for row in rows_of(platform, job)] == [1, 2, 3, 5, 6]
            assert read() == (2, "2024-01-01 13:00:00+00")  # 5 again, and 6
            # Undone, a run has read nothing: the one after it begins where the run before it ended.
            maintenance.rollback(platform, next(iter(platform.ledger.list(job=job.name))).run_id)
            assert read() == (2, "2024-01-01 13:00:00+00")
        finally:
            database.execute("drop table changes")
