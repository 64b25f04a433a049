"""Progress on standard error: one moving line on a terminal, a line per step elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from framework import progress as run_events
from framework.cli import render
from framework.local import events as local_events

if TYPE_CHECKING:
    from rich.status import Status

_EVERY = 3.0  # seconds between lines about the same work where nothing can move


class Display:
    """Shows events of the local services and of a run; safe to call from several threads.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = render.console(stderr=True)
        self._status: Status | None = None
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def __enter__(self) -> Display:
        if not self._quiet and self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if self._status:
            self._status.stop()
            self._status = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing moves meanwhile: somebody is asked."""
        if self._status:
            self._status.stop()
        try:
            yield
        finally:
            if self._status:
                self._status.start()

    def local(self, event: local_events.Event) -> None:
        """A service started, stopped, or works on something."""
        match event:
            case local_events.Starting(service, reason):
                self._moving(f"start {service}" + (f" ({reason})" if reason else ""))
                if reason:
                    self._line(f"{service}: {reason}; starting it again")
            case local_events.Waiting(service):
                self._moving(f"wait for {service}, which another command is starting or stopping")
            case local_events.Progress(service, text, done, total):
                self._moving(f"{service}: {text}{_amount(done, total)}")
            case local_events.Ready(service, seconds, _):
                self._line(f"{service} is ready ({seconds:.1f} s)")
            case local_events.Stopped(service, seconds, killed):
                self._line(f"{service} stopped ({seconds:.1f} s)" + (", killed" if killed else ""))
            case local_events.Deleted(service):
                self._line(f"{service}: data deleted")

    def run(self, event: run_events.RunEvent) -> None:
        """A run enters or leaves a phase, or works."""
        match event:
            case run_events.PhaseStarted(_, text):
                self._moving(text, always=True)
            case run_events.PhaseEnded(_, seconds, text):
                self._line(f"{text} ({seconds:.1f} s)")
            case run_events.Working(text, done, total):
                self._moving(f"{text}{f': {done} of {total} tasks' if total else ''}")
            case run_events.Warned(text):
                self._line(f"warning: {text}")

    def note(self, text: str) -> None:
        """A line that stays."""
        self._line(text)

    def _moving(self, text: str, *, always: bool = False) -> None:
        if self._quiet:
            return
        with self._lock:
            if self._status:
                self._status.update(text)
                return
            key = text.split(":", maxsplit=1)[0]
            now = time.monotonic()
            if not always and now - self._last.get(key, 0) >= _EVERY:
                self._last[key] = now
                self._console.print(f"  {text}", markup=False)

    def _line(self, text: str) -> None:
        if not self._quiet:
            with self._lock:
                self._console.print(text, markup=False)


def _amount(done: int | None, total: int | None) -> str:
    if done is None:
        return ""
    return f" {render.size(done)} of {render.size(total)}" if total else f" {render.size(done)}"
