"""`emrjobs lineage`: where a dataset comes from and goes to."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framework.cli import common

if TYPE_CHECKING:
    from framework.lineage.columns import Column, Columns, How
    from framework.lineage.graph import Dataset, Graph, JobNode
    from framework.lineage.trace import Step, Trace


class Format(enum.StrEnum):
    """How lineage is printed."""

    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"
    OPENLINEAGE = "openlineage"


def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="JOB|TABLE",
            help="A job, a table (database.table or connection.schema.table) or a folder's URI.",
            autocompletion=common.job_names,
        ),
    ],
    column: Annotated[str | None, typer.Option("--column", "-c", help="Follow one column of the table, or of the job's output.")] = None,
    out: Annotated[
        Format, typer.Option("--format", "-f", help="How it is printed; openlineage: one event a job, as receivers take them.")
    ] = Format.TEXT,
    account: Annotated[
        str | None, typer.Option("--account", help="For openlineage: the AWS account of the Glue catalog, which is in its tables' names.")
    ] = None,
    env: common.EnvOption = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print what a job or table is made from and what is made from it. Starts nothing and asks nobody."""
    from framework.cli import render
    from framework.lineage import columns, graph, mermaid, trace

    chosen = Format.JSON if as_json else out
    loaded = common.settings(env, set_)
    found = common.jobs()
    whole = graph.of_jobs(found, loaded.settings)
    subject = whole.find(name)
    upstream, downstream = whole.upstream(subject), whole.downstream(subject)
    part = whole.only([*upstream, *downstream])
    if chosen is Format.MERMAID:
        print(mermaid.flowchart(part, subject))
        return
    by_job = columns.of_jobs(found, whole)
    if chosen is Format.OPENLINEAGE:
        from framework.lineage import emit

        for event in emit.declared([found.get(job) for job in part.jobs], loaded, by_job, account):
            print(event)
        return
    traced = trace.column(whole, by_job, subject, column) if column else None
    if chosen is Format.JSON:
        render.print_json(_as_json(subject, upstream, downstream, by_job, traced))
    elif traced:
        render.print_pairs(_column_lines(traced))
    else:
        render.print_pairs(_lines(whole, subject, by_job))


def _lines(graph: Graph, subject: Dataset, by_job: Mapping[str, Columns]) -> list[tuple[str, object]]:
    writer = graph.writer(subject)
    columns: list[str] = []
    if writer:
        known = by_job[writer.name]
        wide = max((len(name) for name in known.sources), default=0)
        columns = [f"{name:<{wide}}  {_sources(sources)}".rstrip() for name, sources in known.sources.items()]
        columns += [f"not known: {known.unknown}"] if known.unknown else []
    return [
        ("dataset", f"{subject.name} ({subject.kind})"),
        ("made from", _tree_up(graph, subject)),
        ("goes into", _tree_down(graph, subject) or "no job reads it"),
        ("columns", columns or None),
    ]


def _tree_up(graph: Graph, subject: Dataset) -> list[str]:
    lines: list[str] = []
    shown: set[Dataset] = set()

    def walk(dataset: Dataset, depth: int) -> None:
        writer = graph.writer(dataset)
        made = f"by {_job(writer)}" if writer else f"({_origin(dataset)})"
        again = dataset in shown and writer is not None
        lines.append("  " * depth + f"{dataset.name}  {made}" + ("  as above" if again else ""))
        if writer and not again:
            shown.add(dataset)
            for one in writer.inputs:
                walk(one, depth + 1)

    writer = graph.writer(subject)
    if writer is None:
        return [f"no job of this project writes it ({_origin(subject)})"]
    walk(subject, 0)
    return lines


def _tree_down(graph: Graph, subject: Dataset) -> list[str]:
    lines: list[str] = []
    shown: set[Dataset] = {subject}

    def walk(dataset: Dataset, depth: int) -> None:
        for reader in graph.readers(dataset):
            again = reader.output in shown
            lines.append("  " * depth + f"{reader.output.name}  by {_job(reader)}" + ("  as above" if again else ""))
            if not again:
                shown.add(reader.output)
                walk(reader.output, depth + 1)

    walk(subject, 0)
    return lines


def _job(job: JobNode) -> str:
    return f"{job.name} ({job.engine}, {job.source})"


def _origin(dataset: Dataset) -> str:
    return {"table": "a table of the catalog", "path": "files"}.get(dataset.kind, dataset.kind)


def _sources(sources: Mapping[Column, How]) -> str:
    return ", ".join(f"{source} {how.label}" for source, how in sources.items()) or "a constant, or the number of rows"


def _column_lines(traced: Trace) -> list[tuple[str, object]]:
    def walk(steps: Sequence[Step], depth: int) -> list[str]:
        lines: list[str] = []
        for step in steps:
            lines += ["  " * depth + f"{step.column}  {step.how.label} by {step.job}", *walk(step.further, depth + 1)]
        return lines

    return [
        ("column", str(traced.column)),
        ("made from", walk(traced.upstream, 0) or "nothing that a SQL job says"),
        ("goes into", walk(traced.downstream, 0) or "no column of a SQL job"),
        ("not followed", list(traced.gaps) or None),
    ]


def _as_json(
    subject: Dataset, upstream: Sequence[JobNode], downstream: Sequence[JobNode], by_job: Mapping[str, Columns], traced: Trace | None
) -> dict[str, Any]:
    from dataclasses import asdict

    def one(job: JobNode) -> dict[str, Any]:
        known = by_job[job.name]
        return {
            "name": job.name,
            "engine": job.engine,
            "source": job.source,
            "inputs": [asdict(dataset) for dataset in job.inputs],
            "output": asdict(job.output),
            "columns": None if known.unknown else {name: _json_sources(sources) for name, sources in known.sources.items()},
            "columns_unknown": known.unknown,
        }

    def step(found: Step) -> dict[str, Any]:
        return {**_json_column(found.column, found.how), "job": found.job, "further": [step(further) for further in found.further]}

    found: dict[str, Any] = {
        "dataset": asdict(subject),
        "upstream": [one(job) for job in upstream],
        "downstream": [one(job) for job in downstream],
    }
    if traced:
        found["column"] = {
            "name": traced.column.name,
            "upstream": [step(one) for one in traced.upstream],
            "downstream": [step(one) for one in traced.downstream],
            "not_followed": list(traced.gaps),
        }
    return found


def _json_sources(sources: Mapping[Column, How]) -> list[dict[str, Any]]:
    return [_json_column(source, how) for source, how in sources.items()]


def _json_column(column: Column, how: How) -> dict[str, Any]:
    return {"dataset": column.dataset, "column": column.name, "how": how.label}
