"""Run records: kept, listed newest first, and readable by later versions."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest

from framework.errors import BadData, DatasetNotFound
from framework.ledger import CheckRecord, InputRecord, Ledger, OutputRecord, RunRecord, code_hash, new_run_id
from framework.store import FolderStore

RECORD = RunRecord(
    run_id="20130115T101500-daily-3f2a9c",
    job="daily",
    env="embedded",
    target="embedded",
    engine="spark",
    params={"date": "2013-01-15"},
    status="succeeded",
    started="2013-01-15T10:15:00.000+00:00",
    inputs=(InputRecord("flights", "jdbc", "ops.flights", 842),),
    output=OutputRecord("marts.daily", 12, ("flight_date=2013-01-15",), "7", None),
    checks=(CheckRecord("rows must be at least 1", "error", True),),
    versions={"python": "3.11"},
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(FolderStore(tmp_path))


def at(day: int, job: str = "daily") -> RunRecord:
    return replace(RECORD, run_id=f"201301{day:02}T101500-{job}-3f2a9c", job=job)


def test_a_record_comes_back_as_it_was_written(ledger: Ledger) -> None:
    ledger.write(RECORD)
    assert ledger.get(RECORD.run_id) == RECORD


def test_a_second_write_replaces_the_first(ledger: Ledger) -> None:
    ledger.write(replace(RECORD, status="running"))
    ledger.write(RECORD)
    assert [record.status for record in ledger.list()] == ["succeeded"]


def test_the_newest_run_comes_first(ledger: Ledger) -> None:
    for day in (3, 20, 11):
        ledger.write(at(day))
    assert [record.run_id[6:8] for record in ledger.list()] == ["20", "11", "03"]
    assert ledger.get("latest").run_id.startswith("20130120")


def test_runs_of_one_job(ledger: Ledger) -> None:
    ledger.write(at(1))
    ledger.write(at(2, "daily_etl"))
    ledger.write(at(3, "etl"))
    assert [record.job for record in ledger.list(job="etl")] == ["etl"]


def test_an_unknown_run_gets_the_nearest(ledger: Ledger) -> None:
    with pytest.raises(DatasetNotFound, match="there are no runs yet"):
        ledger.get("latest")
    ledger.write(RECORD)
    with pytest.raises(DatasetNotFound, match="there is no run") as caught:
        ledger.get("20130115T101500-daily-3f2a9d")
    assert caught.value.fix == "did you mean '20130115T101500-daily-3f2a9c'?"


@pytest.mark.parametrize("name", ["", "x", "../../etc/passwd", "latest "])
def test_what_is_no_id_is_not_found(ledger: Ledger, name: str) -> None:
    with pytest.raises(DatasetNotFound):
        ledger.get(name)


def test_keys_of_a_later_version_are_ignored_at_every_level() -> None:
    raw = json.loads(RECORD.to_json())
    for part in (raw, raw["inputs"][0], raw["checks"][0], raw["output"]):
        part["of_a_later_version"] = 1
    assert RunRecord.from_json(json.dumps(raw).encode()) == RECORD


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"{}", b'{"inputs": 3}', b"\xff"])
def test_something_else_in_the_place_of_a_record_spoils_no_list(tmp_path: Path, data: bytes) -> None:
    store = FolderStore(tmp_path)
    store.put("runs/2013-01-16/20130116T000000-daily-000000.json", data)
    Ledger(store).write(RECORD)
    assert list(Ledger(store).list()) == [RECORD]
    with pytest.raises(BadData, match="is not a run record"):
        Ledger(store).get("20130116T000000-daily-000000")


def test_a_log_is_text_whatever_it_holds(ledger: Ledger) -> None:
    assert ledger.log(RECORD.run_id) is None
    ledger.write_log(RECORD.run_id, "caf\u00e9\n")
    assert ledger.log_url(RECORD.run_id).endswith(f"{RECORD.run_id}.log")
    assert ledger.log(RECORD.run_id) == "caf\u00e9\n"
    assert list(ledger.list()) == []


def test_run_ids_sort_by_time_and_differ() -> None:
    now = dt.datetime(2013, 3, 8, 10, 15, tzinfo=dt.UTC)
    one, other = new_run_id("daily", now), new_run_id("daily", now)
    assert one.startswith("20130308T101500000-daily-")
    assert one != other
    assert one < new_run_id("a", now + dt.timedelta(seconds=1))


def test_the_code_s_hash_follows_jobs_and_suite(tmp_path: Path) -> None:
    jobs, suite = tmp_path / "jobs", tmp_path / "suite.yaml"
    jobs.mkdir()
    (jobs / "a.py").write_text("1", encoding="utf-8")
    suite.write_text("x", encoding="utf-8")
    seen = {code_hash(tmp_path, None), code_hash(tmp_path, suite)}
    (jobs / "notes.txt").write_text("not code", encoding="utf-8")
    assert code_hash(tmp_path, None) in seen
    (jobs / "a.py").write_text("2", encoding="utf-8")
    seen.add(code_hash(tmp_path, suite))
    (jobs / "a.py").rename(jobs / "b.py")
    seen.add(code_hash(tmp_path, suite))
    assert len(seen) == 4
