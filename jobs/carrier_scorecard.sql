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
  p.carrier,
  p.carrier_name,
  count(DISTINCT p.flight_date)                                AS days,
  sum(p.flights)                                               AS flights,
  sum(p.cancelled)                                             AS cancelled,
  sum(p.delayed)                                               AS delayed,
  sum(p.cancelled) / sum(p.flights)                            AS cancelled_share,
  sum(p.dep_delay_minutes) / (sum(p.flights) - sum(p.cancelled)) AS avg_dep_delay,
  rank() OVER (ORDER BY sum(p.dep_delay_minutes) / (sum(p.flights) - sum(p.cancelled))) AS punctuality_rank
FROM marts.daily_performance AS p
GROUP BY p.carrier, p.carrier_name
HAVING sum(p.flights) >= {min_flights}
