"""The Spark engine: a function over DataFrames, or one SQL statement."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from framework import predicates
from framework import progress as events
from framework.aws import Aws
from framework.engines import Counted
from framework.engines.spark import conf, failures, malformed, metrics, read
from framework.engines.spark.databases import Databases
from framework.errors import EmrjobsError, JobFailed
from framework.jobs import Job, Params, Sql
from framework.publish import Staged, StagingArea
from framework.publish.threads import beside
from framework.quality import gx
from framework.sources.hdfs import Hdfs
from framework.sources.jdbc import JdbcRead
from framework.sources.paths import PathRead

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from framework.platform import Platform
    from framework.quality.gate import CheckReport
    from framework.quality.suite import Suite

_log = logging.getLogger(__name__)


class SparkEngine:
    """Executes the body of one job. Knows nothing of checks, publishing or where it was started from.

    Args:
        spark: a session of this run's own.
        aws: to say more about a broken file.
        root: the project's folder.
        hdfs: asked when the inputs are known: what `hdfs:///path` is a path of.

    Attributes:
        quarantined: how many records of an input were set aside, after `stage`.
        watermarks: what each incremental input has reached, after `stage`.
    """

    def __init__(self, spark: SparkSession, aws: Aws, root: Path, hdfs: Callable[[], Hdfs | None] = lambda: None) -> None:
        self.spark = spark
        self._aws = aws
        self._root = root
        self._hdfs = hdfs
        self.quarantined: dict[str, int] = {}
        self.watermarks: dict[str, str] = {}

    @staticmethod
    def preload() -> None:
        with suppress(ImportError):  # the session says better what is missing
            importlib.import_module("pyspark.sql")

    @classmethod
    @contextmanager
    def open(cls, platform: Platform, job: Job) -> Iterator[Self]:
        if job.checks:
            gx.preload()
        with platform.spark() as spark:
            yield cls(spark, platform.aws, platform.root, lambda: platform.hdfs_in_use)

    def ready(self) -> None:
        conf.prepare(self.spark, self._aws)
        conf.use_hdfs(self.spark, self._hdfs())

    def area(self, platform: Platform, job: Job, params: Params, run_id: str) -> StagingArea:
        return platform.area(self.spark, job, params, run_id)

    def stage(self, job: Job, inputs: Mapping[str, read.ResolvedInput], params: Params, area: StagingArea) -> tuple[Staged, Counted]:
        """Compute the job's output into `area`, which no reader looks at.

        Returns:
            What was staged, and how many rows each input gave, which is read off the plans meanwhile.

        Raises:
            JobFailed: the job's own code or SQL raised; carries its file, line and message.
            BadData: an input holds something else than the job declared.
            DatasetNotFound, AccessRefused, ServiceUnavailable: a database could not be read.
            SchemaMismatch: the output does not fit its table.
            EngineUnavailable: Spark stopped; safe to retry.
        """
        since = metrics.last_execution(self.spark)
        reads = {name: one for name, one in inputs.items() if isinstance(one, JdbcRead)}
        with Databases(self.spark, reads) as databases:
            frames = self._frames(job, inputs, params, databases)
            try:
                staged = area.write(compute(self.spark, job, frames, params))
            except EmrjobsError as exc:
                exc.where = exc.where or job.where
                raise
            except Exception as exc:
                raise failures.explain_run(exc, job, inputs, self.spark, self._aws, self._root) from exc
            self.watermarks = dict(databases.reached)
        until = metrics.last_execution(self.spark)
        counting = beside(self.spark, lambda: metrics.rows_read(self.spark, inputs, since, until))
        return staged, counting.result

    def _frames(self, job: Job, inputs: Mapping[str, read.ResolvedInput], params: Params, databases: Databases) -> dict[str, DataFrame]:
        """All inputs; tables and paths are looked up in threads of their own, databases one after the other."""
        beginning = {
            name: beside(self.spark, partial(self._frame, name, one, params, databases, job.where))
            for name, one in inputs.items()
            if not isinstance(one, JdbcRead)
        }
        frames = {}
        for name, one in inputs.items():
            try:
                frames[name] = beginning[name].result() if name in beginning else self._frame(name, one, params, databases, job.where)
            except EmrjobsError as exc:
                exc.where = exc.where or job.where
                raise
            except Exception as exc:
                raise failures.explain_read(exc, name, one, job.where, self.spark) from exc
        return frames

    def _frame(self, name: str, one: read.ResolvedInput, params: Params, databases: Databases, where: str) -> DataFrame:
        if not isinstance(one, PathRead) or one.quarantine is None:
            return read.frame(self.spark, one, params, databases, where=where)
        frame, self.quarantined[name] = malformed.set_aside(self.spark, name, one, where=where)
        return malformed.newest_of_each(frame, tuple(one.dedupe.keys), one.dedupe.by) if one.dedupe else frame

    @contextmanager
    def watched(self, text: str, on_event: events.OnRunEvent) -> Iterator[None]:
        from framework.engines.spark.progress import ProgressPoller, SparkProgress

        def tell(seen: SparkProgress) -> None:
            if seen.total:
                on_event(events.Working(text, seen.done, seen.total))

        with ProgressPoller(self.spark.sparkContext, tell):
            yield

    def audit(self, area: StagingArea, suite: Suite, params: Params) -> CheckReport:
        from framework.quality import gate

        return gate.audit(area.read(), suite, parameters=params)

    def explain(self, exc: Exception, where: str) -> EmrjobsError | None:
        return failures.explain_other(exc, self.spark, where)

    def cancel(self) -> None:
        self.spark.sparkContext.cancelAllJobs()


def compute(spark: SparkSession, job: Job, frames: Mapping[str, DataFrame], params: Params) -> DataFrame:
    """The job's body over its inputs; lazy, as all of Spark.

    Raises:
        JobFailed: a function returned something else than a DataFrame.
    """
    if isinstance(job.body, Sql):
        text = predicates.markers(job.body.text, where=job.file)
        used = {name: params[name] for _, _, name in predicates.spans(job.body.text, where=job.file)}
        return spark.sql(text, args=used)
    taken = inspect.signature(job.body).parameters
    result = job.body(**frames, **{name: value for name, value in params.items() if name in taken})
    if not hasattr(result, "writeTo"):
        raise JobFailed(f"job {job.name} must return a DataFrame, it returned {type(result).__name__}", where=job.where)
    frame: DataFrame = result
    return frame
