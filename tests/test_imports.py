"""Imports that begin in the background."""

from __future__ import annotations

import threading

import pytest

from framework.imports import EarlyImport


def test_what_was_begun_is_waited_for() -> None:
    may_end, seen = threading.Event(), list[str]()

    def work() -> None:
        assert may_end.wait(60)
        seen.append(threading.current_thread().name)

    early = EarlyImport(work)
    early.begin()
    early.begin()  # once only
    assert seen == []
    may_end.set()
    early.finish()
    assert seen == ["import", threading.current_thread().name]


def test_what_is_wrong_is_raised_where_somebody_waits() -> None:
    def work() -> None:
        raise ImportError("no module")

    early = EarlyImport(work)
    early.begin()
    with pytest.raises(ImportError, match="no module"):
        early.finish()
