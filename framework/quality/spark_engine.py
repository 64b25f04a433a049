"""Great Expectations' Spark engine, made to answer a whole suite from one scan of the data.

Great Expectations decides an expectation from *metrics*; its engine resolves those in rounds, as their dependencies become
known. The stock Spark engine (1.24) starts a query in every round that knows an aggregate, one for every expectation about
several columns, one for every row condition, and a window (a sort of all rows) for uniqueness. Here aggregates wait until
nothing else is left to resolve, and then share one `DataFrame.agg`. What a metric means and whether an expectation holds is
still decided by Great Expectations; what has no place in the shared query goes its stock way.

Import this module only where Great Expectations is wanted.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from great_expectations.exceptions import MetricResolutionError
from great_expectations.execution_engine import SparkDFExecutionEngine
from great_expectations.expectations.registry import get_metric_provider
from great_expectations.expectations.row_conditions import Condition, PassThroughCondition, deserialize_row_condition
from great_expectations.util import convert_to_json_serializable
from great_expectations.validator.metrics_calculator import MetricsCalculator
from great_expectations.validator.validation_graph import MetricEdge, ValidationGraph
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

if TYPE_CHECKING:
    from great_expectations.validator.metric_configuration import MetricConfiguration
    from pyspark.sql import Column, DataFrame

logger = logging.getLogger(__name__)

Metrics = dict[Any, Any]

_ROWS = "table.row_count"
_MEMBERS = ".filtered_row_count"
_COUNT = ".unexpected_count"
_SAMPLES = (".unexpected_values", ".unexpected_rows", "unexpected_rows_query.table")
# Metrics that are an expression, or are made from one alone.
_EXPRESSIONS = (".condition", ".map", ".aggregate_fn", *_SAMPLES)
_UNIQUE = frozenset({"column_values.unique" + _COUNT, "compound_columns.unique" + _COUNT})
# These compare neighbouring rows (a lag over the whole table): no aggregate can stand in for that.
_ORDERED = frozenset({"column_values.increasing" + _COUNT, "column_values.decreasing" + _COUNT})
# ignore_row_if: rows where all, or any, of the columns are null take no part.
_IGNORED: Mapping[str, Callable[[Any, Any], Any]] = {
    "both_values_are_missing": operator.and_,
    "all_values_are_missing": operator.and_,
    "either_value_is_missing": operator.or_,
    "any_value_is_missing": operator.or_,
}
_UNDECIDED = object()


@dataclass(frozen=True)
class _Share:
    """The part of the shared query that answers one metric.

    Attributes:
        columns: aggregate expressions.
        finish: gets their values; returns the metric's value, or `_UNDECIDED`.
    """

    metric: MetricConfiguration
    columns: tuple[Column, ...]
    finish: Callable[[Sequence[Any]], Any]


class OneScanCalculator(MetricsCalculator):  # type: ignore[misc]
    """Great Expectations' calculator without the dependency that would cost a scan of its own.

    Nearly every metric declares `table.row_count` as a dependency, and so could only be computed in a round after it. The
    SQL engines use it; Spark's expressions never look at it.
    """

    def build_metric_dependency_graph(
        self, metric_configurations: list[MetricConfiguration], runtime_configuration: dict[str, Any] | None = None
    ) -> ValidationGraph:
        """The graph of everything that these metrics are computed from."""
        graph = super().build_metric_dependency_graph(metric_configurations, runtime_configuration)
        edges = []
        for edge in graph.edges:
            if edge.right is not None and edge.right.metric_name == _ROWS and self._ignores_row_count(edge.left):
                edge.left.metric_dependencies.pop(_ROWS, None)
                # An edge without an end keeps a metric in the graph that has no dependency left.
                edges.append(MetricEdge(left=edge.left))
            else:
                edges.append(edge)
        return ValidationGraph(execution_engine=self._execution_engine, edges=edges)

    def _ignores_row_count(self, metric: MetricConfiguration) -> bool:
        return metric.metric_name.endswith(_EXPRESSIONS) or bool(self._execution_engine.is_aggregate(metric))


class OneScanEngine(SparkDFExecutionEngine):  # type: ignore[misc]
    """Resolves all aggregates of a suite in one Spark query over one DataFrame.

    Every answer is kept, so that a second pass over failed expectations (for sample rows) computes nothing twice.
    """

    def __init__(self, frame: DataFrame) -> None:
        # persist=True, the default, would cache the whole frame; whether that pays is for the caller to know.
        super().__init__(persist=False, spark=frame.sparkSession, batch_data_dict={"staged": frame})
        self._frame = frame
        self._answers: Metrics = {}
        self._failures: dict[Any, MetricResolutionError] = {}

    def resolve_metrics(
        self,
        metrics_to_resolve: Iterable[MetricConfiguration],
        metrics: Metrics | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> Metrics:
        """Answer what needs no scan; scan only when nothing else is left.

        Great Expectations calls this again, with more dependencies met, until it has every metric or gives up on it.

        Raises:
            MetricResolutionError: names the one metric that cannot be computed.
        """
        asked = sorted(metrics_to_resolve, key=lambda metric: str(metric.id))
        if not asked:
            return {}
        answers = {metric.id: self._answers[metric.id] for metric in asked if metric.id in self._answers}
        wanted = (runtime_configuration or {}).get("result_format") or {}
        answers |= {metric.id: [] for metric in asked if _is_unwanted(metric.metric_name, wanted)}
        if answers:
            return answers
        self._raise_failure(asked)
        resolved = dict(metrics or {})
        direct = [metric for metric in asked if not self.is_aggregate(metric)]
        if direct:
            for metric in direct:
                answers |= self._alone(metric, resolved, runtime_configuration)
        else:
            answers = self._scan(asked, resolved, runtime_configuration)
        self._answers |= answers
        if not answers:
            self._raise_failure(asked)
        return answers

    def _raise_failure(self, asked: Sequence[MetricConfiguration]) -> None:
        # Great Expectations asks up to three times for what failed; it would fail again, and slowly.
        for metric in asked:
            if metric.id in self._failures:
                raise self._failures[metric.id]

    def is_aggregate(self, metric: MetricConfiguration) -> bool:
        """Whether the shared query can answer this metric."""
        if metric.metric_name.endswith((_COUNT, _MEMBERS)):
            return metric.metric_name not in _ORDERED
        # The registry holds no function for a metric that only stands for an aggregate expression.
        return get_metric_provider(metric.metric_name, self)[1] is None

    def _alone(self, metric: MetricConfiguration, resolved: Metrics, runtime: dict[str, Any] | None) -> Metrics:
        """One metric in Great Expectations' own way; a failure is remembered and gives no answer."""
        try:
            return dict(super().resolve_metrics([metric], resolved, runtime))
        except MetricResolutionError as exc:
            self._failures[metric.id] = exc
            return {}

    def _scan(self, asked: Sequence[MetricConfiguration], resolved: Metrics, runtime: dict[str, Any] | None) -> Metrics:
        shares = [share for metric in asked if (share := self._share(metric, resolved)) is not None]
        answers: Metrics = {}
        for share, values in self._aggregate(shares):
            value = share.finish(values)
            if value is not _UNDECIDED:
                answers[share.metric.id] = value
        for metric in asked:
            if metric.id not in answers:
                logger.debug("%s is computed by itself", metric.metric_name)
                answers |= self._alone(metric, resolved, runtime)
        return answers

    def _share(self, metric: MetricConfiguration, resolved: Metrics) -> _Share | None:
        """The expressions that answer `metric` on the whole frame; None when there are none."""
        if metric.metric_domain_kwargs.get("table"):  # another table: not this frame's to answer
            return None
        try:
            member = self._member(metric.metric_domain_kwargs)
            if metric.metric_name == _ROWS or metric.metric_name.endswith(_MEMBERS):
                return _Share(metric, (F.count(F.when(member, 1)),), _only)
            if metric.metric_name in _UNIQUE:
                return _uniqueness(metric, member)
            if (condition := _unexpected(metric, resolved)) is not None:
                # The nested `when` keeps a condition from being evaluated, and from raising, on rows that take no part.
                return _Share(metric, (F.count(F.when(member, F.when(condition, 1))),), _only)
        except PySparkException:  # an expression that does not parse: Great Expectations words the error
            return None
        if metric.metric_domain_kwargs.get("row_condition") is not None or "metric_partial_fn" not in metric.metric_dependencies:
            return None
        expression = resolved[metric.metric_dependencies["metric_partial_fn"].id][0]
        return _Share(metric, (expression,), _only)

    def _member(self, domain: Mapping[str, Any]) -> Column:
        """Which rows take part, as a condition: Great Expectations would filter the frame, and need a query for each filter."""
        conditions = [F.lit(True)]
        where = domain.get("row_condition")
        if isinstance(where, dict):
            where = deserialize_row_condition(where)
        if isinstance(where, PassThroughCondition):
            conditions.append(F.expr(where.pass_through_filter))
        elif isinstance(where, Condition):
            conditions.append(F.expr(self.condition_to_filter_clause(where)))
        combine = _IGNORED.get(domain.get("ignore_row_if") or "never")
        if combine:
            names = domain.get("column_list") or [domain["column_A"], domain["column_B"]]
            conditions.append(~reduce(combine, [F.col(name).isNull() for name in names]))
        return reduce(operator.and_, conditions)

    def _aggregate(self, shares: Sequence[_Share]) -> list[tuple[_Share, list[Any]]]:
        """Run the one query; the shares that it could not answer are left out."""
        try:
            query = self._frame.agg(*(column for share in shares for column in share.columns)) if shares else None
        except PySparkException:
            # Spark refuses an expression (a sum of strings): analysis runs no job, so each can be tried by itself.
            shares = [share for share in shares if self._is_valid(share)]
            query = self._frame.agg(*(column for share in shares for column in share.columns)) if shares else None
        if query is None:
            return []
        try:
            values = iter(query.collect()[0])
        except (PySparkException, Py4JError) as exc:
            logger.debug("the shared query failed, each metric is computed by itself: %s", exc)
            return []
        return [(share, [next(values) for _ in share.columns]) for share in shares]

    def _is_valid(self, share: _Share) -> bool:
        try:
            self._frame.agg(*share.columns)
        except PySparkException:
            return False
        return True


