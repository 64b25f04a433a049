"""Engines: execute the body of a job. One folder each; none knows of publishing, checks or what started it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from framework.errors import EmrjobsError, MissingExtra
from framework.jobs import EngineKind, Job, Params
from framework.progress import OnRunEvent
from framework.publish import Area, Staged

if TYPE_CHECKING:
    from framework.platform import Platform
    from framework.quality.gate import CheckReport
    from framework.quality.suite import Suite


Counted: TypeAlias = Callable[[], Mapping[str, int]]
"""Input -> rows that it gave."""


class Engine(Protocol):
    """An engine that is open for one run.

    Attributes:
        quarantined: how many records of an input were set aside, after `stage`.
        watermarks: what each incremental input has reached, after `stage`.
    """

    quarantined: dict[str, int]
    watermarks: dict[str, str]

    @staticmethod
    def preload() -> None:
        """Import what takes long. Nothing is started."""

    @classmethod
    def open(cls, platform: Platform, job: Job) -> AbstractContextManager[Engine]:
        """Start or find the engine for a job; leaving the context ends what was started for this run.

        Raises:
            EngineUnavailable, ServiceUnavailable: it cannot be started or does not answer.
        """

    def ready(self) -> None:
        """Called by the thread that will use it, which may be another one than opened it."""

    def area(self, platform: Platform, job: Job, params: Params, run_id: str) -> Any:
        """Where a run's rows are staged: an `Area` that this engine can write to."""

    def stage(self, job: Job, inputs: Mapping[str, Any], params: Params, area: Any) -> tuple[Staged, Counted]:
        """Compute the job's output into `area`, which no reader looks at.

        Returns:
            What was staged, and how many rows each input gave where the engine knows; to be asked while it is open.

        Raises:
            JobFailed: the job's own code or SQL raised; carries its file, line and message.
            SchemaMismatch: the output does not fit its table.
            EngineUnavailable: the engine stopped; safe to retry.
        """

    def watched(self, text: str, on_event: OnRunEvent) -> AbstractContextManager[None]:
        """Tell of the work's progress while the context is open."""

    def audit(self, area: Any, suite: Suite, params: Params) -> CheckReport:
        """Judge the staged rows."""

    def explain(self, exc: Exception, where: str) -> EmrjobsError | None:
        """What a foreign exception of `audit` or of the area's publish means; None where that is not known."""

    def cancel(self) -> None:
        """Stop what still computes. Safe to call at any time."""


_LOADERS: Mapping[EngineKind, tuple[str, str, str]] = {
    EngineKind.SPARK: ("framework.engines.spark.engine", "SparkEngine", "spark"),
    EngineKind.SPARK_SQL: ("framework.engines.spark.engine", "SparkEngine", "spark"),
    EngineKind.TRINO: ("framework.engines.trino.engine", "TrinoEngine", "trino"),
    EngineKind.PRESTO: ("framework.engines.presto.engine", "PrestoEngine", "trino"),
}
"""Engine -> module, class and the extra that it needs."""


def load(kind: EngineKind) -> type[Engine]:
    """The class of an engine, imported when it is first asked for.

    Raises:
        MissingExtra: what it needs is not installed.
    """
    module, name, extra = _LOADERS[kind]
    try:
        found: type[Engine] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.split(".")[0] == "framework":
            raise
        raise MissingExtra(f"this needs the package {exc.name!r}, which is not installed", fix=f"pip install 'emrjobs[{extra}]'") from exc
    return found


__all__ = ["Area", "Counted", "Engine", "load"]
