"""What the supervisor tells whoever watches it; the command line renders these, tests collect them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Starting:
    """A server is about to be started; `reason` says why one that should have been running was not."""

    service: str
    reason: str | None = None


@dataclass(frozen=True)
class Waiting:
    """Another command is starting or stopping the service; this one waits for it."""

    service: str


@dataclass(frozen=True)
class Progress:
    """Something long is going on inside a start; `done` and `total` are bytes where known."""

    service: str
    text: str
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Ready:
    """The server answers; `reason` repeats why it had to be started ("crashed (killed by SIGKILL); restarted")."""

    service: str
    seconds: float
    reason: str | None = None


@dataclass(frozen=True)
class Stopped:
    """The server and all its processes are gone; `killed` when it did not stop by itself in time."""

    service: str
    seconds: float
    killed: bool = False


@dataclass(frozen=True)
class Deleted:
    """The service's data are deleted."""

    service: str


Event = Starting | Waiting | Progress | Ready | Stopped | Deleted
