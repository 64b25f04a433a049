"""The sample job as a step on the local EMR endpoint: the same command, code and calls as on AWS."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import sample_figures as figures

from framework.platform import Platform
from framework.query import run_query

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]

Command = Callable[..., Any]


def published(platform: Platform, day: object) -> list[dict[str, Any]]:
    sql = f"SELECT * FROM marts.daily_performance WHERE flight_date = DATE '{day}' ORDER BY carrier, origin"
    columns, rows, _ = run_query(platform, sql, 10_000)
    return [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.fixture
def submitted(emrjobs: Command) -> Command:
    """Submit and give what `--json` says."""

    def submit(*arguments: str) -> dict[str, Any]:
        done = emrjobs("submit", *arguments, "--json")
        found: dict[str, Any] = {"exit_code": done.code, **(json.loads(done.out) if done.out else {}), "err": done.err}
        return found

    return submit


def test_a_submit_publishes_what_a_run_on_this_machine_does(submitted: Command, emrjobs: Command, run: Command, platform: Platform) -> None:
    day = figures.DAYS[0]
    done = submitted("daily_etl", "-p", f"date={day}")
    assert done["exit_code"] == 0, done["err"]
    on_emr = published(platform, day)
    assert len(on_emr) == len(figures.daily_performance(day))
    run("daily_etl", date=day)
    assert published(platform, day) == on_emr

    record = platform.ledger.get(done["submit"])
    assert (record.status, record.target, record.cluster) == ("succeeded", "emr", done["cluster"])
    assert record.step == done["steps"][record.run_id]
    assert record.output is not None
    assert len(record.checks) == 9

    # The cluster ends by itself, and an unchanged submit would upload nothing.
    plan = json.loads(emrjobs("plan", "daily_etl", "--submit", "--json").out)
    assert [one["there"] for one in plan["artifacts"]] == [True, True, True]
    assert (plan["spec_changes"], plan["code_changes"]) == ([], [])
    assert json.loads(emrjobs("clusters", "--json").out) == []


def test_a_mistake_in_the_input_is_one_sentence_and_exit_code_two(emrjobs: Command, platform: Platform) -> None:
    done = emrjobs("submit", "daily_etl", "-p", "date=2013-12-31")
    assert done.code == 2
    assert "there are no files at s3://emrjobs-raw/weather/date=2013-12-31/" in done.err
    assert published(platform, "2013-12-31") == []


def test_a_step_that_was_killed_leaves_nothing_and_the_next_submit_publishes(submitted: Command, run: Command, platform: Platform) -> None:
    day = figures.DAYS[2]
    command = [str(Path(sys.executable).with_name("emrjobs")), "submit", "daily_etl", "-p", f"date={day}", "--json"]
    with subprocess.Popen(command, cwd=platform.root, stdout=subprocess.PIPE, text=True) as first:
        kill_driver(str(platform.root))
        out, _ = first.communicate(timeout=300)
    assert first.returncode == 1, out
    assert published(platform, day) == []
    assert submitted("daily_etl", "-p", f"date={day}")["exit_code"] == 0
    on_emr = published(platform, day)
    run("daily_etl", date=day)
    assert published(platform, day) == on_emr != []


def kill_driver(root: str) -> None:
    """Kill the Python driver of the step that runs below a project, as soon as it is there."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = process.info["cmdline"] or []
            if (process.info["cwd"] or "").startswith(root) and "--submit" in words and "python" in Path(words[0]).name:
                process.kill()
                return
        time.sleep(0.2)
    raise AssertionError("no driver was started")
