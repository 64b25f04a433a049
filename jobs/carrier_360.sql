/*
description: Each carrier on one day, from the mart, reference, operations and search
engine: trino
output: marts.carrier_360
partitioned_by: [flight_date]
params:
  date: {type: date, default: 2013-01-15, help: day to look at}
checks: carrier_360
*/
WITH busiest AS (
  SELECT
    f.carrier,
    f.dest,
    count(*)                                                            AS flights,
    row_number() OVER (PARTITION BY f.carrier ORDER BY count(*) DESC, f.dest) AS place
  FROM airline_ops.public.flights AS f
  WHERE f.flight_date = {date}
  GROUP BY f.carrier, f.dest
)
SELECT
  m.flight_date,
  m.carrier,
  m.carrier_name,
  CAST(sum(m.flights) AS bigint)                                        AS flights,
  CAST(sum(m.cancelled) AS bigint)                                      AS cancelled,
  CAST(sum(m.delayed) AS bigint)                                        AS delayed,
  CAST(sum(m.dep_delay_minutes) AS double) / nullif(sum(m.flights) - sum(m.cancelled), 0) AS avg_dep_delay,
  b.dest                                                                AS busiest_destination,
  a.name                                                                AS busiest_destination_name,
  b.flights                                                             AS busiest_destination_flights,
  i.faa IS NOT NULL                                                     AS busiest_destination_is_international
FROM marts.daily_performance AS m
JOIN busiest AS b ON b.carrier = m.carrier AND b.place = 1
LEFT JOIN reference.airports AS a ON a.faa = b.dest
LEFT JOIN search.default.airports AS i ON i.faa = b.dest AND i.about LIKE '%Intl%'
WHERE m.flight_date = {date}
GROUP BY m.flight_date, m.carrier, m.carrier_name, b.dest, a.name, b.flights, i.faa
