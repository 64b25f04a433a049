"""docs/emr-operations.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.local.aws.emr import shapes
from framework.local.aws.emr.service import OPERATIONS
from framework.local.aws.emr.support import table

DOCUMENT = Path(__file__).parents[4] / "docs" / "emr-operations.md"


def test_the_table_of_operations_is_what_the_code_does(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-acceptance"):
        DOCUMENT.write_text(table(), encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == table(), "run with --update-acceptance, and read the diff"


def test_every_operation_is_one_of_the_model() -> None:
    assert set(OPERATIONS) <= set(shapes.load("emr").operations)
