"""What every test may use; everything here is light."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import BASE, EMBEDDED, Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project with a working configuration; what its jobs import is forgotten afterwards."""
    made = Project(tmp_path / "project")
    made.write("configs/base.yaml", BASE)
    made.write("configs/env/embedded.yaml", EMBEDDED)
    (made.root / "jobs").mkdir()
    path = list(sys.path)
    yield made
    sys.path[:] = path
    for module in [name for name in sys.modules if name == "jobs" or name.startswith("jobs.")]:
        del sys.modules[module]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance", action="store_true", help="run what proves a cell of the conformance table, and print it")
    parser.addoption("--update-acceptance", action="store_true", help="accept the present output of the commands as the expected one")
