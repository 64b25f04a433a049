"""`daily_etl` as a team writes it without a framework: the same reads, the same result, the same table layout.

Run by spark-submit (a peer of `make run`), or called in a session that is already there (a peer of the framework's own part).
"""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

WEATHER = "origin string, time_hour timestamp, precip double, wind_speed double, visib double"


def daily_performance(spark: Any, day: str | None, table: str, *, atomic: bool = False) -> None:
    """Read one day (None: the whole year), aggregate, overwrite the partitions.

    Args:
        atomic: stage the rows under a wap.id and publish them by a second commit, as Iceberg's documentation shows it.
    """
    from pyspark.sql import functions as F

    result = _result(spark, day)
    if not spark.catalog.tableExists(table):
        writer = result.writeTo(table).using("iceberg").partitionedBy(F.col("flight_date"))
        writer.tableProperty("write.wap.enabled", str(atomic).lower()).create()
    elif atomic:
        run = uuid.uuid4().hex
        spark.conf.set("spark.wap.id", run)
        result.writeTo(table).overwritePartitions()
        spark.conf.unset("spark.wap.id")
        spark.sql(f"CALL spark_catalog.system.publish_changes('{table}', '{run}')")
    else:
        result.writeTo(table).overwritePartitions()


def _result(spark: Any, day: str | None) -> Any:
    from pyspark.sql import functions as F

    flights = (
        spark.read.format("jdbc")
        .options(
            url=os.environ["BENCH_JDBC_URL"],
            user=os.environ["BENCH_JDBC_USER"],
            password=os.environ["BENCH_JDBC_PASSWORD"],
            driver="org.postgresql.Driver",
            fetchsize="10000",
            dbtable=f"(SELECT * FROM flights WHERE flight_date = DATE '{day}') AS flights" if day else "flights",
        )
        .load()
    )
    weather = spark.read.schema(WEATHER).json(f"s3://emrjobs-raw/weather/date={day}/" if day else "s3://emrjobs-raw/weather/")
    airlines = spark.table("reference.airlines").select("carrier", F.col("name").alias("carrier_name"))
    departed = F.col("dep_time").isNotNull()
    return (
        flights.join(weather, ["origin", "time_hour"], "left")
        .join(airlines, "carrier", "left")
        .groupBy("flight_date", "carrier", "carrier_name", "origin")
        .agg(
            F.count("*").alias("flights"),
            F.count(F.when(~departed, 1)).alias("cancelled"),
            F.count(F.when(F.col("dep_delay") > 15, 1)).alias("delayed"),
            F.sum("dep_delay").alias("dep_delay_minutes"),
            F.avg("dep_delay").alias("avg_dep_delay"),
            F.max("dep_delay").alias("max_dep_delay"),
            F.sum("arr_delay").alias("arr_delay_minutes"),
            F.sum(F.when(departed, F.col("distance"))).alias("distance_flown"),
            F.count(F.when(F.col("precip") > 0, 1)).alias("flights_in_rain"),
            F.max("wind_speed").alias("max_wind_speed"),
            F.min("visib").alias("min_visibility"),
        )
    )


if __name__ == "__main__":
    from pyspark.sql import SparkSession

    session = SparkSession.builder.appName("handwritten").getOrCreate()
    daily_performance(session, *sys.argv[1:3])
    session.stop()
