"""A process of its own judges a table of a SQL engine; here of SQLite, which asks for no server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from framework.errors import EngineUnavailable, SuiteError
from framework.quality.apart import Auditor
from framework.quality.docs import data_docs

SUITE = """
expectations:
  - expect_table_row_count_to_be_between: {min_value: 1}
  - expect_column_values_to_not_be_null: {column: carrier}
  - expect_column_values_to_be_between: {column: flights, min_value: "{least}"}
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "lake.db") as database:
        database.execute("create table mart (carrier text, flights integer)")
        database.executemany("insert into mart values (?, ?)", [("UA", 3), (None, 4), ("AA", 0)])
    return f"sqlite:///{tmp_path / 'lake.db'}"


@pytest.fixture
def auditor() -> Iterator[Auditor]:
    with Auditor() as auditor:
        yield auditor


def test_its_report_is_complete(auditor: Auditor, url: str, write_suite: Any, tmp_path: Path) -> None:
    report = auditor.audit_table(url, "main", "mart", write_suite(SUITE), {"least": 1})

    assert [result.success for result in report.results] == [True, False, False]
    assert [result.samples for result in report.results[1:]] == [({"carrier": None, "flights": 4},), ({"carrier": "AA", "flights": 0},)]
    assert report.rows == 3
    page = data_docs(report, tmp_path).read_text(encoding="utf-8")
    assert page.count("values must never be null") == 1  # Great Expectations' own evidence came with it


@pytest.mark.slow
def test_what_it_imports_late_is_there_for_the_expectation_that_needs_it(auditor: Auditor, url: str, write_suite: Any) -> None:
    likely = "{partition_object: {values: [UA, AA], weights: [0.5, 0.5]}, threshold: 0.1, column: carrier}"
    report = auditor.audit_table(
        url, "main", "mart", write_suite(f"expectations: [{{expect_column_kl_divergence_to_be_less_than: {likely}}}]"), {}
    )
    assert [(result.success, result.exception, result.observed) for result in report.results] == [(True, None, 0.0)]


@pytest.mark.slow
def test_its_errors_are_this_process_errors(auditor: Auditor, url: str, write_suite: Any) -> None:
    with pytest.raises(SuiteError, match="least"):
        auditor.audit_table(url, "main", "mart", write_suite(SUITE), {})


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_one_sentence(auditor: Auditor, tmp_path: Path, write_suite: Any) -> None:
    with pytest.raises(EngineUnavailable, match=r"the staged rows could not be checked: .*unable to open database file"):
        auditor.audit_table(f"sqlite:///{tmp_path}/nowhere/lake.db", "main", "mart", write_suite(SUITE), {"least": 1})


def test_a_process_that_was_killed_is_one_sentence(auditor: Auditor, url: str, write_suite: Any) -> None:
    auditor._process.kill()
    with pytest.raises(EngineUnavailable, match="the process that checks the staged rows has ended"):
        auditor.audit_table(url, "main", "mart", write_suite(SUITE), {"least": 1})


def test_it_ends_with_its_context() -> None:
    with Auditor() as auditor:
        process = psutil.Process(auditor._process.pid)
        assert process.is_running()
    assert not process.is_running()


def test_it_ends_by_itself_when_nobody_can_ask_any_more(auditor: Auditor) -> None:
    assert auditor._process.stdin is not None
    auditor._process.stdin.close()  # as when its parent is killed

    assert auditor._process.wait(timeout=120) == 0
    auditor._process.stdin = None
