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
    """The platform, with progress on a display that the caller has.

    Raises:
        UserError: the environment's jobs do not run on this machine.
    """
    if loaded.settings.target != "embedded":
        raise UserError(
            f"environment {loaded.env} runs its jobs on EMR, not on this machine",
            where=f"configs/env/{loaded.env}.yaml",
            fix="use an environment with target: embedded, or `emrjobs plan`",
        )
    from framework.local.target import open_platform

    with open_platform(loaded, display.local) as opened:
        yield opened
