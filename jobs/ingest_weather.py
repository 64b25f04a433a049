"""Raw weather into the lake."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from framework import Param, Path, Table, job
from jobs._weather import SCHEMA

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@job(
    params={"date": Param(dt.date, default=dt.date(2013, 1, 15), help="day to load")},
    inputs={"observations": Path("{raw}/weather/date={date}/", format="json", schema=SCHEMA)},
    output=Table("lake.weather", partitioned_by=["date"], comment="Hourly weather at the airports of New York"),
    checks="weather",
)
def ingest_weather(observations: DataFrame, *, date: dt.date) -> DataFrame:
    """Load one day of weather observations into the lake"""
    from pyspark.sql import functions as F

    return observations.dropDuplicates(["origin", "time_hour"]).withColumn("date", F.lit(date))
