"""Work beside the calling thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")


def begin(work: Callable[[], T]) -> Future[T]:
    """Begin `work` in a thread of its own."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="beside")
    begun = pool.submit(work)
    pool.shutdown(wait=False)
    return begun


def beside(spark: SparkSession, work: Callable[[], T]) -> Future[T]:
    """Begin `work` in a thread of its own, which has `spark` as its active session as the calling one has."""

    def run() -> T:
        try:
            # Iceberg asks the Java thread for its session.
            spark._jvm.SparkSession.setActiveSession(spark._jsparkSession)
            return work()
        finally:
            # Each thread has a connection of its own to the JVM, and this one ends here.
            if connection := spark.sparkContext._gateway._gateway_client.get_thread_connection():
                connection.close()

    return begin(run)
