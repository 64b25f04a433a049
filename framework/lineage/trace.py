"""One column followed through the jobs: what it is computed from, and what is computed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from framework.errors import UserError, nearest
from framework.lineage.columns import Column, Columns, How
from framework.lineage.graph import Dataset, Graph


@dataclass(frozen=True)
class Step:
    """A column next to the one before it.

    Attributes:
        job: relates the two, and `how`.
        further: the columns after it.
    """

    column: Column
    job: str
    how: How
    further: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Trace:
    """A column's way in both directions.

    Attributes:
        gaps: why it could not be followed through some jobs.
    """

    column: Column
    upstream: tuple[Step, ...]
    downstream: tuple[Step, ...]
    gaps: tuple[str, ...]


def column(graph: Graph, by_job: Mapping[str, Columns], dataset: Dataset, name: str) -> Trace:
    """Follow a column of a dataset.

    Raises:
        UserError: no SQL job writes or reads a column of that name there.
    """
    start = Column(dataset.name, name.lower())
    _check(graph, by_job, dataset, start)
    datasets = {one.name: one for one in graph.datasets()}
    gaps: dict[str, None] = {}

    def sources(of: Column) -> Iterable[tuple[Column, str, How]]:
        writer = graph.writer(datasets[of.dataset]) if of.dataset in datasets else None
        if writer is None:
            return
        columns = by_job[writer.name]
        if columns.unknown:
            gaps[columns.unknown] = None
        for source, how in columns.sources.get(of.name, {}).items():
            yield source, writer.name, how
        if of.name not in columns.sources:
            for source, how in columns.sources.get("*", {}).items():
                yield Column(source.dataset, of.name), writer.name, how

    def results(of: Column) -> Iterable[tuple[Column, str, How]]:
        for reader in graph.readers(datasets[of.dataset]):
            columns = by_job[reader.name]
            if columns.unknown:
                gaps[columns.unknown] = None
            for result, found in columns.sources.items():
                if of in found:
                    yield Column(reader.output.name, result), reader.name, found[of]
                elif result == "*" and Column(of.dataset, "*") in found:
                    yield Column(reader.output.name, of.name), reader.name, How.IDENTITY

    upstream = _follow(start, sources, {start})
    return Trace(start, upstream, _follow(start, results, {start}), tuple(gaps))


def _follow(of: Column, neighbours: Callable[[Column], Iterable[tuple[Column, str, How]]], trail: set[Column]) -> tuple[Step, ...]:
    # A job may read the table that it writes: the trail keeps that from going round.
    return tuple(
        Step(found, job, how, () if found in trail else _follow(found, neighbours, trail | {found})) for found, job, how in neighbours(of)
    )


def _check(graph: Graph, by_job: Mapping[str, Columns], dataset: Dataset, start: Column) -> None:
    writer = graph.writer(dataset)
    written = by_job[writer.name].sources if writer else {}
    read = {
        found.name
        for reader in graph.readers(dataset)
        for sources in by_job[reader.name].sources.values()
        for found in sources
        if found.dataset == dataset.name
    }
    if not {start.name, "*"} & {*written, *read}:
        raise UserError(
            f"no SQL job writes or reads a column {start.name!r} of {dataset.name}",
            fix=nearest(start.name, {*written, *read}, what="column that a SQL job names"),
        )
