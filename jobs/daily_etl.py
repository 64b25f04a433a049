"""Flights of one day, with the weather at departure, per carrier and airport."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from framework import Jdbc, Param, Path, Table, job
from jobs._weather import SCHEMA

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@job(
    params={"date": Param(dt.date, default=dt.date(2013, 1, 15), help="day of departure")},
    inputs={
        "flights": Jdbc("airline_ops", "flights", where="flight_date = {date}"),
        "weather": Path("{raw}/weather/date={date}/", format="json", schema=SCHEMA),
        "airlines": Table("reference.airlines"),
    },
    output=Table(
        "marts.daily_performance",
        partitioned_by=["flight_date"],
        comment="Flights, delays and weather per day, carrier and airport",
    ),
    checks="daily_performance",
)
def daily_etl(flights: DataFrame, weather: DataFrame, airlines: DataFrame) -> DataFrame:
    """Delays and cancellations of one day per carrier and airport"""
    from pyspark.sql import functions as F

    def count_if(condition: object) -> object:
        return F.count(F.when(condition, 1))

    # A cancelled flight has no departure time; a diverted one departed and has no arrival delay.
    departed = F.col("dep_time").isNotNull()
    hourly = weather.select("origin", "time_hour", "precip", "wind_speed", "visib")
    return (
        flights.join(hourly, ["origin", "time_hour"], "left")
        .join(airlines.select("carrier", F.col("name").alias("carrier_name")), "carrier", "left")
        .groupBy("flight_date", "carrier", "carrier_name", "origin")
        .agg(
            F.count("*").alias("flights"),
            count_if(~departed).alias("cancelled"),
            count_if(F.col("dep_delay") > 15).alias("delayed"),
            F.sum("dep_delay").alias("dep_delay_minutes"),
            F.avg("dep_delay").alias("avg_dep_delay"),
            F.max("dep_delay").alias("max_dep_delay"),
            F.sum("arr_delay").alias("arr_delay_minutes"),
            F.sum(F.when(departed, F.col("distance"))).alias("distance_flown"),
            count_if(F.col("precip") > 0).alias("flights_in_rain"),
            F.max("wind_speed").alias("max_wind_speed"),
            F.min("visib").alias("min_visibility"),
        )
    )
