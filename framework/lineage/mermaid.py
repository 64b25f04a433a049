"""A graph as a Mermaid flowchart: datasets are cylinders, jobs boxes."""

from __future__ import annotations

from framework.lineage.graph import Dataset, Graph


def flowchart(graph: Graph, subject: Dataset) -> str:
    """The text of a chart; `subject` is drawn with a thick border."""
    ids = {dataset: f"d{number}" for number, dataset in enumerate(graph.datasets(), start=1)}
    lines = ["flowchart LR"]
    for dataset, key in ids.items():
        lines.append(f'  {key}[("{_escaped(dataset.name)}")]')
    for number, job in enumerate(graph.jobs.values(), start=1):
        lines.append(f'  j{number}["{job.name} ({job.engine})"]')
        lines += [f"  {ids[dataset]} --> j{number}" for dataset in job.inputs]
        lines.append(f"  j{number} --> {ids[job.output]}")
    lines.append(f"  style {ids[subject]} stroke-width:4px")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;")
