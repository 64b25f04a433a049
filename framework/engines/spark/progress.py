"""What a Spark context is doing, for whoever shows it to the user."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from framework.engines.spark.session import close_connection

if TYPE_CHECKING:
    from pyspark import SparkContext

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SparkProgress:
    """The jobs that run now, taken together; all zero and empty between jobs.

    Attributes:
        stages: stages that run.
        done, total: tasks of the running jobs; skipped ones count as done.
        description: of the newest job: as set by `sc.setJobDescription`, else the call that started it.
    """

    stages: int = 0
    done: int = 0
    total: int = 0
    description: str = ""


class ProgressPoller:
    """Calls `report` from a thread of its own whenever the progress has changed; to be used as a context manager.

    Args:
        report: must be quick; an error in it ends the reports and is logged.
        interval: seconds between two looks.
    """

    def __init__(self, context: SparkContext, report: Callable[[SparkProgress], None], *, interval: float = 0.25) -> None:
        self._context, self._report, self._interval = context, report, interval
        self._gateway = context._gateway
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spark-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        # Not for ever: a JVM that hangs must not hang the run's end.
        self._thread.join(5)

    def _run(self) -> None:
        last = SparkProgress()
        try:
            while not self._ended.wait(self._interval):
                now = look(self._context)
                if now != last:
                    self._report(now)
                    last = now
        except Exception:  # the context was stopped, or its JVM is gone: others will say so
            log.debug("no more Spark progress", exc_info=True)
        finally:
            close_connection(self._gateway)


def look(context: SparkContext) -> SparkProgress:
    """The progress at this moment."""
    tracker = context._jsc.sc().statusTracker()
    jobs = sorted(tracker.getActiveJobIds())
    if not jobs:
        return SparkProgress()
    store = context._jsc.sc().statusStore()
    done = total = 0
    description = ""
    for job in jobs:
        data = store.job(job)
        done += data.numCompletedTasks() + data.numSkippedTasks()
        total += data.numTasks()
        text = data.description()
        description = text.get() if text.isDefined() else data.name()
    return SparkProgress(len(tracker.getActiveStageIds()), done, total, " ".join(description.split()))
