"""The gate: judge staged data by a suite, with Great Expectations, in one scan of it.

First pass: verdicts and counts of all expectations, from one Spark query (`spark_engine`). Second pass, only for
expectations that judge rows and failed: some of the offending rows, one small query each. No data context is made, so
nothing is written, nothing is sent and no progress bar is drawn.

An empty frame passes whatever judges rows, as Great Expectations has it; a suite that wants rows says so with
expect_table_row_count_to_be_between.

`audit` judges a Spark DataFrame, `audit_table` a table of a SQL engine; only Great Expectations' execution engine differs.
"""

from __future__ import annotations

import datetime
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framework.errors import SuiteError, nearest
from framework.quality import catalogue
from framework.quality.gx import import_gx, preload, quiet
from framework.quality.report import CheckReport, CheckResult, describe
from framework.quality.suite import Expectation, Severity, Suite

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["CheckReport", "CheckResult", "audit", "describe", "preload"]

_GX_SEVERITY = {Severity.ERROR: "critical", Severity.WARN: "warning"}
_LONGEST_MESSAGE = 300
# Great Expectations registers the frame under this name for a query, and leaves it.
_GX_VIEW = "tmp_view"
_QUERY = "unexpected_rows_expectation"
# What an expectation on the table says of its domain: the same words, or its rows are counted twice.
_WHOLE_TABLE = ("batch_id", "table", "row_condition", "condition_parser")
_SAMPLES = (".unexpected_rows", "unexpected_rows_query.table")


@dataclass
class _Check:
    """One expectation on its way: what was asked, Great Expectations' form of it, and what came back."""

    asked: Expectation
    gx: Any
    problem: str | None = None
    result: Any = None
    samples: Sequence[Mapping[str, Any]] = ()

    @property
    def found(self) -> Mapping[str, Any]:
        return (self.result.result or {}) if self.result is not None else {}

    @property
    def has_offending_rows(self) -> bool:
        return self.result is not None and not self.result.success and catalogue.load()[self.asked.type].per_row


def audit(frame: DataFrame, suite: Suite, *, parameters: Mapping[str, Any] | None = None, sample_rows: int = 5) -> CheckReport:
    """Judge a frame by a suite.

    The frame is computed once, and once more for each failed expectation that has sample rows; it is not cached here.

    Args:
        frame: the staged data, as a reader will see it.
        parameters: the run's parameters, for values "{name}" in the suite.
        sample_rows: at most so many offending rows of each failed expectation; 0 for none.

    Raises:
        SuiteError: an expectation's arguments do not make sense together, or name a parameter that the run does not have.
        MissingExtra: Great Expectations is not installed.
    """
    import_gx()
    from framework.quality.spark_engine import OneScanCalculator, OneScanEngine

    with quiet(), _job_group(frame, f"checks of {suite.name}") as spark_jobs:
        engine = OneScanEngine(frame)
        calculator = OneScanCalculator(engine, show_progress_bars=False)
        try:
            return _judge(suite.bind(parameters or {}), engine, calculator, set(_paths(frame.schema.fields)), sample_rows, spark_jobs)
        finally:
            frame.sparkSession.catalog.dropTempView(_GX_VIEW)


def audit_table(
    url: str, schema: str, table: str, suite: Suite, *, parameters: Mapping[str, Any] | None = None, sample_rows: int = 5
) -> CheckReport:
    """Judge a table of a database by a suite, by queries in the database's own SQL.

    Args:
        url: of the database, as SQLAlchemy takes it; without a password.

    Raises:
        SuiteError: an expectation's arguments do not make sense together, or name a parameter that the run does not have.
        MissingExtra: Great Expectations, or SQLAlchemy with the database's dialect, is not installed.
    """
    import_gx()
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    from framework.quality.sql_engine import open_engine

    with quiet(), open_engine(url, schema, table) as (engine, names):
        calculator = MetricsCalculator(engine, show_progress_bars=False)
        return _judge(suite.bind(parameters or {}), engine, calculator, names, sample_rows, lambda: None)


def _judge(
    suite: Suite, engine: Any, calculator: Any, names: set[str], sample_rows: int, spark_jobs: Callable[[], int | None]
) -> CheckReport:
    """Both passes over the data that `engine` holds, whose columns are `names`."""
    from great_expectations.validator.metric_configuration import MetricConfiguration

    started = time.perf_counter()
    checks = [_Check(expectation, _as_gx(expectation)) for expectation in suite.expectations]
    _find_missing_columns(checks, names)
    row_count = MetricConfiguration("table.row_count", dict.fromkeys(_WHOLE_TABLE))
    counted = _resolve(checks, calculator, engine, {"partial_unexpected_count": 0}, also=[row_count])
    if sample_rows > 0 and (failed := [check for check in checks if check.has_offending_rows]):
        wanted = {"partial_unexpected_count": sample_rows, "include_unexpected_rows": True, "exclude_unexpected_values": True}
        _resolve(failed, calculator, engine, wanted)
    results = tuple(_result(check, sample_rows) for check in checks)
    evidence = tuple(_evidence(check) for check in checks)
    return CheckReport(suite.name, results, counted.get(row_count.id), spark_jobs(), time.perf_counter() - started, evidence)


def _as_gx(expectation: Expectation) -> Any:
    from great_expectations.expectations.registry import get_expectation_impl
    from great_expectations.expectations.row_conditions import PassThroughCondition

    kwargs = dict(expectation.kwargs)
    if "row_condition" in kwargs:
        kwargs["row_condition"] = PassThroughCondition(pass_through_filter=kwargs["row_condition"])
    try:
        return get_expectation_impl(expectation.type)(**kwargs, severity=_GX_SEVERITY[expectation.severity], notes=expectation.note)
    except (ValueError, TypeError) as exc:  # pydantic's ValidationError is a ValueError, in its version 1 too
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in exc.errors()] if hasattr(exc, "errors") else [str(exc)]
        raise SuiteError(f"{expectation.type}: {'; '.join(problems)}".replace("__root__: ", ""), where=expectation.where) from exc


