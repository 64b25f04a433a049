"""`emrjobs local`: the servers of the embedded target."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from framework.cli import common

app = typer.Typer(help="The servers of the embedded target: S3, AWS endpoint, databases, Spark, Trino, HDFS ...", no_args_is_help=True)

NamesArgument = Annotated[list[str] | None, typer.Argument(help="Services; all without it.", metavar="[SERVICE]...")]


@app.command("up")
def up(names: NamesArgument = None, env: common.EnvOption = common.DEFAULT_ENV, set_: common.SetOption = None) -> None:
    """Start services (those of the environment without names) and load the sample data."""
    from framework.cli.display import Display

    loaded = common.settings(env, set_)
    with Display() as display:
        if names:
            from framework.local import target

            target.up(loaded, names, display.local)
        else:
            from framework.cli import opening

            opening.refuse_remote(loaded, but_local=True)
            with opening.shown(loaded, display):
                pass
    status()


@app.command("status")
def status(as_json: common.JsonOption = False) -> None:
    """Print the state of each service."""
    from framework.cli import render
    from framework.local.supervisor import Supervisor

    found = Supervisor(common.project()).status()
    if as_json:
        render.print_json([vars(one) | {"ports": dict(one.ports)} for one in found])
        return
    rows = [
        [
            one.name,
            one.state,
            one.pid,
            ", ".join(str(port) for port in one.ports.values()),
            f"{one.uptime:.0f}" if one.uptime is not None else "",
            render.size(one.rss) if one.rss else "",
            one.why or "",
        ]
        for one in found
    ]
    render.print_table(["service", "state", "pid", "ports", "up (s)", "memory", "why"], rows)


@app.command("down")
def down(names: NamesArgument = None) -> None:
    """Stop services; their data stay."""
    _act("down", names)


@app.command("reset")
def reset(names: NamesArgument = None, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Stop services and delete their data."""
    if not yes:
        typer.confirm(f"Delete the data of {', '.join(names or ['all services'])}?", abort=True)
    _act("reset", names)
    from framework.local.target import forget

    forget(common.project())


@app.command("logs")
def logs(
    name: Annotated[str, typer.Argument(help="Service.")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
) -> None:
    """Print the log of a service."""
    from framework.local.supervisor import Supervisor

    for line in Supervisor(common.project()).logs(name, lines, follow=follow):
        print(line, flush=follow)


@app.command("env")
def env() -> None:
    """Print exports for any AWS client: eval "$(emrjobs local env)"."""
    from framework.errors import ServiceUnavailable
    from framework.local import shell_env
    from framework.local.supervisor import Supervisor

    variables = shell_env(Supervisor(common.project()).endpoints())
    if not variables:
        raise ServiceUnavailable("the local AWS endpoint is not running", fix="emrjobs local up")
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    # A profile or a session of a real account would win over the keys, or not fit them.
    print("unset AWS_PROFILE AWS_SESSION_TOKEN")


def _act(what: str, names: list[str] | None) -> None:
    from framework.cli.display import Display
    from framework.local.supervisor import Supervisor

    with Display() as display:
        supervisor: Any = Supervisor(common.project(), on_event=display.local)
        getattr(supervisor, what)(names or None)
