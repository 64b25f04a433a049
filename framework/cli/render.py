"""How things look: tables and JSON on standard output, progress and errors on standard error.

On a terminal Rich folds and colours (and follows NO_COLOR). In a pipe or a log nothing is folded or coloured, so plain text
does, without the time that importing Rich takes.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from framework.errors import EmrjobsError
from framework.jobs import EngineKind

if TYPE_CHECKING:
    from rich.console import Console

    from framework.ledger import InputRecord, RunRecord
    from framework.planning import RunPlan


def console(*, stderr: bool = False) -> Console:
    """A console; not a terminal: so wide that nothing is cut off in a log."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 240
    return Console(stderr=stderr, highlight=False, soft_wrap=False, width=width)


def print_json(value: Any) -> None:
    """JSON on standard output; dates and the like as text."""
    print(json.dumps(value, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None, stderr: bool = False) -> None:
    """A table on standard output, or with an error on standard error."""
    stream = sys.stderr if stderr else sys.stdout
    if not stream.isatty():
        _print_plain(columns, [["" if value is None else str(value) for value in row] for row in rows], title, stream)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*[Text("" if value is None else str(value)) for value in row])
    console(stderr=stderr).print(table)


def print_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Label and value, a line each; values that are None are left out, lists get a line an entry."""
    shown: list[tuple[str, str]] = []
    for label, value in pairs:
        lines = list(value) if isinstance(value, list | tuple) else [value]
        for index, line in enumerate(line for line in lines if line is not None):
            shown.append((label if index == 0 else "", str(line)))
    if not sys.stdout.isatty():
        wide = max((len(label) for label, _ in shown), default=0)
        for label, line in shown:
            print(f"{label:<{wide}}  {line}".rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, line in shown:
        grid.add_row(label, Text(line))
    console().print(grid)


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None, stream: TextIO) -> None:
    # A line a row, whatever the values hold.
    lines = [[" ".join(cell.split("\n")) for cell in row] for row in [columns, *rows]]
    wide = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    if title:
        print(title, file=stream)
    for number, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, wide, strict=True)).rstrip(), file=stream)
        if number == 0:
            print("  ".join("-" * width for width in wide), file=stream)


def print_error(error: EmrjobsError) -> None:
    """One of our errors on standard error."""
    from rich.text import Text

    head, *rest = str(error).splitlines()
    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), head), soft_wrap=True)
    for line in rest:
        out.print(Text(line), soft_wrap=True)


def print_bug(exc: Exception, folder: Path) -> None:
    """An error that nobody foresaw: one line, and the traceback in a file of the folder."""
    try:
        folder.mkdir(exist_ok=True)
        report = folder / "crash.txt"
        report.write_text("".join(traceback.format_exception(exc)), encoding="utf-8")
        place = f"; the traceback is in {report}"
    except OSError:
        place = ""
    print(f"error: this is a bug in emrjobs: {type(exc).__name__}: {exc}{place}", file=sys.stderr)


def print_plan(plan: RunPlan) -> None:
    """What a run would do."""
    inputs = []
    for one in plan.inputs:
        what = f"{one.name}: {one.kind} {one.dataset}" + (f" ({one.format})" if one.format else "")
        inputs.append(what + (f" where {one.predicate}" if one.predicate else ""))
    output = f"{plan.output} ({plan.format}, {plan.mode}"
    output += f", partitioned by {', '.join(plan.partitioned_by)})" if plan.partitioned_by else ")"
    print_pairs(
        [
            ("job", f"{plan.job}  {plan.description}"),
            ("source", plan.source),
            ("environment", f"{plan.env} (target {plan.target})"),
            ("engine", plan.engine),
            ("parameters", [f"{name} = {value}" for name, value in plan.params.items()] or "none"),
            ("reads", inputs or "nothing"),
            ("checks", [f"{plan.suite}:", *[f"  {check}" for check in plan.checks]] if plan.suite else "none"),
            ("writes", output),
            ("warnings", list(plan.warnings) or None),
        ]
    )


def record_dict(record: RunRecord) -> dict[str, Any]:
    """A run record for JSON."""
    return asdict(record)


def print_summary(record: RunRecord, *, hints: bool = True) -> None:
    """What a run read, checked and published, and how to look at it."""
    print_pairs(
        [
            ("run", f"{record.run_id}  {record.status} in {record.seconds or 0:.1f} s"),
            ("parameters", ", ".join(f"{name}={value}" for name, value in record.params.items()) or None),
            ("read", [_input_line(one, EngineKind(record.engine)) for one in record.inputs]),
            ("checks", _check_lines(record)),
            ("published", _output_lines(record)),
            ("seconds", "  ".join(f"{name} {seconds:.1f}" for name, seconds in record.phases.items())),
            ("error", str(record.error["message"]).splitlines() if record.error else None),
            ("look at it", _hints(record) if hints and record.output else None),
        ]
    )


def _input_line(one: InputRecord, engine: EngineKind) -> str:
    # A SQL server tells how many rows a statement read, and not from which table.
    facts = [f"{one.rows:,} rows" if one.rows is not None else one.kind if engine.federated else "not scanned"]
    if one.files is not None:
        facts.append(f"{one.files} files, {size(one.size_bytes or 0)}")
    if one.partitions is not None:
        facts.append(f"{one.partitions} partitions")
    if one.quarantined:
        facts.append(f"{one.quarantined:,} malformed, set aside at {one.quarantine}")
    if one.watermark is not None:
        facts.append(f"up to {one.watermark}")
    return f"{one.name}: {', '.join(facts)}  ({one.dataset})"


def _check_lines(record: RunRecord) -> list[str]:
    if not record.checks:
        return ["none"]
    failed = [check for check in record.checks if not check.success]
    passed = len(record.checks) - len(failed)
    return [f"{passed} passed, {len(failed)} failed", *[f"{check.severity}: {check.check}" for check in failed]]


def _output_lines(record: RunRecord) -> list[str]:
    output = record.output
    if output is None:
        return ["nothing"]
    if output.kind == "jdbc" and output.previous:
        return [f"{output.table}: nothing, run {output.previous} has published the rows of these parameters"]
    lines = [f"{output.table}: {output.rows:,} rows"]
    if output.partitions:
        shown = ", ".join(output.partitions[:5]) + (", ..." if len(output.partitions) > 5 else "")
        lines[0] += f" in {len(output.partitions)} partition{'s' if len(output.partitions) > 1 else ''} ({shown})"
    return lines


def _hints(record: RunRecord) -> list[str]:
    assert record.output is not None
    table = record.output.table
    if record.output.kind == "jdbc":
        return [f"emrjobs runs show {record.run_id}"]
    return [f"make show TABLE={table}", f'make query SQL="select * from {table} limit 10"', f"emrjobs runs show {record.run_id}"]


def size(count: float) -> str:
    """Bytes for people: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
