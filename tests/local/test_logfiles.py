"""Reading and rotating logs."""

from __future__ import annotations

from pathlib import Path

from framework.local import logfiles


def test_a_large_log_is_put_aside_before_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "s3.log"
    log.write_bytes(b"x" * 100)
    assert logfiles.rotate(log, limit=100) == 100
    assert logfiles.rotate(log, limit=99) == 0
    assert not log.exists()
    assert (tmp_path / "s3.log.1").stat().st_size == 100


def test_the_tail_is_of_the_last_start_only(tmp_path: Path) -> None:
    log = tmp_path / "s3.log"
    log.write_text("old\n")
    start = log.stat().st_size
    with log.open("a") as out:
        out.write("one\n\ntwo\nthree\n")
    assert logfiles.tail(log, 10, start=start) == ["one", "two", "three"]
    assert logfiles.tail(log, 2) == ["two", "three"]
    assert logfiles.tail(log, 0) == []


def test_the_tail_of_no_log_is_empty(tmp_path: Path) -> None:
    assert logfiles.tail(tmp_path / "none.log", 10) == []


def test_following_goes_on_in_the_new_file_after_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "s3.log"
    lines = logfiles.follow(log, start=0, interval=0.001)
    log.write_text("first\nhal")
    assert next(lines) == "first"
    with log.open("a") as out:
        out.write("f\n")
    assert next(lines) == "half"
    log.rename(tmp_path / "s3.log.1")
    log.write_text("after\n")
    assert next(lines) == "after"
    lines.close()
