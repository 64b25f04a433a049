from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from framework.local.aws.database import Database
from framework.local.aws.state import Request, Snapshot, StateStore

REQUEST = Request("POST", "/", [("AUTHORIZATION", "AWS4-HMAC-SHA256 ...")], '{"logEvents": ["é"]}')


def test_a_snapshot_empties_the_journal_of_its_service_only(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.append("logs", REQUEST)
    store.append("dynamodb", REQUEST)
    store.save(Snapshot("logs", "writer", b"state"))
    store.close()

    again = StateStore(tmp_path)
    assert again.snapshots() == [Snapshot("logs", "writer", b"state")]
    assert list(again.journal()) == [("dynamodb", REQUEST)]
    again.close()


def test_a_torn_write_costs_only_itself(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    for _ in range(3):
        store.append("logs", REQUEST)
    # What a crash leaves: the log of the last commits, cut in the middle of the last one.
    wal = (tmp_path / "services.sqlite-wal").read_bytes()
    copy = tmp_path / "after-crash"
    copy.mkdir()
    (copy / "services.sqlite").write_bytes((tmp_path / "services.sqlite").read_bytes())
    (copy / "services.sqlite-wal").write_bytes(wal[:-100])
    store.close()

    after = StateStore(copy)
    assert list(after.journal()) == [("logs", REQUEST)] * 2
    after.append("logs", REQUEST)
    assert len(list(after.journal())) == 3
    after.close()


def test_a_journal_entry_that_cannot_be_read_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = StateStore(tmp_path)
    store.append("logs", REQUEST)
    with sqlite3.connect(tmp_path / "services.sqlite") as connection:
        connection.execute("INSERT INTO journal (service, request) VALUES ('logs', '{\"method\": ')")
    connection.close()
    store.append("logs", REQUEST)
    assert list(store.journal()) == [("logs", REQUEST)] * 2
    assert "cannot be read and is skipped" in caplog.text
    store.close()


@pytest.mark.parametrize("content", [b"this is not a database" * 100, None], ids=["garbage", "another format version"])
def test_a_file_that_cannot_be_read_is_set_aside_not_deleted(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "services.sqlite"
    if content is None:
        newer = Database(path, "CREATE TABLE other (x)", version=99)
        newer.close()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    store = StateStore(tmp_path)
    assert store.snapshots() == []
    assert (tmp_path / "services.sqlite.unreadable-1").read_bytes() == content
    assert "set aside as services.sqlite.unreadable-1" in caplog.text
    store.close()


def test_a_snapshot_set_aside_keeps_its_bytes(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.save(Snapshot("iam", "moto 1.0", b"old"))
    store.append("iam", REQUEST)
    aside = store.set_aside("iam")
    assert aside.read_bytes() == b"old"
    assert store.snapshots() == []
    assert list(store.journal()) == []
    store.close()


def test_a_transaction_that_raises_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.sqlite", "CREATE TABLE numbers (n)", 1)

    def fail_half_way() -> None:
        with database.write() as connection:
            connection.execute("INSERT INTO numbers VALUES (1)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
    database.close()


def test_concurrent_read_and_write_transactions_lose_no_increment(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.sqlite", "CREATE TABLE numbers (n); INSERT INTO numbers VALUES (0)", 1)

    def increment() -> None:
        for _ in range(25):
            with database.write() as connection:
                (value,) = connection.execute("SELECT n FROM numbers").fetchone()
                connection.execute("UPDATE numbers SET n = ?", (value + 1,))

    threads = [threading.Thread(target=increment) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute("SELECT n FROM numbers").fetchone() == (200,)
    database.close()
