"""Imports that take long, begun in the background while the caller waits for something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class EarlyImport:
    """One such import.

    Args:
        work: does it; idempotent, as imports are.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start it in a thread, once; what is wrong is raised by `finish`."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._try, name="import", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Have it done, whether it was begun or not.

        Raises:
            ImportError: a module is missing.
        """
        if self._thread is not None:
            # Two threads in one half-imported package can meet in a deadlock that Python breaks by showing one of them the half.
            self._thread.join()
        self._work()

    def _try(self) -> None:
        with suppress(Exception):
            self._work()
