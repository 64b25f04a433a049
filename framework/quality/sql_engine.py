"""Great Expectations' SQL engine on one table, without the queries that nobody wants.

Aggregates of all expectations share one query already (GX 1.24). What is left out here are the queries for offending values
where none are to be shown, and those for the columns of a table of Trino, whose empty result has told them: one of Trino's
information_schema takes a tenth of a second. Import this module only where Great Expectations is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData

from framework.errors import MissingExtra

_SAMPLES = (".unexpected_values", ".unexpected_rows")


class QuietSqlEngine(SqlAlchemyExecutionEngine):  # type: ignore[misc]
    """Answers samples that are not wanted with none.

    Attributes:
        column_types: of its table, as Great Expectations' metric `table.column_types` has them; None: it asks for them.
    """

    column_types: Sequence[Mapping[str, Any]] | None = None

    def resolve_metrics(self, metrics_to_resolve: Iterable[Any], metrics: Any = None, runtime_configuration: Any = None) -> dict[Any, Any]:
        """As Great Expectations', which calls it again for what is not among the answers."""
        wanted = (runtime_configuration or {}).get("result_format") or {}
        endings = (
            _SAMPLES if wanted.get("partial_unexpected_count") == 0 else _SAMPLES[:1] if wanted.get("exclude_unexpected_values") else ()
        )
        asked = list(metrics_to_resolve)
        known: dict[Any, Any] = {metric.id: [] for metric in asked if metric.metric_name.endswith(endings)}
        if self.column_types is not None:
            known |= {metric.id: self.column_types for metric in asked if metric.metric_name == "table.column_types"}
        rest = [metric for metric in asked if metric.id not in known]
        answers = super().resolve_metrics(rest, metrics, runtime_configuration) if rest else {}
        return {**answers, **known}


@contextmanager
def open_engine(url: str, schema: str, table: str) -> Iterator[tuple[QuietSqlEngine, set[str]]]:
    """Great Expectations' engine on one table, and the names of its columns.

    Raises:
        MissingExtra: SQLAlchemy is not installed.
    """
    try:
        import sqlalchemy
    except ImportError as exc:
        raise MissingExtra("checks of a SQL engine's tables need SQLAlchemy", fix="pip install 'emrjobs[trino]'") from exc
    sqlalchemy.dialects.registry.register("presto", "framework.quality.presto_dialect", "PrestoDialect")
    database = sqlalchemy.create_engine(url)
    try:
        engine = QuietSqlEngine(engine=database, create_temp_table=False)
        data = SqlAlchemyBatchData(execution_engine=engine, schema_name=schema, table_name=table, create_temp_table=False)
        engine.load_batch_data("staged", data)
        with database.connect() as connection:
            nothing = sqlalchemy.select(sqlalchemy.text("*")).select_from(sqlalchemy.table(table, schema=schema)).where(sqlalchemy.false())
            described = connection.execute(nothing).cursor.description
        if database.dialect.name == "trino":
            engine.column_types = [_column(name, str(kind)) for name, kind, *_ in described]
        yield engine, {column[0] for column in described}
    finally:
        database.dispose()


def _column(name: str, kind: str) -> Mapping[str, Any]:
    from trino.sqlalchemy.datatype import parse_sqltype

    return {"name": name, "type": parse_sqltype(kind), "nullable": True, "primary_key": False}
