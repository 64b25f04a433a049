"""Imports that take long: begun in the background while the caller waits for something else, or put off until they are used."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any


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


@contextmanager
def put_off(*names: str) -> Iterator[None]:
    """What is imported inside does not import these modules: each is when something of it is used first."""
    later = {name: _Later(name) for name in names if name not in sys.modules}
    sys.modules.update(later)
    try:
        yield
    finally:
        for name, module in later.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]  # who imports it from here on gets it


class _Later(ModuleType):
    """Not `importlib.util.LazyLoader`, whose modules load at once when another one imports them (Python 3.11)."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        vars(self).update(vars(module))
        return getattr(module, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)
