"""Leases: one holder at a time, whoever else tries, and whatever becomes of the holder."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from framework.errors import AccessRefused, LeaseHeld, LeaseLost, ServiceUnavailable
from framework.jobs import EngineKind, Job, Param, Sql, Table
from framework.leases import Leases, key_of
from framework.store import FolderStore, Store, Versioned

JOB = Job(
    "daily", EngineKind.SPARK_SQL, {}, Table("marts.daily", partitioned_by=["day"]), {"day": Param(str)}, None, Sql(""), "jobs/d.sql", 1
)
DAY1, DAY2 = {"day": "1"}, {"day": "2"}


class AgedStore(FolderStore):
    """A store whose objects are as old as the test says, on top of their own age."""

    extra = 0.0

    def look(self, key: str) -> Versioned | None:
        found = super().look(key)
        return replace(found, age=found.age + self.extra) if found else None


@pytest.fixture
def store(tmp_path: Path) -> AgedStore:
    return AgedStore(tmp_path)


def test_a_second_run_is_told_who_is_at_work(store: Store) -> None:
    leases = Leases(store)
    with leases.hold(JOB, DAY1, "first"), pytest.raises(LeaseHeld) as caught, leases.hold(JOB, DAY1, "second"):
        pass
    assert "another run is at work on it: run first (process " in caught.value.message
    assert caught.value.where == "jobs/d.sql:1: marts.daily"


def test_a_lease_that_was_given_back_is_free_whatever_the_end_was(store: Store) -> None:
    leases = Leases(store)
    with suppress(ZeroDivisionError), leases.hold(JOB, DAY1, "first"):
        raise ZeroDivisionError
    with leases.hold(JOB, DAY1, "second"):
        pass


def test_other_parameters_go_in_parallel_unless_the_whole_table_is_replaced(store: Store) -> None:
    leases, whole = Leases(store), replace(JOB, output=Table("marts.all", mode="overwrite"))
    with leases.hold(JOB, DAY1, "first"), leases.hold(JOB, DAY2, "second"), leases.hold(whole, DAY1, "third"):
        with pytest.raises(LeaseHeld), leases.hold(whole, DAY2, "fourth"):
            pass
    assert key_of(JOB, DAY1) != key_of(JOB, DAY2)


def test_a_holder_that_does_not_renew_is_overtaken_and_may_not_publish(store: AgedStore) -> None:
    leases = Leases(store, ttl=3600)
    with leases.hold(JOB, DAY1, "first") as first:
        store.extra = 3601
        with leases.hold(JOB, DAY1, "second") as second:
            with pytest.raises(LeaseLost, match="another one has taken its place; nothing was published") as caught:
                first.confirm()
            assert "run second" in caught.value.details[0]
            second.confirm()
    # The first gave nothing back: it was not its own any more.
    store.extra = 0
    with leases.hold(JOB, DAY1, "third"):
        pass


def test_a_lease_is_renewed_while_the_run_works(store: AgedStore) -> None:
    renewed = threading.Event()

    class Watched(AgedStore):
        def put_if(self, key: str, data: bytes, *, tag: str | None) -> str | None:
            written = super().put_if(key, data, tag=tag)
            if b'"renewals": 2' in data:
                renewed.set()
            return written

    with Leases(Watched(store._folder), ttl=0.03).hold(JOB, DAY1, "first"):
        assert renewed.wait(20)


def test_a_dead_process_of_this_machine_holds_nothing_up(store: AgedStore, tmp_path: Path) -> None:
    program = (
        "import sys, os, pathlib; sys.path[:0] = [sys.argv[2]]\n"
        "from test_leases import JOB, DAY1; from framework.leases import Leases; from framework.store import FolderStore\n"
        "Leases(FolderStore(pathlib.Path(sys.argv[1]))).hold(JOB, DAY1, 'killed').__enter__(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)], check=False)
    (left,) = store.keys("leases/")
    assert b"killed" in (store.get(left) or b"")
    with Leases(store).hold(JOB, DAY1, "second"):
        pass


def test_of_many_that_try_at_once_one_wins(store: Store) -> None:
    leases, barrier, winners = Leases(store), threading.Barrier(8), []
    done = threading.Event()

    def attempt(number: int) -> None:
        barrier.wait()
        try:
            with leases.hold(JOB, DAY1, f"run{number}"):
                winners.append(number)
                done.wait(30)
        except LeaseHeld:
            if len(losers := [*lost, number]) == 7:
                done.set()
            lost[:] = losers

    lost: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(8)))
    assert len(winners) == 1


def test_a_write_whose_answer_was_lost_is_not_taken_for_somebody_elses(store: AgedStore) -> None:
    class Repeating(AgedStore):
        def put_if(self, key: str, data: bytes, *, tag: str | None) -> str | None:
            super().put_if(key, data, tag=tag)
            return super().put_if(key, data, tag=tag)  # as a client does that had no answer

    with Leases(Repeating(store._folder)).hold(JOB, DAY1, "first") as lease:
        lease.confirm()


def test_a_first_run_needs_no_right_to_list_the_bucket(store: AgedStore) -> None:
    class Unlisted(AgedStore):
        """S3 for who may read and write objects only: 403 in place of 404."""

        def look(self, key: str) -> Versioned | None:
            found = super().look(key)
            if found is None:
                raise AccessRefused("could not read: AccessDenied")
            return found

        def put_if(self, key: str, data: bytes, *, tag: str | None) -> str | None:
            return FolderStore(self._folder).put_if(key, data, tag=tag)

    leases = Leases(Unlisted(store._folder))
    with leases.hold(JOB, DAY1, "first"), pytest.raises(LeaseHeld, match="run first"), leases.hold(JOB, DAY1, "second"):
        pass


def test_a_store_that_is_away_for_a_moment_ends_nothing(store: AgedStore) -> None:
    class Flaky(AgedStore):
        away = False

        def put_if(self, key: str, data: bytes, *, tag: str | None) -> str | None:
            if self.away:
                raise ServiceUnavailable("S3 does not answer")
            return super().put_if(key, data, tag=tag)

    flaky = Flaky(store._folder)
    with Leases(flaky).hold(JOB, DAY1, "first") as lease:
        flaky.away = True
        with pytest.raises(ServiceUnavailable):
            lease.confirm()
        flaky.away = False
        lease.confirm()
