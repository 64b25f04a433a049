"""`daily_etl` is a function of DataFrames: a few typed rows in, rows out. No services, no configuration."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from framework.discovery import discover

pytestmark = pytest.mark.spark

DAY = dt.date(2013, 3, 8)
SEVEN, EIGHT = dt.datetime(2013, 3, 8, 12), dt.datetime(2013, 3, 8, 13)

FLIGHTS = (
    "flight_date date, carrier string, origin string, dep_time timestamp, dep_delay int, arr_delay int, distance int, time_hour timestamp"
)
WEATHER = "origin string, time_hour timestamp, precip double, wind_speed double, visib double"
AIRLINES = "carrier string, name string"


@pytest.fixture
def summarise(spark: Any, project: Path) -> Any:
    daily_etl = discover(project).get("daily_etl")

    def one(
        flights: list[tuple[Any, ...]], weather: list[tuple[Any, ...]] = (), airlines: list[tuple[str, str]] = ()
    ) -> list[dict[str, Any]]:  # type: ignore[assignment]
        result = daily_etl(
            spark.createDataFrame([(DAY, *row) for row in flights], FLIGHTS),
            spark.createDataFrame(list(weather), WEATHER),
            spark.createDataFrame(list(airlines), AIRLINES),
        )
        return [row.asDict() for row in result.orderBy("carrier", "origin").collect()]

    return one


def test_delays_and_distances_are_added_up_per_carrier_and_airport(summarise: Any) -> None:
    rows = summarise(
        [("UA", "EWR", SEVEN, 20, 10, 100, SEVEN), ("UA", "EWR", SEVEN, -5, -8, 300, SEVEN), ("UA", "JFK", EIGHT, 0, 0, 50, EIGHT)],
        airlines=[("UA", "United")],
    )
    assert [(row["origin"], row["flights"], row["delayed"], row["dep_delay_minutes"], row["avg_dep_delay"]) for row in rows] == [
        ("EWR", 2, 1, 15, 7.5),
        ("JFK", 1, 0, 0, 0.0),
    ]
    assert [(row["carrier_name"], row["distance_flown"], row["arr_delay_minutes"]) for row in rows] == [
        ("United", 400, 2),
        ("United", 50, 0),
    ]


def test_a_cancelled_flight_counts_as_cancelled_and_flies_no_distance(summarise: Any) -> None:
    (row,) = summarise([("UA", "EWR", None, None, None, 100, SEVEN)])
    assert (row["flights"], row["cancelled"], row["distance_flown"], row["avg_dep_delay"]) == (1, 1, None, None)


def test_the_weather_is_that_of_the_airport_in_the_hour_of_departure(summarise: Any) -> None:
    (row,) = summarise(
        [("UA", "EWR", SEVEN, 0, 0, 1, SEVEN), ("UA", "EWR", EIGHT, 0, 0, 1, EIGHT)],
        weather=[("EWR", SEVEN, 0.2, 30.0, 0.5), ("EWR", EIGHT, 0.0, 10.0, 9.0), ("JFK", SEVEN, 9.9, 99.0, 0.1)],
    )
    assert (row["flights_in_rain"], row["max_wind_speed"], row["min_visibility"]) == (1, 30.0, 0.5)


def test_a_flight_without_weather_or_with_an_unknown_carrier_is_kept(summarise: Any) -> None:
    (row,) = summarise([("XX", "EWR", SEVEN, 0, 0, 1, SEVEN)], airlines=[("UA", "United")])
    assert (row["flights"], row["carrier_name"], row["flights_in_rain"], row["max_wind_speed"]) == (1, None, 0, None)
