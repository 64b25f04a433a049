"""What `plan --submit` prints, word for word, for the project's own job and presets: at first, after changes, on a cluster that runs.

`pytest tests/acceptance --update-acceptance` accepts what it prints now; hashes, ids and the endpoint's port are left out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import OneClient
from emr_cloud import Cloud, Command

from framework.ledger import Ledger, RunRecord
from framework.store import S3Store

pytestmark = pytest.mark.slow  # two servers are started for these

EXPECTED = Path(__file__).parent / "submit_plan"
PLAN = ("plan", "daily_etl", "--submit", "-p", "date=2013-01-15")
_VOLATILE = [
    (re.compile(r"\b(code|env|step)-[0-9a-f]{24}"), r"\1-HASH"),
    (re.compile(r"\b\d{8}T\d{9}-(\w+)-[0-9a-f]{6}\b"), r"RUN-\1"),
    (re.compile(r"\bj-[0-9A-Z]{13}\b"), "CLUSTER"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud.served(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def emrjobs(served: Cloud, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(served, monkeypatch, capfd)


def check(name: str, text: str, request: pytest.FixtureRequest) -> None:
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    file = EXPECTED / f"{name}.txt"
    if request.config.getoption("--update-acceptance"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_a_plan_says_what_a_submit_would_do(served: Cloud, emrjobs: Command, request: pytest.FixtureRequest) -> None:
    before = served.objects()
    check("first", emrjobs(*PLAN).out, request)
    check("first-json", emrjobs(*PLAN, "--json").out, request)
    assert (served.objects(), served.active()) == (before, []), "a plan changes nothing"

    served.ship()
    done = emrjobs("submit", "daily_etl", "-p", "date=2013-01-15", "--no-wait")
    assert done.code == 0, done.err
    served.end()
    check("nothing-changed", emrjobs(*PLAN).out, request)

    job, preset = served.root / "jobs" / "daily_etl.py", served.root / "configs" / "clusters" / "transient_spot.yaml"
    job.write_text(job.read_text() + "\n# another version\n")
    (served.root / "jobs" / "notes.sql.txt").write_text("a new file\n")
    text = preset.read_text().replace("spot: 8", "spot: 12").replace("idle_minutes: 15", "idle_minutes: 30")
    preset.write_text(text + "classifications: {spark-defaults: {spark.executor.memory: 6g}}\n")
    state = S3Store("s3://cloud-state/state", OneClient(served.client("s3")))  # type: ignore[arg-type]
    for number, seconds in enumerate((300.0, 340.0, 1200.0)):
        run = f"20261120T00000000{number}-daily_etl-00000{number}"
        ended = RunRecord(run, "daily_etl", "cloud", "emr", "spark", {}, "succeeded", "2026-11-20T00:00:00+00:00", seconds=seconds)
        Ledger(state).write(ended)
    check("after-changes", emrjobs(*PLAN).out, request)

    served.shared("warehouse")
    check("on-a-cluster", emrjobs(*PLAN, "--on", "warehouse").out, request)
    served.end()
