"""Imports that begin in the background, or late."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from pathlib import Path

import pytest

from framework.imports import EarlyImport, put_off


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


def test_what_is_put_off_is_imported_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "seldom.py").write_text("VALUE = 7\n", encoding="utf-8")
    (tmp_path / "user.py").write_text("import seldom\n", encoding="utf-8")
    with put_off("seldom"):
        user = importlib.import_module("user")
    assert "seldom" not in sys.modules
    assert pickle.loads(pickle.dumps(user.seldom)).VALUE == 7  # as functions that name a module travel to Spark's workers
    assert user.seldom.VALUE == 7
    assert importlib.import_module("seldom") is sys.modules["seldom"] is not user.seldom
