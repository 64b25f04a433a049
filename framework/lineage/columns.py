"""Columns of SQL jobs: which columns of which datasets each output column is computed from, read off the parsed statement.

A Python job's body is code: its declaration says which datasets it reads, and nothing of columns.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from framework import predicates, sqlfile
from framework.discovery import Jobs
from framework.jobs import Job, Sql
from framework.lineage.graph import Graph

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.lineage import Node


UNQUALIFIED = "?"
"""The dataset of a column that a statement names without its table, where several could have it."""


class How(enum.IntEnum):
    """How a column comes out of another, the weakest relation first (OpenLineage, column lineage facet, direct transformations)."""

    IDENTITY = 0
    TRANSFORMATION = 1
    AGGREGATION = 2

    @property
    def label(self) -> str:
        """For people: `unchanged`, `computed`, `aggregated`."""
        return ("unchanged", "computed", "aggregated")[self]


@dataclass(frozen=True, order=True)
class Column:
    """A column of a dataset; `*` stands for all of them where the dataset's columns are not known."""

    dataset: str
    name: str

    def __str__(self) -> str:
        return f"{self.dataset}.{self.name}"


@dataclass(frozen=True)
class Columns:
    """The output columns of one job.

    Attributes:
        sources: by output column, in the statement's order: what its values are computed from. Columns that only decide which rows
            there are (joins, filters, groups) are not among them.
        unknown: why they are not known; None where they are.
    """

    sources: Mapping[str, Mapping[Column, How]] = field(default_factory=dict)
    unknown: str | None = None


def of_jobs(found: Jobs, graph: Graph) -> dict[str, Columns]:
    """The columns of every job of a graph, by job.

    What a SQL job gives is the schema under which the jobs after it are read, so that `SELECT *` there is spelled out.
    """
    done: dict[str, Columns] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        schema: dict[str, Sequence[str]] = {}
        for dataset in graph.jobs[name].inputs:
            writer = graph.writer(dataset)
            if writer and writer.name != name:
                visit(writer.name)
                if done[writer.name].sources and "*" not in done[writer.name].sources:
                    schema[dataset.name] = list(done[writer.name].sources)
        done[name] = of_job(found.get(name), schema)

    for name in graph.jobs:
        visit(name)
    return done


def of_job(job: Job, schema: Mapping[str, Sequence[str]]) -> Columns:
    """The columns of one job.

    Args:
        schema: columns of the tables that it reads, by table, where they are known.
    """
    from sqlglot.errors import SqlglotError

    if not isinstance(job.body, Sql):
        return Columns(unknown=f"{job.name} is a Python job: its declaration names the datasets that it reads, not their columns")
    dialect = job.body.dialect
    query = sqlfile.parse(predicates.markers(job.body.text, predicates.lexical(dialect), where=job.file), dialect, job.file)
    try:
        return Columns(_trace(query, job, dialect, schema))
    except (SqlglotError, ValueError, RecursionError) as exc:
        return Columns(unknown=f"{job.name} cannot be traced: {str(exc).splitlines()[0]}; name the table of each column")


def _trace(query: exp.Query, job: Job, dialect: str, schema: Mapping[str, Sequence[str]]) -> dict[str, dict[Column, How]]:
    from sqlglot import exp
    from sqlglot.lineage import lineage

    for table, name in sqlfile.sources(query, dialect, job.file):
        # One name of one part for each table: a schema can then hold tables of the lake and of connections side by side.
        if not table.alias:
            table.set("alias", exp.TableAlias(this=table.this.copy()))
        table.set("this", exp.to_identifier(name, quoted=True))
        table.set("db", None)
        table.set("catalog", None)
    _qualify(query)
    known = {f'"{table}"': dict.fromkeys(columns, "unknown") for table, columns in schema.items()}
    traced = lineage(None, query, known, dialect=dialect, copy=False)
    seen: dict[int, dict[Column, How]] = {}
    return {name: dict(sorted(_leaves(root, seen).items())) for name, root in traced.items()}


def _qualify(query: exp.Query) -> None:
    """Name the table of each column where the statement reads only one; sqlglot leaves those in the branches of a UNION open."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import find_all_in_scope, traverse_scope

    for scope in traverse_scope(query):
        # A column in a subquery may be the outer query's.
        if not isinstance(scope.expression, exp.Select) or scope.can_be_correlated or len(scope.selected_sources) != 1:
            continue
        ((alias, _),) = scope.selected_sources.items()
        for select in scope.expression.selects:
            for column in find_all_in_scope(select, exp.Column):
                # Spark lets a column refer to an alias beside it.
                if not column.table and column.name not in {one.alias for one in scope.expression.selects if one is not select}:
                    column.set("table", exp.to_identifier(alias))


def _leaves(node: Node, seen: dict[int, dict[Column, How]]) -> dict[Column, How]:
    """The columns of tables below a node; `seen` because common table expressions share nodes."""
    from sqlglot import exp

    if id(node) in seen:
        return seen[id(node)]
    found: dict[Column, How] = {}
    if isinstance(node.expression, exp.Table | exp.Placeholder):
        name = node.name if node.name == "*" else exp.to_column(node.name).name
        found[Column(node.expression.name or UNQUALIFIED, name)] = How.IDENTITY
    # The branches of a UNION say how each for itself.
    own = How.IDENTITY if isinstance(node.source, exp.SetOperation) else _how(node.expression)
    for further in node.downstream:
        for column, how in _leaves(further, seen).items():
            found[column] = max(own, how, found.get(column, how))
    seen[id(node)] = found
    return found


def _how(expression: exp.Expr) -> How:
    from sqlglot import exp

    own = expression.unalias()
    if isinstance(own, exp.Column | exp.Star):
        return How.IDENTITY
    return How.AGGREGATION if own.find(exp.AggFunc) else How.TRANSFORMATION
