/*
description: How each carrier performed over all days that are loaded
engine: spark
output: marts.carrier_scorecard
format: parquet
params:
  min_flights: {type: int, default: 1, help: carriers with fewer flights are left out}
checks: carrier_scorecard
*/
SELECT
  carrier,
  carrier_name,
  count(DISTINCT flight_date)                       AS days,
  sum(flights)                                      AS flights,
  sum(cancelled)                                    AS cancelled,
  sum(delayed)                                      AS delayed,
  sum(cancelled) / sum(flights)                     AS cancelled_share,
  sum(dep_delay_minutes) / (sum(flights) - sum(cancelled)) AS avg_dep_delay,
  rank() OVER (ORDER BY sum(dep_delay_minutes) / (sum(flights) - sum(cancelled))) AS punctuality_rank
FROM marts.daily_performance
GROUP BY carrier, carrier_name
HAVING sum(flights) >= {min_flights}
