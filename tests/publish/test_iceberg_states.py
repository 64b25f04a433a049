"""Runs publish to one Iceberg table, are overtaken, killed, not answered, made again and undone, and vacuums come in between.

Whatever the order: readers see what a list of rows says, and no file is removed that a snapshot needs.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import attempt
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from publish.lake import COLUMNS, DATABASE, S3, Fault, Killed, Lake, Names, Row, Rows, Trino, Unreachable, merged, spark
from pyiceberg.exceptions import CommitFailedException

from framework.errors import PublishConflict, UserError
from framework.jobs import Table
from framework.ledger import ROLLED_BACK, RUNNING, SUCCEEDED, Ledger, OutputRecord, RunRecord
from framework.maintenance import rollback, vacuum
from framework.publish import Published, is_staging_name
from framework.publish.trino import Query
from framework.publish.trino_iceberg import TrinoIcebergArea
from framework.publish.trino_merge import TrinoMergeArea
from framework.store import FolderStore

NAME = f"{DATABASE}.daily"
DAY, RETENTION = 86_400.0, 6.5 * 86_400.0
OUTPUTS = {
    "append": Table(NAME, partitioned_by=["day"], mode="append"),
    "overwrite": Table(NAME, partitioned_by=["day"], mode="overwrite"),
    "overwrite_partitions": Table(NAME, partitioned_by=["day"]),
    "merge": Table(NAME, partitioned_by=["day"], mode="merge", keys=["id"]),
}
KEYS = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["mon", "tue"])), min_size=1, max_size=3, unique_by=lambda key: key[0])
MODES = st.sampled_from(list(OUTPUTS))
WHICH = st.integers(0, 7)
FAULTS = st.none() | st.builds(Fault, st.integers(0, 24), st.booleans(), st.sampled_from([Killed, Unreachable, CommitFailedException]))


@dataclass
class Run:
    """A run: what it publishes, and its area while it is at work."""

    run_id: str
    mode: str
    rows: Rows
    begun: float
    area: Any = None

    def onto(self, before: Rows) -> Rows:
        """What readers see when this run is published onto what they saw before."""
        if self.mode == "append":
            return sorted(before + self.rows)
        if self.mode == "merge":
            return merged(before, {row[0]: row for row in self.rows})
        days = {row[1] for row in self.rows}
        kept = [row for row in before if row[1] not in days] if self.mode == "overwrite_partitions" else []
        return sorted(kept + self.rows)


@dataclass(frozen=True)
class Version:
    """One commit, and what readers see from it on."""

    run: Run
    snapshot: str
    rows: Rows


class IcebergMachine(RuleBasedStateMachine):
    """The model is a list of versions; readers see the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.lake = Lake()
        self.names, self.queries = Names(self.lake), dict[str, Rows]()
        self.opened = ExitStack()
        self.opened.enter_context(self.lake.opened())
        self.ledger = Ledger(FolderStore(Path(self.temporary.name)))
        self.aws: Any = SimpleNamespace(client=lambda service: S3(self.lake), credentials=lambda: None)
        self.platform: Any = SimpleNamespace(
            catalog=self.names,
            ledger=self.ledger,
            aws=self.aws,
            settings=SimpleNamespace(connections={}),
            table=self.names.find,
            spark=lambda: nullcontext(spark(self.lake)),
        )
        self.runs: list[Run] = []
        self.versions: list[Version] = []
        self.looked_at = -1

    # What happens

    @initialize(keys=KEYS, mode=MODES, fault=FAULTS)
    def first(self, keys: Sequence[tuple[int, str]], mode: str, fault: Fault | None) -> None:
        self.run(keys, mode, fault)

    @rule(keys=KEYS, mode=MODES, fault=FAULTS)
    def run(self, keys: Sequence[tuple[int, str]], mode: str, fault: Fault | None) -> None:
        """A run stages its rows and publishes them."""
        run = self._new(keys, mode)
        with self.lake.process(fault):
            self._finish(run, self._stage(run), fault)

    @rule(keys=KEYS, mode=MODES)
    def begin(self, keys: Sequence[tuple[int, str]], mode: str) -> None:
        """A run stages its rows, and has checks to make before it publishes them."""
        with self.lake.process(None):
            assert self._stage(self._new(keys, mode)) is None

    @rule(which=WHICH, fault=FAULTS, other=st.none() | WHICH)
    def publish(self, which: int, fault: Fault | None, other: int | None) -> None:
        """A run publishes what it has staged; another one may be faster by a moment."""
        if not (staged := self._at_work()):
            return
        run, faster = staged[which % len(staged)], None if other is None else staged[other % len(staged)]
        with self.lake.process(None if faster else fault):
            if faster and faster is not run:
                self.lake.meanwhile = lambda: self._finish(faster, None, None)
            self._finish(run, None, None if faster else fault)

    @rule(which=WHICH, killed=st.booleans())
    def fail(self, which: int, killed: bool) -> None:
        """A check fails, and a run discards its rows; or it is killed."""
        if staged := self._at_work():
            run = staged[which % len(staged)]
            if not killed:
                run.area.discard()
                assert self.names.find(run.area._stage_name) is None
            run.area = None

    @rule(which=WHICH, fault=FAULTS)
    def again(self, which: int, fault: Fault | None) -> None:
        """A run is retried under its id, whether it had published or not."""
        ended = [run for run in self.runs if run.area is None and self.lake.now - run.begun < RETENTION]
        if ended:
            run = ended[which % len(ended)]
            with self.lake.process(fault):
                self._finish(run, self._stage(run), fault)

    @rule(which=WHICH)
    def undo(self, which: int) -> None:
        """Readers see again what they saw before a run, or are told why not and see no change."""
        recorded = [run for run in self.runs if run.area is None and self._record(run).status == SUCCEEDED]
        if not recorded:
            return
        run = recorded[which % len(recorded)]
        output = self._record(run).output
        assert output is not None
        before = [one.snapshot for one in self.versions[:-1]][-1:]
        done = attempt(lambda: rollback(self.platform, run.run_id))
        if self.versions[-1].snapshot != output.version:
            assert isinstance(done, PublishConflict)
        elif isinstance(done, UserError):
            assert not before or before[0] not in self._snapshots()
            assert "removed by a vacuum" in str(done) or "there is nothing before it" in str(done)
        else:
            assert done.status == self._record(run).status == ROLLED_BACK
            assert self.versions.pop().run is run

    @rule(days=st.sampled_from([1, 4, 8]))
    def time_passes(self, days: int) -> None:
        self.lake.now += days * DAY
        for run in self._at_work():
            if self.lake.now - run.begun >= RETENTION:
                run.area = None  # no run takes as long as that

    @rule()
    def clean_up(self) -> None:
        """A vacuum removes what nobody needs and what is older than the retention, and nothing else."""
        if not self.versions:
            return
        young = {uri for uri, (_, written) in self.lake.objects.items() if self.lake.now - written < RETENTION}
        before, staging = set(self.lake.objects), self._staging()
        kept = {one for one in self._snapshots() if self.lake.now - self.lake.committed[int(one)] < RETENTION}
        would = vacuum(self.platform, NAME, retention=dt.timedelta(seconds=RETENTION), dry_run=True)
        assert set(self.lake.objects) == before
        done = vacuum(self.platform, NAME, retention=dt.timedelta(seconds=RETENTION), dry_run=False)
        assert set(would.files) <= set(done.files)
        assert young <= set(self.lake.objects)
        assert self._snapshots() == kept | {self.versions[-1].snapshot}
        root = str(self.names.find(NAME).location)  # type: ignore[union-attr]
        self._check_history()
        left = {uri for uri in self.lake.objects if uri.startswith(f"{root}/")} - young
        assert left <= self._needed(), "something abandoned is still there"
        assert {one for one in staging if one not in self._staging()} == {
            one for one in staging if self.lake.now - self.lake.born[one] > RETENTION
        }

    # What is always true

    @invariant()
    def readers_see_what_was_published(self) -> None:
        if self.looked_at == self.lake.changes:
            return
        self.looked_at = self.lake.changes
        assert self.lake.rows(NAME) == (self.versions[-1].rows if self.versions else None)

    def _check_history(self) -> None:
        """Every snapshot that is kept can be read."""
        if self.versions:
            table, kept = self.lake.tables.load_table(NAME), self._snapshots()
            for one in self.versions:
                if one.snapshot in kept:
                    seen = table.scan(snapshot_id=int(one.snapshot)).to_arrow().to_pylist()
                    assert sorted((row["id"], row["day"], row["n"]) for row in seen) == one.rows

    # Below

    def _new(self, keys: Sequence[tuple[int, str]], mode: str) -> Run:
        number = len(self.runs) + 1
        rows: list[Row] = sorted((key, day, number) for key, day in keys)
        run = Run(f"20240101T{number:09d}-daily-{number:06x}", mode, rows, self.lake.now)
        self.queries[f"rows_{number}"] = rows
        self.runs.append(run)
        return run

    def _stage(self, run: Run) -> BaseException | None:
        self._write(run, RUNNING, None)
        number = self.runs.index(run) + 1
        try:
            kind = TrinoMergeArea if run.mode == "merge" else TrinoIcebergArea
            trino: Any = Trino(self.lake, self.queries)
            catalog: Any = self.names
            run.area = kind(trino, catalog, self.aws, OUTPUTS[run.mode], run.run_id, self.names.find(NAME))
            if run.mode != "merge":
                run.area.begin()
            staged = run.area.write(Query(f"SELECT * FROM rows_{number}", COLUMNS, {}))
            assert staged.rows == len(run.rows)
        except (Killed, Unreachable, CommitFailedException) as exc:
            return exc
        return None

    def _finish(self, run: Run, problem: BaseException | None, fault: Fault | None) -> None:
        """Publish, unless staging has met a problem; then readers see the run's rows, or, after a fault, may see what they saw before."""
        published: Published | None = None
        try:
            published = None if problem else run.area.publish()
        except (Killed, Unreachable, CommitFailedException) as exc:
            problem = exc
        area, run.area = run.area, None
        if problem and not isinstance(problem, Killed) and area:
            try:
                area.discard()
            except (Unreachable, CommitFailedException):
                pass
            except Killed:
                problem = Killed()
        assert fault is not None or problem is None
        current = self._current()
        if current is not None and (not self.versions or current != self.versions[-1].snapshot):
            known = run.mode != "merge" and any(one.run is run for one in self.versions if one.snapshot in self._snapshots())
            assert not known, "published twice"
            self.versions.append(Version(run, current, run.onto(self.versions[-1].rows if self.versions else [])))
        elif published and run.mode != "merge":
            assert any(one.run is run for one in self.versions), "said to be published, and is not"
        if published:
            snapshots = [one.snapshot for one in self.versions]
            assert published.version in snapshots
            before = snapshots[snapshots.index(published.version) - 1] if snapshots.index(published.version) else None
            assert published.previous == before or before not in self._snapshots()
            self._write(run, SUCCEEDED, published)

    def _write(self, run: Run, status: str, published: Published | None) -> None:
        output = None
        if published:
            output = OutputRecord(NAME, published.rows, published.partitions, published.version, published.previous, run.mode)
        self.ledger.write(RunRecord(run.run_id, "daily", "test", "embedded", "trino", {}, status, "2024-01-01T00:00:00", output=output))

    def _record(self, run: Run) -> RunRecord:
        return self.ledger.get(run.run_id)

    def _at_work(self) -> list[Run]:
        return [run for run in self.runs if run.area]

    def _staging(self) -> list[str]:
        return [info.name for info in self.names.tables() if is_staging_name(info.name)]

    def _current(self) -> str | None:
        if self.names.find(NAME) is None:
            return None
        snapshot = self.lake.tables.load_table(NAME).current_snapshot()
        return str(snapshot.snapshot_id) if snapshot else None

    def _snapshots(self) -> set[str]:
        return {str(one.snapshot_id) for one in self.lake.tables.load_table(NAME).metadata.snapshots}

    def _needed(self) -> set[str]:
        """What the table's metadata leads to."""
        table = self.lake.tables.load_table(NAME)
        found = {table.metadata_location, *(one.metadata_file for one in table.metadata.metadata_log)}
        for snapshot in table.metadata.snapshots:
            found.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(table.io):
                found.add(manifest.manifest_path)
                found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
        return found

    def teardown(self) -> None:
        self.opened.close()
        self.temporary.cleanup()


def check(examples: int, steps: int) -> None:
    wanted = settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(IcebergMachine, settings=wanted)


def test_runs_of_every_mode_in_any_order() -> None:
    check(examples=20, steps=20)


@pytest.mark.slow
def test_runs_of_every_mode_in_many_orders() -> None:
    check(examples=50, steps=30)
