"""The conformance table itself: nothing in it can be missing unsaid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conformance import cells
from conformance.cells import Cell

FOLDER = Path(__file__).parent / "conformance"
PROVEN = {cell: True for cell in cells.cells() if cells.reason(cell) is None}


def test_every_cell_passes_or_has_its_reason_below_the_table() -> None:
    lines, wrong = cells.render(PROVEN)
    assert wrong == []
    rows = lines[4 : 4 + len(cells.CLAIMS)]
    assert {word for row, claim in zip(rows, cells.CLAIMS, strict=True) for word in row.removeprefix(claim.text).split()} <= {
        "pass",
        *[f"({number})" for number in range(1, 10)],
    }
    notes = lines[4 + len(cells.CLAIMS) :]
    assert [note.split(") ", 1)[1] for note in notes] == list(dict.fromkeys(filter(None, map(cells.reason, cells.cells()))))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "no test ran for it, and no reason is declared"),
        ({cells.cells()[0]: False}, "a test failed"),
    ],
)
def test_a_cell_without_a_pass_is_an_error(change: dict[Cell, bool], text: str) -> None:
    outcomes = {cell: passed for cell, passed in PROVEN.items() if cell != cells.cells()[0]} | change
    assert [text in line for line in cells.render(outcomes)[1]] == [True]


def test_a_reason_that_is_no_longer_true_is_an_error() -> None:
    (cell, *_) = [cell for cell in cells.cells() if cells.reason(cell)]
    assert "it passes, and a reason says why it cannot" in cells.render({**PROVEN, cell: True})[1][0]


def test_the_tests_that_the_table_names_are_there() -> None:
    known = {
        name for file in FOLDER.glob("test_*.py") for name in re.findall(r"^(?:def )?(test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    named = {name.partition("[")[0] for claim in cells.CLAIMS for name in claim.tests}
    assert named <= known
    assert {f"{suite}.py" for suite in cells.SUITES.values()} <= {file.name for file in FOLDER.iterdir()}
