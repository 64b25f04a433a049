"""Options and lookups that every command shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framework.errors import ParameterError

if TYPE_CHECKING:
    from framework.config.loader import Loaded
    from framework.discovery import Jobs

DEFAULT_ENV = "embedded"


def project() -> Path:
    """The project's folder (--project is EMRJOBS_PROJECT here)."""
    from framework.environment import find_project

    return find_project()


def settings(env: str, overrides: list[str] | None) -> Loaded:
    """The merged settings of an environment."""
    from framework.config.loader import load

    return load(project(), env, overrides=overrides or ())


def jobs() -> Jobs:
    """The project's jobs."""
    from framework.discovery import discover

    root = project()
    return discover(root, cache=root / ".local" / "cache")


def params(given: list[str] | None) -> dict[str, Any]:
    """`name=value` texts as a mapping.

    Raises:
        ParameterError: a text has no `=`, or a name is given twice.
    """
    result: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ParameterError(f"--param {text}: must be name=value")
        if name in result:
            raise ParameterError(f"--param {name} is given twice")
        result[name] = value
    return result


def environments() -> list[str]:
    """For shell completion."""
    from framework.config.loader import environments as names

    return names(project())


def job_names() -> list[str]:
    """For shell completion."""
    return [job.name for job in jobs()]


ENV_OPTION = typer.Option("--env", "-e", envvar="EMRJOBS_ENV", help="Environment: a file of configs/env/.", autocompletion=environments)
EnvOption = Annotated[str, ENV_OPTION]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override one setting: key.path=value.", metavar="KEY=VALUE")]
ParamOption = Annotated[list[str] | None, typer.Option("--param", "-p", help="A parameter of the job.", metavar="NAME=VALUE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
JobArgument = Annotated[str, typer.Argument(help="Name of the job.", autocompletion=job_names)]
