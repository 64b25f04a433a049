"""What a run tells whoever watches it. The command line renders these; a cluster's step logs them; tests collect them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class PhaseStarted:
    """`phase` is one of `framework.runner.PHASES`; `text` says what it does, for people."""

    phase: str
    text: str


@dataclass(frozen=True)
class PhaseEnded:
    """The phase took `seconds`; `text` says what came of it."""

    phase: str
    seconds: float
    text: str = ""


@dataclass(frozen=True)
class Working:
    """Something inside a phase goes on; `done` and `total` count tasks where known."""

    text: str
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Warned:
    """Something beside the run went wrong; the run goes on."""

    text: str


RunEvent: TypeAlias = PhaseStarted | PhaseEnded | Working | Warned
OnRunEvent: TypeAlias = Callable[[RunEvent], None]


def ignore(event: RunEvent) -> None:
    """Tell nobody."""
