"""`emrjobs runs` and `logs`: what ran, and what it said."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from framework.cli import common
from framework.errors import DatasetNotFound

app = typer.Typer(help="Records of runs.")

RunArgument = Annotated[str, typer.Argument(help="Id of the run, or `latest`.")]


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    job: Annotated[str | None, typer.Option("--job", help="Only runs of this job.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    env: common.EnvOption = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List the runs, newest first."""
    if context.invoked_subcommand:
        return
    from framework.cli import opening, render

    with opening.platform(common.settings(env, set_), quiet=as_json) as platform:
        records = list(islice(platform.ledger.list(job=job), limit))
    if as_json:
        render.print_json([render.record_dict(record) for record in records])
        return
    rows = [
        [
            record.run_id,
            record.status,
            ", ".join(f"{name}={value}" for name, value in record.params.items()),
            record.output.rows if record.output else "",
            f"{record.seconds:.1f}" if record.seconds is not None else "",
            record.started[:19].replace("T", " "),
        ]
        for record in records
    ]
    render.print_table(["run", "status", "parameters", "rows", "seconds", "started (UTC)"], rows)


@app.command("show")
def show(
    run: RunArgument, env: common.EnvOption = common.DEFAULT_ENV, set_: common.SetOption = None, as_json: common.JsonOption = False
) -> None:
    """Print the record of one run."""
    from framework.cli import opening, render

    with opening.platform(common.settings(env, set_), quiet=as_json) as platform:
        record = platform.ledger.get(run)
    if as_json:
        render.print_json(render.record_dict(record))
        return
    render.print_summary(record, hints=False)
    render.print_pairs(
        [
            ("versions", ", ".join(f"{name} {value}" for name, value in record.versions.items())),
            ("code", record.code[:16]),
            ("cluster", f"{record.cluster}, step {record.step}" if record.cluster else None),
            ("log", record.log),
        ]
    )


def logs(run: RunArgument, env: common.EnvOption = common.DEFAULT_ENV, set_: common.SetOption = None) -> None:
    """Print the log of one run."""
    from framework import emr
    from framework.cli import opening

    with opening.platform(common.settings(env, set_), quiet=True) as platform:
        text = None
        try:
            record = platform.ledger.get(run)
            run, text = record.run_id, platform.ledger.log(record.run_id)
        except DatasetNotFound:  # a step may end before its run has begun
            if platform.settings.target != "emr":
                raise
        if platform.settings.target == "emr":
            submitted = emr.submits(platform).of_run(run)
            run = submitted.submit_id if run == "latest" else run
            text = "".join(part for part in (emr.step_log(platform, submitted, run), text) if part) or None
    if text is None:
        raise DatasetNotFound(f"run {run} has no log", fix="a run writes its log when it ends")
    print(text, end="" if text.endswith("\n") else "\n")
