"""hive and hive-script on a local node: Spark SQL stands in for Hive, which does not run on Java 17, and says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from framework.errors import UserError
from framework.local.aws.emr.execution import localize
from framework.local.aws.emr.execution.commands.spark import spark_environment
from framework.local.aws.emr.execution.node import Node

# Options of Hive's CLI with a value, in spark-sql's spelling.
_VALUED = {
    **{"-e": "-e", "-f": "-f", "-i": "-i", "-d": "-d", "--define": "-d", "--hivevar": "--hivevar", "-hivevar": "--hivevar"},
    **{"--hiveconf": "--hiveconf", "-hiveconf": "--hiveconf", "--database": "--database"},
}
_SWITCHES = {"-S": "-S", "--silent": "-S", "-v": "-v", "--verbose": "-v"}


def script(node: Node, args: Sequence[str]) -> int:
    """hive-script --run-hive-script [--hive-versions V] --args -f FILE ..."""
    return hive(node, after_args(args))


def after_args(args: Sequence[str]) -> list[str]:
    """What follows `--args` in the arguments of hive-script and pig-script.

    Raises:
        UserError: there is no `--args`.
    """
    if "--args" not in args:
        raise UserError("the script's own arguments are missing", fix="write them after --args")
    return list(args[list(args).index("--args") + 1 :])


def arguments(node: Node, args: Sequence[str]) -> list[str]:
    """spark-sql's arguments for those of Hive's CLI; files stay as they are named.

    Raises:
        UserError: neither -e nor -f, or an option that is not known.
    """
    found: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word in _SWITCHES:
            found.append(_SWITCHES[word])
        elif word in _VALUED and rest:
            found += [_VALUED[word], node.path(rest.pop(0))]
        elif equals and name.startswith("--") and name in _VALUED:
            found += [_VALUED[name], node.path(value)]
        else:
            known = ", ".join([*_VALUED, *_SWITCHES])
            raise UserError(f"the local node's hive does not know {word!r}", fix=f"it takes {known}")
    if not {"-e", "-f"} & set(found):
        raise UserError("an interactive hive cannot run as a step, which has no terminal", fix="give -f or -e")
    return found


def hive(node: Node, args: Sequence[str]) -> int:
    """Hive's CLI with -e or -f."""
    given = arguments(node, args)
    for index in range(len(given) - 1):
        if given[index] in ("-f", "-i"):
            given[index + 1] = str(localize.fetch(given[index + 1], Path.cwd()))
    sys.stderr.write("local node: Spark SQL runs this HiveQL in the place of Hive; hive.* settings of its engine have no effect\n")
    sys.stderr.flush()
    path = node.spark_home / "bin/spark-sql"
    properties = str(node.conf("spark") / "spark-defaults.conf")
    env = {**spark_environment(), "SPARK_CONF_DIR": str(node.conf("hive"))}
    os.execve(path, [str(path), "--master", "local[*]", "--properties-file", properties, *given], env)
