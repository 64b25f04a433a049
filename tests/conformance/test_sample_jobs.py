"""The sample jobs on the embedded target, against figures that pandas computes from the same raw files."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import pytest
import sample_figures as figures

from framework.ledger import RunRecord
from framework.platform import Platform
from framework.query import run_query

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]


def rows(platform: Platform, sql: str) -> list[dict[str, Any]]:
    columns, found, more = run_query(platform, sql, 10_000)
    assert not more
    return [dict(zip(columns, row, strict=True)) for row in found]


def same(left: Any, right: Any) -> bool:
    missing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in (left, right)]
    return all(missing) or (not any(missing) and left == right)


@pytest.fixture(scope="module")
def records(run: Callable[..., RunRecord]) -> dict[dt.date, RunRecord]:
    return {day: run("daily_etl", date=day) for day in figures.DAYS}


def test_the_published_figures_of_three_days_are_those_that_pandas_computes(records: dict[dt.date, RunRecord], platform: Platform) -> None:
    # Other tests load other days.
    days = ", ".join(f"DATE '{day}'" for day in figures.DAYS)
    published = rows(platform, f"SELECT * FROM marts.daily_performance WHERE flight_date IN ({days}) ORDER BY flight_date, carrier, origin")
    expected = [row for day in figures.DAYS for row in figures.daily_performance(day).to_dict("records")]
    assert len(published) == len(expected)
    for got, want in zip(published, expected, strict=True):
        assert {name: value for name, value in got.items() if not same(value, want[name])} == {}, want
        assert got.keys() == want.keys()


def test_a_run_says_how_many_rows_each_input_gave(records: dict[dt.date, RunRecord]) -> None:
    for day, record in records.items():
        read = {one.name: one.rows for one in record.inputs}
        assert read == {"flights": len(figures.flights_of(day)), "weather": 72, "airlines": 16}


def test_a_run_is_recorded_with_its_parameters_checks_and_versions(records: dict[dt.date, RunRecord], platform: Platform) -> None:
    day = figures.DAYS[1]
    record = platform.ledger.get(records[day].run_id)
    assert record == records[day]
    assert (record.status, record.params) == ("succeeded", {"date": day.isoformat()})
    assert record.output is not None
    assert record.output.partitions == (f"flight_date={day}",)
    assert len(record.checks) == 9
    assert all(check.success for check in record.checks)
    assert set(record.phases) == {"resolve", "start", "stage", "check", "publish"}
    assert record.versions["pyspark"].startswith("3.5.6")
    assert "resolve: look up the inputs" in (platform.ledger.log(record.run_id) or "")


def test_running_the_same_day_twice_changes_nothing_that_a_reader_sees(
    records: dict[dt.date, RunRecord], run: Callable[..., RunRecord], platform: Platform
) -> None:
    question = "SELECT * FROM marts.daily_performance ORDER BY flight_date, carrier, origin"
    before = rows(platform, question)
    again = run("daily_etl", date=figures.DAYS[0])
    assert again.output is not None
    assert again.output.version != again.output.previous
    assert rows(platform, question) == before


def test_the_scorecard_adds_up_the_days(records: dict[dt.date, RunRecord], run: Callable[..., RunRecord], platform: Platform) -> None:
    record = run("carrier_scorecard")
    card = {row["carrier"]: row for row in rows(platform, "SELECT * FROM marts.carrier_scorecard")}
    days = [row["flight_date"] for row in rows(platform, "SELECT DISTINCT flight_date FROM marts.daily_performance")]
    assert set(figures.DAYS) <= set(days)
    flights = figures.pd.concat([figures.flights_of(day) for day in days])
    assert {carrier: row["flights"] for carrier, row in card.items()} == flights.groupby("carrier").size().to_dict()
    delays = flights.groupby("carrier").dep_delay.agg(["sum", "count"])
    assert {carrier: row["avg_dep_delay"] for carrier, row in card.items()} == (delays["sum"] / delays["count"]).to_dict()
    assert record.inputs[0].rows == sum(len(figures.daily_performance(day)) for day in days)


def test_raw_weather_becomes_an_iceberg_table_with_one_partition_a_day(run: Callable[..., RunRecord], platform: Platform) -> None:
    for day in figures.DAYS[:2]:
        run("ingest_weather", date=day)
    days = ", ".join(f"DATE '{day}'" for day in figures.DAYS[:2])  # other tests load other days
    sql = f"SELECT date, count(*) AS hours, count(DISTINCT origin) AS airports FROM lake.weather WHERE date IN ({days}) GROUP BY date"
    counted = rows(platform, f"{sql} ORDER BY date")
    assert counted == [{"date": day, "hours": 72, "airports": 3} for day in figures.DAYS[:2]]


def test_the_reference_tables_are_readable_by_name_in_all_three_layouts(platform: Platform) -> None:
    sql = """SELECT (SELECT count(*) FROM reference.airlines) AS airlines, (SELECT count(*) FROM reference.airports) AS airports,
                    (SELECT sum(seats) FROM reference.planes) AS seats"""
    planes = figures.read("planes.csv")
    assert rows(platform, sql) == [{"airlines": 16, "airports": len(figures.read("airports.csv")), "seats": int(planes.seats.sum())}]
