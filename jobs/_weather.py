"""What the raw weather files hold: one observation an hour and airport, as JSON lines."""

SCHEMA = (
    "origin string, time_hour timestamp, temp double, dewp double, humid double, wind_dir double, wind_speed double, "
    "wind_gust double, precip double, pressure double, visib double"
)
