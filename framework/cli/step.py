"""What a step runs on a cluster (`framework.emr.step` ships and starts it): the same `run_job` as everywhere."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from framework.errors import EmrjobsError, JobFailed, UserError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from framework.platform import Platform

app = typer.Typer(pretty_exceptions_enable=False)


def main() -> None:
    """Run the job that the arguments name; the exit code becomes the step's."""
    # YARN and a cancelled step end the driver with SIGTERM: the run is then recorded as interrupted, and its staging removed.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(standalone_mode=False)
    except EmrjobsError as exc:
        from framework.cli.render import print_error

        print_error(exc)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        print("error: the step was cancelled", file=sys.stderr)
        sys.exit(130)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@app.command()
def step(
    job: str,
    run: Annotated[str, typer.Option()],
    submit: Annotated[str, typer.Option()],
    env: Annotated[str, typer.Option()],
    param: Annotated[list[str] | None, typer.Option()] = None,
    set_: Annotated[list[str] | None, typer.Option("--set")] = None,
    after: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    """Run one job under the run id that its submitter chose."""
    import framework
    from framework import discovery, runner
    from framework.cli import common, render
    from framework.cli.display import Display
    from framework.config.loader import load
    from framework.emr import records
    from framework.platform import Platform
    from framework.store import open_store

    root = Path(framework.__file__).parents[1]
    loaded = load(root, env, overrides=set_ or ())
    platform = Platform(loaded, _spark)
    submits = records.Submits(open_store(loaded.settings.state, platform.aws))

    def placed() -> tuple[str, str] | None:
        try:
            record = submits.find(submit)
        except EmrjobsError:
            return None  # where it runs is a comfort; the run itself is not to fail of it
        if record is None or record.cluster_id is None or run not in record.steps:
            return None
        return record.cluster_id, record.steps[run]

    _check_earlier(platform, after or [])
    wanted = discovery.discover(root).get(job)
    with Display() as display:
        done = runner.run_job(wanted, common.params(param), platform, display.run, run_id=run, placed=placed)
    render.print_summary(done, hints=False)


def _check_earlier(platform: Platform, runs: list[str]) -> None:
    """A step runs although the one before it failed, where other people's steps share the cluster.

    Raises:
        JobFailed: a run that this one builds on did not succeed.
    """
    for run_id in runs:
        try:
            status = platform.ledger.get(run_id).status
        except UserError:
            status = "never started"
        if status != "succeeded":
            raise JobFailed(f"the run {run_id}, which this one builds on, {status}", fix=f"emrjobs logs {run_id}")


@contextmanager
def _spark(conf: Mapping[str, str]) -> Iterator[SparkSession]:
    from framework.engines.spark import session

    with session.start(conf) as spark:
        yield spark
