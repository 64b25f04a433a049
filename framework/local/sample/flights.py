"""Flights into PostgreSQL: the file is copied as it is into a temporary table, and one statement makes the real one of it."""

from __future__ import annotations

import logging
import time
import zipfile

from framework.local import postgres
from framework.local.sample.seeding import Loaded, Seeding, explained

log = logging.getLogger(__name__)

_CHUNK = 1 << 20

TABLE = """
create table flights (
    id             bigint generated always as identity,
    flight_date    date         not null,
    carrier        varchar(2)   not null,
    flight         integer      not null,
    tailnum        varchar(6),
    origin         varchar(3)   not null,
    dest           varchar(3)   not null,
    sched_dep_time timestamp    not null,
    dep_time       timestamp,
    dep_delay      integer,
    sched_arr_time timestamp    not null,
    arr_time       timestamp,
    arr_delay      integer,
    air_time       integer,
    distance       integer      not null,
    time_hour      timestamptz  not null
)
"""
"""The operational table; delays and air_time in minutes, distance in miles. A cancelled flight has no dep_time; one that departed
and has no arr_delay was diverted.

The package gives clock readings (hhmm; 2400 is midnight) without a day. They become timestamps in the local time of the airport
where the reading was taken, as airlines print them: departures at the origin, arrivals at the destination.
- sched_dep_time is the reading on flight_date;
- dep_time is sched_dep_time + dep_delay, which has the given reading for all flights;
- sched_arr_time and arr_time are the first such reading after the departure (no flight is longer than a day), which is
  sched_arr_time + arr_delay for all flights that have a delay.
time_hour is the hour of the scheduled departure in UTC, the key to the weather.
"""

_STAGE = """
create temporary table sample_flights (
    year smallint, month smallint, day smallint, dep_time smallint, sched_dep_time smallint, dep_delay integer, arr_time smallint,
    sched_arr_time smallint, arr_delay integer, carrier text, flight integer, tailnum text, origin text, dest text, air_time integer,
    distance integer, hour smallint, minute smallint, time_hour timestamptz
) on commit drop
"""
_COPY = "copy sample_flights from stdin (format csv, header true, null 'NA')"

# All times in minutes since midnight of flight_date. An arrival is as many minutes after the departure as the two readings differ.
_INSERT = """
insert into flights (
    flight_date, carrier, flight, tailnum, origin, dest, sched_dep_time, dep_time, dep_delay, sched_arr_time, arr_time, arr_delay,
    air_time, distance, time_hour
)
select
    flight_date, carrier, flight, tailnum, origin, dest,
    flight_date + make_interval(mins => scheduled),
    flight_date + make_interval(mins => departed),
    dep_delay,
    flight_date + make_interval(mins => scheduled + (sched_arr_reading - scheduled + 1440) % 1440),
    flight_date + make_interval(mins => departed + ((arr_reading - departed) % 1440 + 1440) % 1440),
    arr_delay, air_time, distance, time_hour
from sample_flights
cross join lateral (
    select
        make_date(year, month, day) as flight_date,
        sched_dep_time / 100 * 60 + sched_dep_time % 100 as scheduled,
        sched_dep_time / 100 * 60 + sched_dep_time % 100 + dep_delay as departed,
        sched_arr_time / 100 * 60 + sched_arr_time % 100 as sched_arr_reading,
        arr_time / 100 * 60 + arr_time % 100 as arr_reading
) as minutes
"""


def is_loaded(seeding: Seeding) -> bool:
    """Whether the table is there and its comment names this version."""
    import psycopg

    try:
        with postgres.connect(seeding.target.postgres, database=seeding.target.database) as connection:
            row = connection.execute("select obj_description(to_regclass('public.flights'), 'pg_class')").fetchone()
    except psycopg.OperationalError as exc:  # most likely there is no such database; if it is the server, loading will say so
        log.debug("no sample flights: %s", exc)
        return False
    return row is not None and row[0] == _comment(seeding)


def load(seeding: Seeding) -> list[Loaded]:
    """One transaction: the table is there with all its rows, index and marker, or is not there."""
    from psycopg import sql

    target, what, began = seeding.target, "flights to PostgreSQL", time.monotonic()
    with (
        zipfile.ZipFile(seeding.files / "flights.csv.zip") as archive,
        archive.open("flights.csv") as file,
        explained("load the sample flights"),
        postgres.connect(target.postgres, database=target.database, autocommit=False) as connection,
    ):
        size, sent = archive.getinfo("flights.csv").file_size, 0
        cursor = connection.cursor()
        cursor.execute(_STAGE)
        with cursor.copy(_COPY) as copy:
            while chunk := file.read(_CHUNK):
                seeding.tell(what, sent, size)
                copy.write(chunk)
                sent += len(chunk)
        cursor.execute("drop table if exists flights")
        cursor.execute(TABLE)
        cursor.execute(_INSERT)
        rows = cursor.rowcount
        cursor.execute("alter table flights add primary key (id)")
        cursor.execute("create index flights_flight_date on flights (flight_date)")
        cursor.execute("analyze flights")
        cursor.execute(sql.SQL("comment on table flights is {}").format(sql.Literal(_comment(seeding))))
    seeding.tell(what, size, size)
    return [Loaded("flights", f"postgresql {target.database}.flights", rows, size, time.monotonic() - began)]


def _comment(seeding: Seeding) -> str:
    return f"Flights that left New York City in 2013 ({seeding.version})"
