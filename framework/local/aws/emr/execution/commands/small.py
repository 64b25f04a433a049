"""Small commands of an EMR node."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from framework.local.aws.emr.execution.node import Node


def state_pusher(node: Node, args: Sequence[str]) -> int:
    """state-pusher-script: pushes a step's debugging state to AWS's own service, which is not here; succeeds, as it does on a cluster."""
    sys.stderr.write("local node: there is no debugging service to push the state to\n")
    return 0
