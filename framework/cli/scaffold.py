"""`emrjobs init` and `emrjobs new job`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from framework.cli import common

app = typer.Typer(help="Files to begin with.", no_args_is_help=True)


def init(folder: Annotated[Path, typer.Argument(help="An empty folder, made if it is not there.")] = Path()) -> None:
    """Make a new project: jobs, configuration, checks, cases, Makefile and a CI example, which run as they are."""
    from framework import scaffold

    written = scaffold.init(folder)
    for path in written:
        print(path)
    print(f"next: cd {folder} && make run && make test")


@app.command("job")
def job(
    name: Annotated[str, typer.Argument(help="Name of the job, and of its table.")],
    sql: Annotated[bool, typer.Option("--sql", help="A SQL file instead of a Python function.")] = False,
    database: Annotated[str, typer.Option("--database", help="Database of its table.")] = "marts",
) -> None:
    """Make a job and its first case in jobs/."""
    from framework import scaffold

    root = common.project()
    for path in scaffold.new_job(root, name, sql=sql, database=database):
        print(path.relative_to(root))
    print(f"next: emrjobs test {name}")


@app.callback()
def _group() -> None:
    """Files to begin with."""
