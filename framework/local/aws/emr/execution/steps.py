"""What a piece of work runs: the program and arguments behind `command-runner.jar`, script-runner, a jar or a script.

Source: Management Guide, "Submit work to a cluster"; Release Guide, "Run commands and scripts on an Amazon EMR cluster".
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from framework.errors import EmrjobsError
from framework.local.aws.emr.contract import Work, WorkKind
from framework.local.aws.emr.execution import localize
from framework.local.aws.emr.execution.commands import COMMANDS
from framework.local.aws.emr.execution.node import Node

COMMAND_RUNNER = "command-runner.jar"
_SCRIPT_RUNNER = "script-runner.jar"
_RUN_IF = "bootstrap-actions/run-if"
_STREAMING = re.compile(r"hadoop-streaming[^/]*\.jar$")


@dataclass(frozen=True)
class Launch:
    """A program to start.

    Attributes:
        argv: program (absolute) and arguments.
        env: added to the environment.
        jar: what EMR's controller log names as the jar.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The work cannot be started; carries what EMR would say.

    Args:
        reason: EMR's short reason.
        message: the line that explains it; goes to stderr of the step too.
        exit_code: as the step's process would have ended.
    """

    def __init__(self, reason: str, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.reason, self.message, self.exit_code = reason, message, exit_code


def plan(work: Work, node: Node, cwd: Path, path: str) -> Launch | None:
    """The program to start; None when there is nothing to do (a `run-if` whose condition is false).

    Args:
        cwd: the working folder; scripts and jars are fetched into it.
        path: the PATH that programs are looked up in.

    Raises:
        Refused: a program, script or jar is not there.
    """
    name = PurePosixPath(urlsplit(work.jar).path).name
    args = tuple(node.path(arg) for arg in work.args)
    try:
        if name == COMMAND_RUNNER:
            # emr-cli 0.0.19 sends an empty argument before each script, which spark-submit would take for the application; such
            # steps run on EMR. That it drops them is not documented.
            return _command(tuple(arg for arg in args if arg), path)
        if name == _SCRIPT_RUNNER:
            if not args:
                raise Refused("Illegal Argument.", "script-runner.jar needs the script's location as its first argument")
            return _script(args[0], args[1:], cwd)
        if work.kind is WorkKind.BOOTSTRAP:
            if urlsplit(work.jar).path.endswith(_RUN_IF):
                return _run_if(args, cwd, path)
            return _script(node.path(work.jar), args, cwd)
        if _STREAMING.search(name):
            return _command(("hadoop-streaming", *args), path)
        return _jar(work, node, args, cwd, path)
    except EmrjobsError as exc:
        raise Refused("Unknown Error.", exc.message) from exc


def _command(args: tuple[str, ...], path: str) -> Launch:
    if not args:
        raise Refused("Illegal Argument.", "command-runner.jar needs the command to run as its first argument")
    # /usr/lib/spark/bin/run-example and the like are the cluster's own commands, which are on its PATH.
    own = PurePosixPath(args[0]).name
    program = shutil.which(own if own in COMMANDS and "/bin/" in args[0] else args[0], path=path)
    if program is None:
        # The words of the Java program that command-runner.jar is.
        text = f'java.io.IOException: Cannot run program "{args[0]}" (in directory "."): error=2, No such file or directory'
        raise Refused("Unknown Error.", f'Exception in thread "main" java.lang.RuntimeException: {text}', 1)
    return Launch((program, *args[1:]))


def _script(location: str, args: tuple[str, ...], cwd: Path) -> Launch:
    script = localize.fetch(location, cwd)
    if script.is_symlink():  # a file of the machine: its mode is not ours to change
        source = script.resolve()
        script.unlink()
        shutil.copyfile(source, script)
    script.chmod(0o755)
    with script.open("rb") as file:
        shebang = file.read(2) == b"#!"
    # A shell runs what has no shebang, as the shell of a real node does.
    return Launch((str(script), *args) if shebang else ("/bin/bash", str(script), *args))


def _run_if(args: tuple[str, ...], cwd: Path, path: str) -> Launch | None:
    """`run-if instance.isMaster=true CMD ...`: the local node is the master."""
    if not args:
        raise Refused("Illegal Argument.", "run-if needs a condition and a command")
    key, _, wanted = args[0].partition("=")
    facts = {"instance.isMaster": "true", "instance.isRunningNameNode": "true", "instance.isRunningJobTracker": "true"}
    if facts.get(key, "false") != wanted.strip("'\"").lower():
        return None
    if len(args) > 1 and (localize.is_remote(args[1]) or args[1].startswith("file:")):
        return _script(args[1], args[2:], cwd)
    return _command(args[1:], path)


def _jar(work: Work, node: Node, args: tuple[str, ...], cwd: Path, path: str) -> Launch:
    jar = localize.fetch(node.path(work.jar), cwd)
    hadoop = shutil.which("hadoop", path=path)
    if hadoop is None:
        raise Refused("Unknown Error.", "the local node has no hadoop command")
    main = (work.main_class,) if work.main_class else ()
    options = " ".join(f"-D{key}={value}" for key, value in work.properties.items())
    env = {"HADOOP_CLIENT_OPTS": f"{os.environ.get('HADOOP_CLIENT_OPTS', '')} {options}".strip()} if options else {}
    return Launch((hadoop, "jar", str(jar), *main, *args), env)
