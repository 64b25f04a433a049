"""Leases under any order of events: never do two runs both believe that they may publish."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_leases import DAY1, JOB

from framework.errors import LeaseHeld, LeaseLost
from framework.leases import Lease, Leases
from framework.store import FolderStore, Versioned

TTL = 1000.0
RUNS = st.integers(0, 3)


class ClockStore(FolderStore):
    """A store with a clock of its own, which only the test moves."""

    now = 0.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.written: dict[str, float] = {}

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self.written[key] = self.now

    def look(self, key: str) -> Versioned | None:
        found = super().look(key)
        return replace(found, age=self.now - self.written[key]) if found else None


class LeaseMachine(RuleBasedStateMachine):
    """Runs take, confirm, give back, pause for long and vanish; `publishers` are those whose last confirmation was granted."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = ClockStore(Path(self.folder.name))
        self.leases = Leases(self.store, ttl=TTL)
        self.held: dict[int, tuple[ExitStack, Lease]] = {}
        self.confirmed: dict[int, float] = {}

    @rule(run=RUNS)
    def take(self, run: int) -> None:
        if run in self.held:
            return
        stack = ExitStack()
        fresh = [other for other, at in self.confirmed.items() if self.store.now - at <= TTL]
        try:
            lease = stack.enter_context(self.leases.hold(JOB, DAY1, f"run{run}"))
        except LeaseHeld:
            assert fresh, "refused although nobody holds it"
        else:
            assert not fresh, f"run{run} got what run{fresh} holds"
            self.confirmed = {run: self.store.now}
            self.held[run] = (stack, lease)

    @rule(run=RUNS)
    def publish(self, run: int) -> None:
        if run not in self.held:
            return
        try:
            self.held[run][1].confirm()
        except LeaseLost:
            assert run not in self.confirmed, "lost although nobody took it"
        else:
            assert run in self.confirmed, f"run{run} was overtaken and may publish"
            self.confirmed[run] = self.store.now

    @rule(run=RUNS)
    def give_back(self, run: int) -> None:
        if run in self.held:
            self.held.pop(run)[0].close()
            self.confirmed.pop(run, None)

    @rule(seconds=st.sampled_from([1.0, TTL / 2, TTL + 1]))
    def time_passes(self, seconds: float) -> None:
        self.store.now += seconds

    @invariant()
    def at_most_one_may_publish(self) -> None:
        assert len(self.confirmed) <= 1

    def teardown(self) -> None:
        for stack, _ in self.held.values():
            stack.close()
        self.folder.cleanup()


TestLeases = LeaseMachine.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
