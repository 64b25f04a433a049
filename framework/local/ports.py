"""Free TCP ports on 127.0.0.1, chosen once per service."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping, Sequence

from framework.errors import ServiceUnavailable
from framework.local.service import HOST, PortSpec

# Below the ranges that systems take outgoing connections from (Linux 32768+, macOS 49152+): a port of ours would otherwise
# be taken now and then while its server is stopped. 10,000 wide, so that "port + 10000" never meets another base port.
FIRST, LAST = 11_000, 20_999


def choose(specs: Sequence[PortSpec], remembered: Mapping[str, int], taken: Iterable[int]) -> dict[str, int]:
    """A port for each spec: the remembered one where it is free, else a random free one.

    Args:
        taken: ports that other services of the checkout have, whether these run now or not.

    Raises:
        ServiceUnavailable: no free port was found.
    """
    used = set(taken)
    chosen: dict[str, int] = {}
    for spec in specs:
        candidates = [remembered[spec.name]] if spec.name in remembered else []
        candidates += random.sample(range(FIRST, LAST + 1), 200)
        for port in candidates:
            needed = {port, *(port + offset for offset in spec.also)}
            if not needed & used and all(is_free(one) for one in needed):
                chosen[spec.name] = port
                used |= needed
                break
        else:
            raise ServiceUnavailable(f"found no free TCP port between {FIRST} and {LAST}", fix="stop programs that hold many ports")
    return chosen


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        # With SO_REUSEADDR some systems let two programs bind one port; one that listens answers here.
        if probe.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket() as probe:
        # Without it, connections of the last server that are still closing would make its own port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
