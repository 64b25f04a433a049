"""Run one job with its progress and its summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from framework import runner
from framework.cli import opening, render
from framework.cli.display import Display
from framework.errors import ChecksFailed

if TYPE_CHECKING:
    from framework.config.loader import Loaded
    from framework.jobs import Job
    from framework.ledger import RunRecord


def run(job: Job, params: Mapping[str, Any], loaded: Loaded, *, docs: bool, quiet: bool, on_end: Callable[[RunRecord], None]) -> None:
    """Run a job; prints the summary unless quiet.

    Args:
        on_end: gets the record, whether the run succeeded or not.

    Raises:
        EmrjobsError: the run failed; failing checks are printed with their samples before.
    """
    opening.refuse_remote(loaded)
    with Display(quiet=quiet) as display, opening.shown(loaded, display) as platform:
        reports: list[Any] = []
        try:
            record = runner.run_job(job, params, platform, display.run, reports.append, on_end)
        except ChecksFailed as exc:
            _print_failures(exc)
            raise
        finally:
            if docs and reports:
                _write_docs(reports[0], loaded, display)
    if not quiet:
        render.print_summary(record)


def _print_failures(exc: ChecksFailed) -> None:
    report: Any = exc.report
    for result in report.failed_errors:
        if result.samples:
            columns = list(result.samples[0])
            rows = [[row.get(column) for column in columns] for row in result.samples]
            render.print_table(columns, rows, title=f"rows that fail {result.type}", stderr=True)


def _write_docs(report: Any, loaded: Loaded, display: Display) -> None:
    from framework.quality.docs import data_docs

    index = data_docs(report, loaded.root / ".local" / "docs")
    display.note(f"Data Docs: {index}")
