"""How much memory the driver needs for sixteen times the data."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import psutil

from benchmarks import measure
from benchmarks.run import year
from framework import Jdbc
from framework.config.loader import load
from framework.discovery import discover
from framework.engines.spark import conf
from framework.local.target import open_platform
from framework.platform import Platform
from framework.runner import run_job
from framework.sources import postgresql

ROOT = FilePath(__file__).parents[1]
TIMES = 16
MANY = "bench_flights_16"
_EVERY = 1.0  # seconds between looks: each stops the JVM for a full collection


def results(rounds: int) -> str:
    """A section in Markdown."""
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform, _sixteenfold(platform) as rows, platform.spark() as spark:
        conf.prepare(spark, platform.aws)

        @contextlib.contextmanager
        def same_session(_: Mapping[str, str]) -> Iterator[Any]:
            yield spark

        platform._start_spark = same_session
        once = year(discover(ROOT).get("daily_etl"))
        jobs = {
            "1": once,
            str(TIMES): replace(
                once,
                inputs={**once.inputs, "flights": Jdbc("airline_ops", MANY)},
                output=replace(once.output, name="marts.yearly_performance_16"),
            ),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
        seconds: dict[str, float] = {}
        for turn in range(rounds + 1):
            for name, job in jobs.items():
                with _watched(spark) as peaks:
                    seconds[name] = measure.block(lambda job=job: run_job(job, {"date": "2013-01-15"}, platform)).wall  # type: ignore[misc]
                if turn:  # the first is the warm-up
                    found[name].append((max(peaks["heap"]), max(peaks["python"])))
    heap, python = ({name: sorted(one[what] for one in all_)[len(all_) // 2] for name, all_ in found.items()} for what in (0, 1))
    many = str(TIMES)
    return "\n".join(
        [
            "## Memory of the driver",
            "",
            f"`daily_etl` over the year (336,776 flights), and over {TIMES} times as many ({rows:,}), in one warm session whose JVM also runs the tasks.",
            "The heap is what was alive after a collection, which is asked for every second; the greatest value of a run, median of the runs.",
            "",
            "| what | heap alive, MB | ratio (goal 1.2) | Python, MB | ratio | s |",
            "|---|---|---|---|---|---|",
            f"| the year | {heap['1']:.0f} | 1 | {python['1']:.0f} | 1 | {seconds['1']:.1f} |",
            f"| {TIMES} times the year | {heap[many]:.0f} | {heap[many] / heap['1']:.2f} | {python[many]:.0f} | {python[many] / python['1']:.2f} | {seconds[many]:.1f} |",
        ]
    )


@contextlib.contextmanager
def _watched(spark: Any) -> Iterator[dict[str, list[float]]]:
    """The heap after collections, and this process, in MB, while the context is open."""
    ended, peaks = threading.Event(), {"heap": [0.0], "python": [0.0]}
    own = psutil.Process()
    system, runtime = spark._jvm.java.lang.System, spark._jvm.java.lang.Runtime.getRuntime()

    def look() -> None:
        while not ended.wait(_EVERY):
            system.gc()
            peaks["heap"].append((runtime.totalMemory() - runtime.freeMemory()) / 1e6)
            peaks["python"].append(own.memory_info().rss / 1e6)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()


@contextlib.contextmanager
def _sixteenfold(platform: Platform) -> Iterator[int]:
    with postgresql.connect(platform.open_connection("airline_ops")) as connection:
        connection.autocommit = True
        connection.execute(f"drop table if exists {MANY}")
        connection.execute(f"create unlogged table {MANY} as select f.* from flights f cross join generate_series(1, {TIMES})")
        connection.execute(f"analyze {MANY}")
        try:
            yield int(connection.execute(f"select count(*) from {MANY}").fetchall()[0][0])
        finally:
            connection.execute(f"drop table {MANY}")