def _is_unwanted(name: str, wanted: Mapping[str, Any]) -> bool:
    """Samples that the result format says not to return would still cost a query each."""
    if wanted.get("partial_unexpected_count") == 0:
        return name.endswith(_SAMPLES)
    return name.endswith(_SAMPLES[0]) and wanted.get("exclude_unexpected_values") is True


def _unexpected(metric: MetricConfiguration, resolved: Metrics) -> Column | None:
    """The row-wise condition whose rows `metric` counts, when it is such a count."""
    if not metric.metric_name.endswith(_COUNT):
        return None
    dependencies = metric.metric_dependencies
    if "metric_partial_fn" in dependencies:
        dependencies = dependencies["metric_partial_fn"].metric_dependencies
    condition: Column = resolved[dependencies["unexpected_condition"].id][0]
    return condition


def _uniqueness(metric: MetricConfiguration, member: Column) -> _Share:
    """Proof of uniqueness by a hash: as many distinct hashes as rows means as many distinct keys.

    Fewer hashes decide nothing (two keys may share one); then Great Expectations counts the duplicates with its window.
    Hashing makes the shuffle a third cheaper than one of the keys themselves.
    """
    domain = metric.metric_domain_kwargs
    keys = [F.col(name) for name in domain.get("column_list") or [domain["column"]]]
    if "column" in domain:
        member = member & keys[0].isNotNull()
    columns = (F.count(F.when(member, 1)), F.count_distinct(F.when(member, F.xxhash64(*keys))))
    return _Share(metric, columns, lambda values: 0 if values[0] == values[1] else _UNDECIDED)


def _only(values: Sequence[Any]) -> Any:
    return convert_to_json_serializable(data=values[0])
