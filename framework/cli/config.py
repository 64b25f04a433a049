"""`emrjobs config`: what an environment means, and where each value came from."""

from __future__ import annotations

from typing import Annotated

import typer

from framework.cli import common

app = typer.Typer(help="Settings of an environment.", no_args_is_help=True)


@app.command("show")
def show(
    env: Annotated[
        str, typer.Argument(help="Environment: a file of configs/env/.", autocompletion=common.environments)
    ] = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print the merged settings and where each value came from. Secrets are shown as their references."""
    from framework.cli import render

    rows = list(common.settings(env, set_).leaves())
    if as_json:
        render.print_json({key: {"value": value, "from": origin} for key, value, origin in rows})
        return
    render.print_table(["key", "value", "from"], [[key, _shown(value), origin] for key, value, origin in rows])


@app.command("environments")
def environments() -> None:
    """List the environments."""
    for name in common.environments():
        print(name)


def _shown(value: object) -> str:
    return "" if value is None else str(value)
