/*
description: Delays of one day by the weather at departure; a query from before Trino, in Presto's SQL
engine: trino
dialect: presto
output: marts.weather_delays
partitioned_by: [flight_date]
format: parquet
params:
  date: {type: date, default: 2013-01-15, help: day to look at}
*/
SELECT
  f.origin,
  CASE WHEN w.precip > 0 THEN 'rain or snow' WHEN w.visib < 5 THEN 'low visibility' ELSE 'fair' END AS weather,
  count(*)                                        AS flights,
  count_if(f.dep_time IS NULL)                    AS cancelled,
  avg(CAST(f.dep_delay AS double))                AS avg_dep_delay,
  max_by(f.carrier, f.dep_delay)                  AS most_delayed_carrier,
  f.flight_date
FROM airline_ops.public.flights AS f
JOIN lake.weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour AND w.date = {date}
WHERE f.flight_date = {date}
GROUP BY f.flight_date, f.origin, 2
