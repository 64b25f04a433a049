"""Services need each other: the order in which they start and stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from framework.errors import ConfigError

Needs = Callable[[str], Sequence[str]]
"""The services that one needs."""


def by_need(names: Sequence[str], needs: Needs, *, strict: bool = True) -> list[str]:
    """The names and all they need, what is needed first.

    Raises:
        ConfigError: `strict`, and services need each other in a circle.
    """
    found: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            if strict:
                raise ConfigError(f"local services need each other in a circle: {' -> '.join((*path, name))}")
        elif name not in found:
            for need in needs(name):
                visit(need, (*path, name))
            found.append(name)

    for name in names:
        visit(name, ())
    return found


def backwards(names: Sequence[str], needs: Needs, act: Callable[[str], None]) -> None:
    """`act` on each in its own thread, on a service only after all that need it.

    Args:
        names: in the order of need.
    """
    done = {name: threading.Event() for name in names}
    # Only those that come later in the order of need: a circle must not keep anything from stopping.
    later = {name: names[names.index(name) + 1 :] for name in names}
    dependents = {name: [other for other in later[name] if name in needs(other)] for name in names}

    def in_turn(name: str) -> None:
        for other in dependents[name]:
            done[other].wait()
        try:
            act(name)
        finally:
            done[name].set()

    with ThreadPoolExecutor(max_workers=len(names), thread_name_prefix="local") as pool:
        futures = [pool.submit(in_turn, name) for name in names]
    for future in futures:
        future.result()
