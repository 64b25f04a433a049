"""Results of Trino queries in Python, as Arrow.

    from framework import trino

    flights = trino.fetch_arrow("select * from marts.daily_performance where flight_date = {day}", {"day": date(2013, 1, 15)})
    for batch in trino.fetch_batches("select * from airline_ops.public.flights"):
        ...

A small result comes by the client. A large one (by the planner's estimate; `unload=` decides otherwise) is written by Trino to
Parquet files on the environment's state prefix, read from there and removed, also when anything of it fails. The rows of a query
without ORDER BY come in any order; one with ORDER BY always comes by the client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from framework import environment
from framework.jobs import Params

if TYPE_CHECKING:
    import pyarrow as pa

    from framework.engines.trino.arrow import Fetch


def fetch_arrow(
    sql: str, params: Params | None = None, *, env: str = "embedded", overrides: Sequence[str] = (), unload: bool | None = None
) -> pa.Table:
    """The whole result of a query.

    Args:
        sql: one query; `{name}` stands for a parameter.
        params: their values: dates, numbers and texts, which become literals and never SQL.
        env: environment, configs/env/<env>.yaml.
        overrides: `key=value` settings, as --set takes them.
        unload: True: by way of files on S3; False: by the client; None: the planner's estimate decides.

    Raises:
        UserError: it is not a query, does not parse, or names what is not there.
        JobFailed: it failed.
        EngineUnavailable: Trino does not answer; safe to retry.
    """
    with _fetch(sql, params, env, overrides, unload, None) as found:
        return found.table()


def fetch_batches(
    sql: str,
    params: Params | None = None,
    *,
    env: str = "embedded",
    overrides: Sequence[str] = (),
    unload: bool | None = None,
    batch_rows: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """As `fetch_arrow`, in batches of at most `batch_rows` rows (65,536), of which only some are in memory at a time."""
    with _fetch(sql, params, env, overrides, unload, batch_rows) as found:
        yield from found.batches()


@contextmanager
def _fetch(
    sql: str, params: Params | None, env: str, overrides: Sequence[str], unload: bool | None, batch_rows: int | None
) -> Iterator[Fetch]:
    from framework import query
    from framework.config.loader import load

    loaded = load(environment.find_project(), env, overrides=overrides)
    with (
        environment.open_platform(loaded) as platform,
        query.fetch(platform, sql, params or {}, unload=unload, batch_rows=batch_rows) as found,
    ):
        yield found