def _find_missing_columns(checks: Iterable[_Check], names: set[str]) -> None:
    """Name columns that do not exist ourselves: Great Expectations would try three times, and not name the nearest."""
    for check in checks:
        missing = [name for name in check.asked.columns if name not in names]
        if missing and check.asked.type != "expect_column_to_exist":
            check.problem = f"there is no column {missing[0]!r}; {nearest(missing[0], names, what='column')}"


def _paths(fields: Iterable[Any], prefix: str = "") -> Iterator[str]:
    for one in fields:
        yield prefix + one.name
        yield from _paths(getattr(one.dataType, "fields", ()), f"{prefix}{one.name}.")


def _resolve(
    checks: Sequence[_Check], calculator: Any, engine: Any, result_format: Mapping[str, Any], also: Sequence[Any] = ()
) -> Mapping[Any, Any]:
    """Compute what the checks need, all together, and let each of them judge. Returns all metrics."""
    from great_expectations.validator.validation_graph import ValidationGraph

    def runtime() -> dict[str, Any]:  # Great Expectations writes into it
        return {"result_format": {"result_format": "BASIC", **result_format}}

    whole = ValidationGraph(execution_engine=engine)
    graphs = {}
    for index, check in enumerate(checks):
        if check.problem is not None:
            continue
        try:
            needed = check.gx.get_validation_dependencies(engine, runtime()).get_metric_configurations()
            graphs[index] = calculator.build_metric_dependency_graph(needed, runtime())
        except Exception as exc:  # whatever Great Expectations raises is this expectation's failure, not the audit's
            check.problem = sentence(exc)
    for graph in [*graphs.values(), *([calculator.build_metric_dependency_graph(list(also))] if also else [])]:
        for edge in graph.edges:
            whole.add(edge)
    metrics, given_up = calculator.resolve_validation_graph(whole, runtime())
    for index, graph in graphs.items():
        check = checks[index]
        ids = {metric.id: metric.metric_name for edge in graph.edges for metric in (edge.left, edge.right) if metric is not None}
        if causes := [given_up[key]["exception_info"]["exception_message"] for key in ids if key in given_up]:
            check.problem = sentence(causes[0])
            continue
        try:
            check.result = check.gx.metrics_validate(metrics, runtime_configuration=runtime(), execution_engine=engine)
        except Exception as exc:  # as above
            check.problem = sentence(exc)
        check.samples = next((metrics[key] for key, name in ids.items() if name.endswith(_SAMPLES) and key in metrics), ())
    return dict(metrics)


def sentence(problem: object) -> str:
    """The first line of an exception: Spark appends whole query plans."""
    text = str(problem).strip() or type(problem).__name__
    first = text.splitlines()[0]
    return first if len(first) <= _LONGEST_MESSAGE else first[:_LONGEST_MESSAGE] + "..."


def _result(check: _Check, sample_rows: int) -> CheckResult:
    found = check.found
    rows, count = found.get("element_count"), found.get("unexpected_count")
    if check.asked.type == _QUERY:
        count = found.get("observed_value")
    elif rows is not None:
        # Great Expectations' percentage is of the rows that have a value.
        rows -= found.get("missing_count") or 0
    return CheckResult(
        type=check.asked.type,
        columns=check.asked.columns,
        severity=check.asked.severity,
        statement=check.asked.statement,
        where=check.asked.where,
        note=check.asked.note,
        kwargs=plain(check.asked.kwargs),
        success=check.problem is None and check.result is not None and bool(check.result.success),
        observed=plain(found.get("observed_value")) if check.asked.type != _QUERY else None,
        rows=rows,
        unexpected_count=count,
        unexpected_percent=found.get("unexpected_percent"),
        samples=tuple(plain(dict(row)) for row in check.samples[:sample_rows]),
        exception=check.problem,
    )


def _evidence(check: _Check) -> dict[str, Any]:
    """Great Expectations' result of a check, also of one that it could not compute, in its own JSON form."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    result = check.result
    if result is None or check.problem is not None:
        raised = {"raised_exception": True, "exception_message": check.problem or "", "exception_traceback": ""}
        result = ExpectationValidationResult(success=False, exception_info=raised, expectation_config=check.gx.configuration, result={})
    return dict(result.to_json_dict())


def plain(value: Any) -> Any:
    """A value as JSON has it: times in ISO form, decimals and everything else as text."""
    if hasattr(value, "asDict"):  # a Spark Row is a tuple as well
        return plain(value.asDict())
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case datetime.date():
            return value.isoformat()
        case bytes() | bytearray():
            return value.hex()
    if hasattr(value, "item"):  # numpy's scalars
        return plain(value.item())
    return str(value)


@contextmanager
def _job_group(frame: DataFrame, description: str) -> Iterator[Callable[[], int | None]]:
    """Name the Spark jobs of this block, as Spark's UI and logs show them; yields what counts them."""
    context = getattr(frame.sparkSession, "_sc", None)
    if context is None:  # Spark Connect has neither groups nor counts
        yield lambda: None
        return
    keys = ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")
    before = {key: context.getLocalProperty(key) for key in keys}
    group = f"{description} {uuid.uuid4().hex}"
    context.setJobGroup(group, description)
    try:
        yield lambda: len(context.statusTracker().getJobIdsForGroup(group))
    finally:
        for key, value in before.items():
            context.setLocalProperty(key, value)
