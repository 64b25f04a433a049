"""How everything here is measured: whole processes or blocks, in turn (A B A B ...), medians, and their ratio."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Seconds that one run took: wall clock, and CPU of the process and its children."""

    wall: float
    cpu: float


def command(argv: Sequence[str], *, env: dict[str, str] | None = None, log: Path | None = None) -> Cost:
    """Run a command to its end; its output goes to `log`.

    Raises:
        RuntimeError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    with (log or Path(os.devnull)).open("ab") as out:
        code = subprocess.run(list(argv), stdout=out, stderr=out, env=env, check=False).returncode
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        raise RuntimeError(f"{' '.join(argv)} ended with {code}; see {log}")
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def block(act: Callable[[], object]) -> Cost:
    """Time a call in this process."""
    cpu, begun = time.process_time(), time.perf_counter()
    act()
    return Cost(time.perf_counter() - begun, time.process_time() - cpu)


def in_turn(rounds: int, contenders: dict[str, Callable[[], Cost]], *, warm_up: int = 1) -> dict[str, list[Cost]]:
    """Run each contender once a round, so that a machine whose speed drifts is fair to all."""
    for _ in range(warm_up):
        for act in contenders.values():
            act()
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, act in contenders.items():
            costs[name].append(act())
    return costs


def median(costs: Sequence[Cost], what: str = "wall") -> float:
    """The median of `wall` or `cpu`."""
    return statistics.median(getattr(cost, what) for cost in costs)


def ratio(costs: dict[str, list[Cost]], ours: str, peer: str, what: str = "wall") -> float:
    """Median of the ratios round by round."""
    return statistics.median(getattr(a, what) / getattr(b, what) for a, b in zip(costs[ours], costs[peer], strict=True))


def machine() -> str:
    """What it ran on, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
