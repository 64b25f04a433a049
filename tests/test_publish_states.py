"""Publish, lease, vacuum and rollback in any order: readers see whole runs, the right ones, and nothing of theirs is ever removed."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from builders import attempt
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_lease_states import TTL, ClockStore

from framework.catalog import Column, Partition, TableInfo
from framework.errors import LeaseHeld, LeaseLost, PublishConflict, UserError
from framework.jobs import EngineKind, Job, Param, Sql, Table
from framework.leases import Lease, Leases
from framework.ledger import ROLLED_BACK, RUNNING, SUCCEEDED, Ledger, OutputRecord, RunRecord
from framework.maintenance import rollback, vacuum
from framework.publish import RUNS, hive

NAME, BUCKET, ROOT = "marts.daily", "lake", "s3://lake/marts.db/daily"
OUTPUT = Table(NAME, partitioned_by=["day"], format="parquet")
JOB = Job("daily", EngineKind.SPARK_SQL, {}, OUTPUT, {"day": Param(str)}, None, Sql(""), "jobs/d.sql", 1)
RETENTION = 5 * TTL
DAYS = st.sampled_from(["1", "2"])
WHICH = st.integers(0, 7)


class Lake:
    """A catalog with one table, and the objects below it; objects are as old as the clock says."""

    def __init__(self, clock: ClockStore) -> None:
        self.clock = clock
        self.info: TableInfo | None = None
        self.located: dict[tuple[str, ...], str] = {}
        self.objects: dict[str, float] = {}

    def create(self, table: TableInfo, comment: str | None = None) -> TableInfo:
        self.info = table
        return table

    def tables(self) -> list[TableInfo]:
        return [self.info] if self.info else []

    def partitions(self, table: TableInfo, expression: str | None = None) -> list[Partition]:
        return [Partition(values, location) for values, location in self.located.items()]

    def put_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        self.located |= {one.values: one.location for one in partitions}

    def delete_partitions(self, table: TableInfo, partitions: Sequence[Partition]) -> None:
        for one in partitions:
            self.located.pop(one.values, None)

    # As a client of S3

    def get_paginator(self, operation: str) -> Lake:
        return self

    def paginate(self, **asked: str) -> Iterator[dict[str, Any]]:
        now = dt.datetime.now(dt.UTC)
        yield {
            "Contents": [
                {"Key": key, "Size": 1, "LastModified": now - dt.timedelta(seconds=self.clock.now - written)}
                for key, written in self.objects.items()
                if key.startswith(asked["Prefix"])
            ]
        }

    def delete_objects(self, **asked: Any) -> dict[str, Any]:
        for one in asked["Delete"]["Objects"]:
            del self.objects[one["Key"]]
        return {}


@dataclass
class Run:
    """A run at work."""

    day: str
    begun: float
    stack: ExitStack
    lease: Lease


def folder(run_id: str) -> str:
    return f"{ROOT}/{RUNS}/{run_id}"


def key(run_id: str, day: str) -> str:
    return f"{folder(run_id)}/day={day}/part-0".removeprefix(f"s3://{BUCKET}/")


class PublishMachine(RuleBasedStateMachine):
    """Runs of two days stage, publish, crash before and after that, are undone; a vacuum comes at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.store = ClockStore(Path(self.temporary.name))
        self.leases, self.ledger, self.lake = Leases(self.store, ttl=TTL), Ledger(self.store), Lake(self.store)
        self.platform: Any = SimpleNamespace(
            catalog=self.lake,
            ledger=self.ledger,
            aws=SimpleNamespace(client=lambda service: self.lake),
            settings=SimpleNamespace(connections={}),
            table=lambda name: self.lake.info,
        )
        self.plan = TableInfo(NAME, "parquet", ROOT, (Column("n", "int"),), (Column("day", "string"),))
        self.number = 0
        self.at_work: dict[str, Run] = {}
        self.published: list[str] = []
        """Runs whose record says that they succeeded, in this order."""
        self.day_of: dict[str, str] = {}
        self.visible: dict[str, str] = {}

    @rule(day=DAYS)
    def run(self, day: str) -> None:
        """An undisturbed run, unless another one holds the lease."""
        if run_id := self.start(day):
            self.finish(run_id, recorded=True)

    @rule(day=DAYS)
    def begin(self, day: str) -> None:
        """A run takes its lease and stages its rows."""
        self.start(day)

    @rule(which=WHICH, recorded=st.booleans())
    def publish(self, which: int, recorded: bool) -> None:
        """A run publishes, unless it was overtaken; it may be killed before that is in its record."""
        if self.at_work:
            self.finish(sorted(self.at_work)[which % len(self.at_work)], recorded=recorded)

    @rule(which=WHICH)
    def crash(self, which: int) -> None:
        """A run is killed: its rows and its lease stay."""
        if self.at_work:
            del self.at_work[sorted(self.at_work)[which % len(self.at_work)]]

    @rule(which=WHICH)
    def undo(self, which: int) -> None:
        """Readers see again what the newest recorded run before it had published, or are told why not, and see no change."""
        if not self.published:
            return
        run_id = self.published[which % len(self.published)]
        day = self.day_of[run_id]
        before = [one for one in self.published if self.day_of[one] == day and one < run_id]
        gone = bool(before) and key(before[-1], day) not in self.lake.objects
        done = attempt(lambda: rollback(self.platform, run_id))
        if isinstance(done, PublishConflict):
            assert self.visible.get(day) != run_id, "refused although nobody had published since"
        elif isinstance(done, UserError):
            assert "removed by a vacuum" in str(done)
            assert gone
            assert self.visible[day] == run_id
        else:
            assert done.status == self.ledger.get(run_id).status == ROLLED_BACK
            assert self.visible.pop(day) == run_id
            assert not gone
            self.published.remove(run_id)
            if before:
                self.visible[day] = before[-1]

    @rule(seconds=st.sampled_from([1.0, TTL + 1, RETENTION + 1]))
    def time_passes(self, seconds: float) -> None:
        self.store.now += seconds

    @rule()
    def clean_up(self) -> None:
        """A vacuum removes exactly what nobody can see and what is older than the retention."""
        if self.lake.info is None or any(self.store.now - run.begun >= RETENTION for run in self.at_work.values()):
            return  # no run takes as long as the retention
        seen = {key(run_id, day) for day, run_id in self.visible.items()}
        kept = {name for name, written in self.lake.objects.items() if name in seen or self.store.now - written <= RETENTION}
        vacuum(self.platform, NAME, retention=dt.timedelta(seconds=RETENTION), dry_run=False)
        assert set(self.lake.objects) == kept

    @rule()
    def a_week_later(self) -> None:
        """Whoever was at work is not any more, and a vacuum comes."""
        self.at_work.clear()
        self.store.now += RETENTION + 1
        self.clean_up()

    @invariant()
    def readers_see_whole_runs_and_the_right_ones(self) -> None:
        assert self.lake.located == {(day,): f"{folder(run_id)}/day={day}" for day, run_id in self.visible.items()}
        for day, run_id in self.visible.items():
            assert key(run_id, day) in self.lake.objects, f"the rows of {run_id} are gone"

    def start(self, day: str) -> str | None:
        self.number += 1
        run_id = f"20240101T{self.number:09d}-daily-aaaaaa"
        stack = ExitStack()
        try:
            lease = stack.enter_context(self.leases.hold(JOB, {"day": day}, run_id))
        except LeaseHeld:
            return None
        self.day_of[run_id] = day
        self.record(run_id, RUNNING)
        self.lake.objects[key(run_id, day)] = self.store.now
        self.at_work[run_id] = Run(day, self.store.now, stack, lease)
        return run_id

    def finish(self, run_id: str, *, recorded: bool) -> None:
        run = self.at_work.pop(run_id)
        try:
            run.lease.confirm()
        except LeaseLost:
            del self.lake.objects[key(run_id, run.day)]
            return
        switch = hive.Switch(self.lake, OUTPUT, self.lake.info)
        switch.show(self.plan, [Partition((run.day,), f"{folder(run_id)}/day={run.day}")])
        self.visible[run.day] = run_id
        if recorded:
            self.record(run_id, SUCCEEDED)
            self.published.append(run_id)
            run.stack.close()

    def record(self, run_id: str, status: str) -> None:
        made = RunRecord(run_id, "daily", "test", "embedded", "spark_sql", {"day": self.day_of[run_id]}, status, "2024-01-01T00:00:00")
        if status == SUCCEEDED:
            output = OutputRecord(NAME, 1, (f"day={self.day_of[run_id]}",), folder(run_id), None, OUTPUT.write_mode)
            made = replace(made, output=output)
        self.ledger.write(made)

    def teardown(self) -> None:
        for run in self.at_work.values():
            run.stack.close()
        self.temporary.cleanup()


TestPublish = PublishMachine.TestCase
TestPublish.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
