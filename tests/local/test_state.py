"""What is remembered on disk between commands."""

from __future__ import annotations

import logging
import shutil
import stat
import threading
from pathlib import Path

import pytest

from framework.local.state import Layout, Process, Record, Run

RUN = Run(Process(10, 1.5), "/project:s3", "fingerprint", 1000.0, 77, 15, 10.0, server=Process(11, 1.52), ready=True)
RECORD = Record(ports={"http": 12000}, run=RUN, values={"url": "http://127.0.0.1:12000", "secret_key": "hush"}, secret=("secret_key",))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.create()
    return made


def test_a_record_is_read_as_it_was_written(layout: Layout) -> None:
    layout.write("s3", RECORD)
    assert layout.read("s3") == RECORD


def test_a_service_that_was_never_started_has_an_empty_record(layout: Layout) -> None:
    assert layout.read("s3") == Record()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"home": 1}', '{"ports": {}}', "\x00\x01"])
def test_a_damaged_state_file_is_ignored_with_a_warning(layout: Layout, text: str, caplog: pytest.LogCaptureFixture) -> None:
    layout.write("s3", RECORD)
    layout.record_file("s3").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert layout.read("s3") == Record()
    if "home" not in text:
        assert "s3.json is damaged" in caplog.text


def test_a_half_known_run_is_damage_too(layout: Layout) -> None:
    layout.write("s3", RECORD)
    path = layout.record_file("s3")
    path.write_text(path.read_text().replace('"keeper"', '"kepper"'))
    assert layout.read("s3") == Record()


def test_a_copied_checkout_does_not_know_the_processes_of_the_first(layout: Layout, tmp_path: Path) -> None:
    layout.write("s3", RECORD)
    shutil.copytree(layout.base, tmp_path / "copy" / ".local")
    assert Layout(tmp_path / "copy").read("s3") == Record()


def test_state_and_secrets_are_for_their_owner_only(layout: Layout) -> None:
    layout.write("s3", RECORD)
    layout.secret("s3", "secret_key")
    files = [layout.record_file("s3"), layout.private("s3") / "secret_key"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    assert stat.S_IMODE(layout.states.stat().st_mode) == 0o700


def test_a_secret_is_made_once(layout: Layout) -> None:
    made = layout.secret("s3", "secret_key")
    assert len(made) == 32
    assert layout.secret("s3", "secret_key") == made
    assert layout.secret("s3", "other") != made


def test_forgetting_deletes_data_and_secrets_and_keeps_the_ports(layout: Layout) -> None:
    layout.write("s3", RECORD)
    secret = layout.secret("s3", "secret_key")
    layout.data("s3").mkdir()
    (layout.data("s3") / "object").write_text("x")
    layout.forget("s3")
    assert not layout.data("s3").exists()
    assert layout.read("s3") == Record(ports=RECORD.ports)
    assert layout.secret("s3", "secret_key") != secret


def test_a_reader_never_sees_half_a_record(layout: Layout) -> None:
    layout.write("s3", RECORD)
    enough = threading.Event()

    def write() -> None:
        while not enough.is_set():
            layout.write("s3", RECORD)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(layout.read("s3") == RECORD for _ in range(300))
    finally:
        enough.set()
        writer.join()


def test_local_files_keep_themselves_out_of_git(layout: Layout) -> None:
    assert (layout.base / ".gitignore").read_text() == "*\n"
