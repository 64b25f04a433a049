"""Entry point: the command tree, and errors as people read them."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from framework.cli import common, config, data, emr, jobs, lineage, local, runs, scaffold, sql, tables, testing
from framework.errors import EmrjobsError, UserError

app = typer.Typer(
    name="emrjobs",
    help="Write a Spark or Trino job once; run it unchanged on this machine, in docker-compose and as steps on Amazon EMR.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich's help screens cost more CPU time than everything else that --help does
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(scaffold.init)
app.add_typer(scaffold.app, name="new")
app.command("jobs")(jobs.jobs)
app.command("plan")(jobs.plan)
app.command("run")(jobs.run)
app.command("lineage")(lineage.lineage)
app.command("submit")(emr.submit)
app.command("attach")(emr.attach)
app.command("cancel")(emr.cancel)
app.command("clusters")(emr.clusters)
app.command("steps")(emr.steps)
app.command("iam")(emr.iam)
app.command("test")(testing.check_cases)
app.command("query")(data.query)
app.command("tables")(data.tables)
app.command("show")(data.show)
app.add_typer(runs.app, name="runs")
app.command("logs")(runs.logs)
app.command("rollback")(tables.rollback)
app.command("vacuum")(tables.vacuum)
app.command("optimize")(tables.optimize)
app.add_typer(config.app, name="config")
app.add_typer(local.app, name="local")
app.add_typer(sql.app, name="sql")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"emrjobs {version('emrjobs')}")
        raise typer.Exit


@app.callback()
def options(
    project: Annotated[
        Path | None, typer.Option("--project", envvar="EMRJOBS_PROJECT", help="The project's folder; found from here upwards.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print what happens to standard error.")] = False,
    show_version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    if project:
        os.environ["EMRJOBS_PROJECT"] = str(project)
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)


def main() -> None:
    """Run the command; errors become one clear message and an exit code: 0 ok, 1 the job failed, 2 the input is wrong."""
    # The collector would look through all modules again and again while they are imported: a tenth of a command's CPU time.
    gc.set_threshold(50_000, 20, 100)
    # And once more at the end, for a third of a second: what is left then goes with the process.
    atexit.register(gc.freeze)
    try:
        app(standalone_mode=True)
    except EmrjobsError as exc:
        from framework.cli.render import print_error

        print_error(exc)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has gone (`emrjobs runs | head`): what is left to flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as exc:
        from framework.cli.render import print_bug

        print_bug(exc, _local_folder())
        sys.exit(1)


def _local_folder() -> Path:
    try:
        return common.project() / ".local"
    except UserError:  # outside of a project nothing is written beside the user's files
        import tempfile

        return Path(tempfile.gettempdir())


if __name__ == "__main__":
    main()
