"""pig and pig-script on a local node: Pig 0.18 in its local mode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.errors import UserError
from framework.local import artifacts
from framework.local.aws.emr.execution import localize
from framework.local.aws.emr.execution.commands.hadoop import java, tell
from framework.local.aws.emr.execution.commands.hive import after_args
from framework.local.aws.emr.execution.node import Node

_FILES = ("-f", "-file", "-m", "-param_file", "-P", "-propertyFile")
_ENGINE = ("-x", "-exectype")


def script(node: Node, args: Sequence[str]) -> int:
    """pig-script --run-pig-script --args -f FILE -p NAME=VALUE ..."""
    return pig(node, after_args(args))


def pig(node: Node, args: Sequence[str]) -> int:
    """Pig with a script or -e."""
    given: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word in _ENGINE and rest:
            rest.pop(0)
        elif word in _FILES and rest:
            given += [word, str(localize.fetch(node.path(rest.pop(0)), Path.cwd()))]
        elif localize.is_remote(word) and not rest:
            given.append(str(localize.fetch(word, Path.cwd())))
        else:
            given.append(word)
    if not given:
        raise UserError("an interactive pig cannot run as a step, which has no terminal", fix="give -f or -e")
    jars = [*artifacts.ensure_jars("pig", tell), *sorted((node.spark_home / "jars").glob("*.jar"))]
    properties = node.conf("pig") / "pig.properties"
    log = ("-logfile", str(Path.cwd() / "pig.log"))
    return java(node, "org.apache.pig.Main", ["-x", "local", *log, "-P", str(properties), *given], jars=jars, distributed_cache=True)
