"""`python -m framework.local.aws.emr.execution.commands <cluster's folder> <command> [arguments]`; the scripts on a node's PATH call it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from framework.errors import EmrjobsError
from framework.local.aws.emr.execution.commands import COMMANDS
from framework.local.aws.emr.execution.node import Node
from framework.local.aws.emr.execution.workspace import ClusterFolder


def main(argv: list[str]) -> int:
    """Run one command; returns its exit code."""
    folder, name, *arguments = argv
    node = Node.load(ClusterFolder(Path(folder)))
    if node is None:
        sys.stderr.write(f"{name}: the cluster in {folder} is gone\n")
        return 1
    command = COMMANDS[name]
    module = importlib.import_module(f"framework.local.aws.emr.execution.commands.{command.module}")
    try:
        return int(getattr(module, command.function)(node, arguments))
    except EmrjobsError as exc:
        sys.stderr.write(f"{name}: {exc}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
