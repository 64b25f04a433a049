"""Find the project, and open an environment of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.errors import UserError

if TYPE_CHECKING:
    from framework.config.loader import Loaded
    from framework.platform import Platform


def find_project() -> Path:
    """The project's folder: EMRJOBS_PROJECT, else the nearest folder upwards with jobs/ and configs/.

    Raises:
        UserError: there is none.
    """
    given = os.environ.get("EMRJOBS_PROJECT")
    if given:
        root = Path(given).expanduser().resolve()
        if not (root / "configs").is_dir():
            raise UserError(f"{root} is not a project: it has no folder configs/", fix="give --project another folder")
        return root
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "configs").is_dir() and (folder / "jobs").is_dir():
            return folder
    raise UserError("this is not a project: no folder here or above has jobs/ and configs/", fix="change into a project, or give --project")


@contextmanager
def open_platform(loaded: Loaded, on_event: Callable[[Any], None] = lambda event: None) -> Iterator[Platform]:
    """The platform of an environment, whichever its target; local services are started where it has them.

    Args:
        on_event: told what happens to the local services.
    """
    from framework import emr

    if loaded.settings.target == "emr" and not emr.is_local(loaded):
        with emr.open_platform(loaded) as opened:
            yield opened
        return
    from framework.local import target

    with target.open_platform(loaded, on_event) as opened:
        yield opened
