"""The sample job as a step on the local EMR endpoint: the same command, code and calls as on AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sample_figures as figures
from emr_kills import PHASES, Kills
from openlineage_receiver import validated

from framework.platform import Platform
from framework.query import run_query

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(2400)]

Command = Callable[..., Any]
PROJECT = Path(__file__).parents[2]
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


def make(*arguments: str, project: Path) -> subprocess.CompletedProcess[str]:
    """`make` as a user types it, for a project of the test's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EMRJOBS", "AWS_", "MAKE", "ENV", "MFLAGS"))}
    environment |= {"EMRJOBS_PROJECT": str(project), "NO_COLOR": "1", "COLUMNS": "200"}
    # What is installed is not looked at again.
    argv = ["make", "--no-print-directory", "--old-file=.venv/.ready", *arguments]
    return subprocess.run(argv, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=1800, check=False)


def test_jobs_in_any_order_are_steps_of_one_cluster_and_publish_what_runs_on_this_machine_do(
    command: Command, run: Command, platform: Platform, tmp_path: Path
) -> None:
    day = figures.DAYS[0]
    told = tmp_path / "lineage.jsonl"
    given = "JOBS=carrier_scorecard,ingest_weather,daily_etl"
    done = make("submit", given, f"DATE={day}", f"ARGS=--json --set lineage.file={told}", project=platform.root)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)

    emr = platform.aws.client("emr")
    clusters = [one["Id"] for one in emr.list_clusters()["Clusters"] if one["Name"].endswith(made["submit"])]
    assert clusters == [made["cluster"]]
    steps = emr.list_steps(ClusterId=made["cluster"])["Steps"][::-1]  # newest first
    assert [made["runs"][step["Name"].split()[1]] for step in steps] == ["daily_etl", "carrier_scorecard", "ingest_weather"]
    assert [step["Status"]["State"] for step in steps] == ["COMPLETED"] * 3
    times = [step["Status"]["Timeline"] for step in steps]
    assert all(earlier["EndDateTime"] <= later["StartDateTime"] for earlier, later in pairwise(times))
    events = [validated(json.loads(line)) for line in told.read_text(encoding="utf-8").splitlines()]
    assert [event.eventType.name for event in events if event.eventType] == ["START", "COMPLETE"] * 3

    on_emr = published(platform, day)
    assert len(on_emr) == len(figures.daily_performance(day))
    _, (hours,), _ = run_query(platform, f"SELECT count(*) FROM lake.weather WHERE date = DATE '{day}'", 1)
    assert hours == (72,)
    _, carriers, _ = run_query(platform, "SELECT carrier FROM marts.carrier_scorecard", 100)
    assert {row["carrier"] for row in on_emr} <= {carrier for (carrier,) in carriers}
    run("daily_etl", date=day)
    assert published(platform, day) == on_emr

    (run_id,) = [run_id for run_id, job in made["runs"].items() if job == "daily_etl"]
    record = platform.ledger.get(run_id)
    assert (record.status, record.target, record.cluster) == ("succeeded", "emr", made["cluster"])
    assert record.step == made["steps"][run_id]
    assert record.output is not None
    assert len(record.checks) == 9

    # The cluster ends by itself, and an unchanged submit would upload nothing.
    plan = json.loads(command("plan", "daily_etl", "--submit", "--json").stdout)
    assert [one["there"] for one in plan["artifacts"]] == [True, True, True]
    assert plan["code_changes"] == []
    assert json.loads(command("clusters", "--json").stdout) == []


def test_a_trino_job_is_a_step_too(submitted: Command, run: Command, platform: Platform) -> None:
    day = figures.DAYS[1]
    run("daily_etl", date=day)
    done = submitted("carrier_360", "-p", f"date={day}")
    assert done["exit_code"] == 0, done["err"]
    record = platform.ledger.get(done["submit"])
    assert (record.status, record.target, record.cluster, record.engine) == ("succeeded", "emr", done["cluster"], "trino")
    columns = ["carrier", "flights", "cancelled", "busiest_destination", "busiest_destination_name", "busiest_destination_is_international"]
    _, rows, _ = run_query(platform, f"SELECT {', '.join(columns)} FROM marts.carrier_360 WHERE flight_date = DATE '{day}'", 100)
    assert sorted(rows) == sorted(figures.carrier_360(day)[columns].itertuples(index=False, name=None))


def test_a_mistake_in_the_input_is_one_sentence_and_exit_code_two(command: Command, platform: Platform) -> None:
    done = command("submit", "daily_etl", "-p", "date=2013-12-31")
    assert done.returncode == 2
    assert "there are no files at s3://emrjobs-raw/weather/date=2013-12-31/" in done.stderr
    assert published(platform, "2013-12-31") == []


# `python tests/emr_kills.py` kills in other phases, and at other moments.
@pytest.mark.parametrize(("seed", "job", "phase"), [(1, "daily_etl", "stage"), (2, "carrier_scorecard", "publish")])
def test_a_step_killed_at_a_random_moment_and_submitted_again_publishes_what_an_undisturbed_one_does(
    seed: int, job: str, phase: str, platform: Platform
) -> None:
    kills = Kills(platform)
    kill = kills.kill(seed, phase, job)
    assert PHASES.index(phase) <= [*PHASES, "ended"].index(kill.landed)
    assert kill.looks > 0
    assert kills.left() == []


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
