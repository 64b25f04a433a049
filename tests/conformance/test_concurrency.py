"""Runs at the same time: one of the same output, any number of others, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from framework.discovery import discover
from framework.engines.spark import conf
from framework.errors import LeaseHeld
from framework.jobs import Table
from framework.platform import Platform
from framework.publish import open_area

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]


def test_a_second_run_of_the_same_day_is_told_who_is_at_work_and_changes_nothing(platform: Platform, emrjobs: Callable[..., Any]) -> None:
    job = discover(platform.root).get("ingest_weather")
    day = job.bind({"date": "2013-06-03"})
    with platform.leases.hold(job, day, "20130603T000000000-ingest_weather-aaaaaa") as first:
        done = emrjobs("run", "ingest_weather", "-p", "date=2013-06-03")
        assert done.code == 1
        assert "another run is at work on it: run 20130603T000000000-ingest_weather-aaaaaa" in done.err
        assert "Traceback" not in done.err
        with pytest.raises(LeaseHeld), platform.leases.hold(job, day, "third"):
            pass
        with platform.leases.hold(job, job.bind({"date": "2013-06-04"}), "fourth"):
            pass
        first.confirm()
    with platform.leases.hold(job, day, "fifth"):
        pass


@pytest.mark.slow
def test_of_50_publishers_to_one_iceberg_table_at_once_none_is_lost(platform: Platform) -> None:
    table = "conformance.fifty"
    platform.catalog.drop(table)
    with platform.spark() as spark:
        conf.prepare(spark, platform.aws)

        def publish(number: int) -> str | None:
            session = spark.newSession()  # the id of a staged snapshot is a property of the session
            session._jvm.SparkSession.setActiveSession(session._jsparkSession)
            area = open_area(session, platform.catalog, Table(table, mode="append"), f"20240101T000000-fifty-{number:02d}")
            area.write(session.createDataFrame([(number,)], "id int"))
            return area.publish().version

        publish(0)
        with ThreadPoolExecutor(50) as pool:
            versions = list(pool.map(publish, range(1, 50)))
        assert len(set(versions)) > 1
        assert sorted(row["id"] for row in spark.table(table).collect()) == list(range(50))
