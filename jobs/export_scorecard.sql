/*
description: The carriers' scorecard, from the lake back into the operational database
engine: trino
connection: airline_ops
output: public.carrier_scorecard
checks: carrier_scorecard
*/
SELECT
  s.carrier,
  s.carrier_name,
  s.days,
  s.flights,
  s.cancelled,
  s.delayed,
  s.cancelled_share,
  s.avg_dep_delay,
  s.punctuality_rank
FROM marts.carrier_scorecard AS s
