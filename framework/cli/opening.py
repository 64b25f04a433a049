"""Open the platform of an environment for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from framework.errors import UserError

if TYPE_CHECKING:
    from framework.cli.display import Display
    from framework.config.loader import Loaded
    from framework.platform import Platform


@contextmanager
def platform(loaded: Loaded, *, quiet: bool = False) -> Iterator[Platform]:
    """The platform, with progress on standard error until the block ends."""
    from framework.cli.display import Display

    with Display(quiet=quiet) as display, shown(loaded, display) as opened:
        yield opened


@contextmanager
def shown(loaded: Loaded, display: Display) -> Iterator[Platform]:
    """The platform, with progress on a display that the caller has."""
    from framework import environment

    with environment.open_platform(loaded, display.local) as opened:
        yield opened


def refuse_remote(loaded: Loaded, *, but_local: bool = False) -> None:
    """For what runs on this machine.

    Args:
        but_local: the local EMR endpoint is fine.

    Raises:
        UserError: the environment's jobs do not run on this machine.
    """
    from framework import emr

    if loaded.settings.target != "embedded" and not (but_local and emr.is_local(loaded)):
        raise UserError(
            f"environment {loaded.env} runs its jobs on EMR, not on this machine",
            where=f"configs/env/{loaded.env}.yaml",
            fix="use `emrjobs submit`, or an environment with target: embedded",
        )
