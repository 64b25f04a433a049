"""What a suite found: plain values, for the command line, the run's record and the gate's decision."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from framework.quality.suite import Severity
from framework.quality.words import percent


@dataclass(frozen=True)
class CheckResult:
    """One expectation and what it found.

    Attributes:
        statement: the expectation in words.
        where: `file:line` of it in the suite.
        kwargs: its arguments, with the run's parameters filled in.
        observed: the value of a table or column expectation (a mean, a row count); None for one that judges rows.
        rows: rows that were judged (not null, not left out by a condition); None for one that does not judge rows.
        unexpected_count: how many of them do not hold; `unexpected_percent` of 100.
        samples: some of them, as whole rows.
        exception: why it could not be computed; it then counts as failed.
    """

    type: str
    columns: tuple[str, ...]
    severity: Severity
    statement: str
    where: str | None
    note: str | None
    kwargs: dict[str, Any]
    success: bool
    observed: Any = None
    rows: int | None = None
    unexpected_count: int | None = None
    unexpected_percent: float | None = None
    samples: tuple[dict[str, Any], ...] = ()
    exception: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {"severity": str(self.severity), "columns": list(self.columns), "samples": list(self.samples)}


@dataclass(frozen=True)
class CheckReport:
    """All that a suite found.

    Attributes:
        rows: rows of the frame.
        spark_jobs: how many Spark jobs it took; None where Spark does not tell (Spark Connect).
        seconds: wall time, the import of Great Expectations included as far as it was waited for.
        evidence: Great Expectations' own results in its JSON form, in the same order; only for Data Docs.
    """

    suite: str
    results: tuple[CheckResult, ...]
    rows: int | None
    spark_jobs: int | None
    seconds: float
    evidence: tuple[dict[str, Any], ...] = field(default=(), repr=False, compare=False)

    @property
    def failed_errors(self) -> tuple[CheckResult, ...]:
        """The failures that block the publish."""
        return tuple(result for result in self.results if not result.success and result.severity is Severity.ERROR)

    @property
    def failed_warnings(self) -> tuple[CheckResult, ...]:
        """The failures that are only reported."""
        return tuple(result for result in self.results if not result.success and result.severity is Severity.WARN)

    @property
    def passed(self) -> bool:
        """Whether the data may be published."""
        return not self.failed_errors

    def to_dict(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        return {
            "suite": self.suite,
            "passed": self.passed,
            "rows": self.rows,
            "spark_jobs": self.spark_jobs,
            "seconds": round(self.seconds, 3),
            "results": [result.to_dict() for result in self.results],
        }


def describe(result: CheckResult) -> str:
    """One line: `carrier must not be null: 12 of 900 rows (1.3 %) do not hold`."""
    return f"{result.statement}: {_finding(result)}"


def _finding(result: CheckResult) -> str:
    if result.exception is not None:
        return f"could not be computed: {result.exception}"
    if result.rows is not None:
        if not result.rows:
            return "there are no such rows"
        if not result.unexpected_count:
            return f"holds for all {result.rows:,} rows"
        share = percent(result.unexpected_percent or 0)
        return f"{result.unexpected_count:,} of {result.rows:,} rows ({share}) do not hold"
    if result.unexpected_count:
        return f"{result.unexpected_count:,} rows found"
    if result.observed is None:
        return "holds" if result.success else "does not hold"
    shown = ", ".join(map(str, result.observed)) if isinstance(result.observed, list) else str(result.observed)
    if isinstance(result.observed, float):
        shown = f"{result.observed:.6g}"
    elif isinstance(result.observed, int) and not isinstance(result.observed, bool):
        shown = f"{result.observed:,}"
    return f"found {shown}"
