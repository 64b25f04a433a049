"""The sample job as a step on the local EMR endpoint: the same command, code and calls as on AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import sample_figures as figures
from openlineage_receiver import validated

from framework.platform import Platform
from framework.query import run_query

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(2400)]

Command = Callable[..., Any]
EMRJOBS = str(Path(sys.executable).with_name("emrjobs"))


def published(platform: Platform, day: object) -> list[dict[str, Any]]:
    sql = f"SELECT * FROM marts.daily_performance WHERE flight_date = DATE '{day}' ORDER BY carrier, origin"
    columns, rows, _ = run_query(platform, sql, 10_000)
    return [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def command(platform: Platform) -> Command:
    """Run the command as a user does; a step takes minutes where the machine is busy."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("EMRJOBS", "AWS_"))}
        environment |= {"EMRJOBS_PROJECT": str(platform.root), "NO_COLOR": "1", "COLUMNS": "200"}
        return subprocess.run([EMRJOBS, *arguments], env=environment, capture_output=True, text=True, timeout=900, check=False)

    return run


@pytest.fixture(scope="module")
def submitted(command: Command) -> Command:
    """Submit and give what `--json` says."""

    def submit(*arguments: str) -> dict[str, Any]:
        done = command("submit", *arguments, "--json")
        return {**(json.loads(done.stdout) if done.stdout else {}), "exit_code": done.returncode, "err": done.stderr}

    return submit


def test_a_submit_publishes_what_a_run_on_this_machine_does(
    submitted: Command, command: Command, run: Command, platform: Platform, tmp_path: Path
) -> None:
    day = figures.DAYS[0]
    told = tmp_path / "lineage.jsonl"
    done = submitted("daily_etl", "-p", f"date={day}", "--set", f"lineage.file={told}")
    assert done["exit_code"] == 0, done["err"]
    events = [validated(json.loads(line)) for line in told.read_text(encoding="utf-8").splitlines()]
    assert [event.eventType.name for event in events if event.eventType] == ["START", "COMPLETE"]
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
    plan = json.loads(command("plan", "daily_etl", "--submit", "--json").stdout)
    assert [one["there"] for one in plan["artifacts"]] == [True, True, True]
    assert (plan["spec_changes"], plan["code_changes"]) == ([], [])
    assert json.loads(command("clusters", "--json").stdout) == []


def test_a_mistake_in_the_input_is_one_sentence_and_exit_code_two(command: Command, platform: Platform) -> None:
    done = command("submit", "daily_etl", "-p", "date=2013-12-31")
    assert done.returncode == 2
    assert "there are no files at s3://emrjobs-raw/weather/date=2013-12-31/" in done.stderr
    assert published(platform, "2013-12-31") == []


def test_a_step_that_was_killed_leaves_nothing_and_the_next_submit_publishes(submitted: Command, run: Command, platform: Platform) -> None:
    day = figures.DAYS[2]
    argv = [EMRJOBS, "submit", "daily_etl", "-p", f"date={day}", "--json"]
    with subprocess.Popen(argv, cwd=platform.root, stdout=subprocess.PIPE, text=True) as first:
        kill_driver(str(platform.root))
        out, _ = first.communicate(timeout=900)
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


@pytest.mark.parametrize("kind", ["throttle-after-acting", "drop-after-acting", "throttle", "drop-before-acting"])
def test_a_doubtful_answer_of_the_endpoint_makes_no_second_cluster(
    kind: str, submitted: Command, command: Command, platform: Platform
) -> None:
    url = f"{platform.aws.endpoint('emr')}/_emrjobs/faults"
    rules = json.dumps([{"kind": kind, "operation": "RunJobFlow", "count": 1}]).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=rules, method="PUT")):
        pass
    done = submitted("carrier_scorecard", "-p", f"min_flights={len(kind)}", "--no-wait")
    try:
        assert done["exit_code"] == 0, done["err"]
        found = json.loads(command("clusters", "--json").stdout)
        assert [one["Id"] for one in found if one["Name"].endswith(done["submit"])] == [done["cluster"]]
    finally:
        command("cancel", done["submit"], "--terminate")
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE")):
            pass
