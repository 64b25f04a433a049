"""Steps on the local EMR endpoint that are killed at a random moment of their run, and submitted again.

The process group of a step that runs is killed with SIGKILL in a given phase of the run, at a moment that is drawn from the seed. Its
source has changed since the table was published, so that old and new rows differ. Throughout, somebody else's reader reads the table; the
same submit is made again; and at last the job runs undisturbed.

    python tests/emr_kills.py --seeds 15            # a report as JSON; exit code 1 when a promise was broken
    python tests/emr_kills.py --first 7 --seeds 1   # one of them again
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake_reader import Lake, Watcher

from framework.config.loader import load
from framework.discovery import discover
from framework.local.target import open_platform, supervisor
from framework.platform import Platform
from framework.runner import run_job
from framework.sources import postgresql

PROJECT = Path(__file__).parents[1]
EMRJOBS = str(Path(sys.executable).with_name("emrjobs"))
DAY = dt.date(2013, 5, 23)
PARAMS = {"daily_etl": "date", "carrier_scorecard": "min_flights"}
TABLES = {"daily_etl": "marts.daily_performance", "carrier_scorecard": "marts.carrier_scorecard"}  # Iceberg; Parquet in the Hive layout
PHASES = ("start", "stage", "check", "publish")
# Begins a line of the driver's when a phase has ended: the next one has begun.
ENDS = {"start": r"start Spark \(", "stage": r"compute \w+ \(", "check": r"check \d+ ", "publish": r"publish to "}
LONGEST = {"start": 3.0, "stage": 5.0, "check": 1.0, "publish": 0.1}  # seconds into a phase that a kill may come
OPEN = ("PENDING", "RUNNING")  # states of a step
_PATIENCE = 600.0


class BrokenPromise(AssertionError):
    """What must not happen."""


@dataclass(frozen=True)
class Kill:
    """How one of them went.

    Attributes:
        landed: the phase in which the driver died; `ended` when it had nothing left to do but to record its run.
        saw: what readers saw after the kill, old or new.
        looks: how often the table was read meanwhile.
    """

    seed: int
    job: str
    landed: str
    saw: str
    looks: int


class Kills:
    """Submits of one project's sample jobs, killed.

    Args:
        platform: of the embedded target, with the sample data.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._lake = Lake.of(platform.aws)

    def kill(self, seed: int, phase: str | None = None, job: str | None = None) -> Kill:
        """One of them.

        Args:
            phase: of PHASES; drawn without it, like the job.

        Raises:
            BrokenPromise: a reader saw something else than the old or the new rows, the second submit failed, or it published something
                else than an undisturbed run.
        """
        rng = random.Random(seed)
        job, phase = job or rng.choice(sorted(PARAMS)), phase or PHASES[seed % len(PHASES)]
        into = rng.uniform(0.0, LONGEST[phase])
        self._prepare(job)
        before = self._lake.read(TABLES[job])
        value = self._change(job, rng)
        with Watcher(self._lake, TABLES[job]) as watcher:
            landed = self._killed(job, value, phase, into)
            seen = self._lake.read(TABLES[job])
            self._submit(job, value)
            after = self._lake.read(TABLES[job])
        self._run(job, value)
        undisturbed = self._lake.read(TABLES[job])
        _promise(before != undisturbed, "nothing was to be seen: old and new rows are the same")
        _promise(after == undisturbed, f"the second submit published {after}, an undisturbed run {undisturbed}")
        _promise(seen == before or landed in ("publish", "ended"), f"readers saw new rows of a run that had only got to {landed}")
        _promise(watcher.states | {seen} <= {before, after}, f"readers saw {[*watcher.states, seen]}; before {before}, after {after}")
        return Kill(seed, job, landed, "old" if seen == before else "new", watcher.looks)

    def left(self) -> list[str]:
        """Clusters that still cost money, whoever started them."""
        states = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
        return [one["Id"] for one in self._platform.aws.client("emr").list_clusters(ClusterStates=states)["Clusters"]]

    def _prepare(self, job: str) -> None:
        """Have the table there, with what its source says now."""
        if f"flight_date={DAY}" not in self._lake.read(TABLES["daily_etl"]).partitions:
            self._run("daily_etl", str(DAY))
        if job == "carrier_scorecard":
            self._run(job, "1")

    def _change(self, job: str, rng: random.Random) -> str:
        """Have the job publish other rows than before; its parameter for that."""
        if job == "carrier_scorecard":
            seen = self._lake.read(TABLES[job])
            flights = sorted({row[seen.columns.index("flights")] for row in seen.rows})
            return str(rng.choice(flights[1:]))
        with postgresql.connect(self._platform.open_connection("airline_ops")) as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE flights SET distance = distance + 1 WHERE flight_date = %s", (DAY,))
        return str(DAY)

    def _run(self, job: str, value: str) -> None:
        run_job(discover(self._platform.root).get(job), {PARAMS[job]: value}, self._platform)

    def _submit(self, job: str, value: str, *options: str) -> dict[str, Any]:
        """Submit as a user does; what `--json` says."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("EMRJOBS", "AWS_"))}
        environment |= {"EMRJOBS_PROJECT": str(self._platform.root), "NO_COLOR": "1", "COLUMNS": "200"}
        argv = [EMRJOBS, "submit", job, "-p", f"{PARAMS[job]}={value}", "--json", *options]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        _promise(done.returncode == 0, f"a submit ended with {done.returncode}: {done.stderr[-2000:]}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def _killed(self, job: str, value: str, phase: str, into: float) -> str:
        """Submit, and kill the step so long after the phase began; in which phase it died."""
        told = self._submit(job, value, "--no-wait")
        (step,) = told["steps"].values()
        work = self._platform.root / ".local/data/aws/emr" / told["cluster"] / "work" / step

        def state() -> str:
            found = self._platform.aws.client("emr").describe_step(ClusterId=told["cluster"], StepId=step)
            return str(found["Step"]["Status"]["State"])

        _until(lambda: any(work.glob("containers/*/*/stdout")), state)
        if phase != "start":
            _until(lambda: _driver_said(work, ENDS[PHASES[PHASES.index(phase) - 1]]), state)
        time.sleep(into)  # the drawn moment
        with suppress(ProcessLookupError):  # it was faster
            os.killpg(json.loads((work / "processes.json").read_text())["child"]["pid"], signal.SIGKILL)
        _until(lambda: state() not in OPEN, None)
        landed = next((one for one in PHASES if not _driver_said(work, ENDS[one])), "ended")
        _promise(state() == "FAILED", f"a step that was killed is {state()}")
        return landed


def _driver_said(work: Path, pattern: str) -> bool:
    """Whether a line of the driver begins so."""
    said = "".join(path.read_text(errors="replace") for path in work.glob("containers/*/*/stdout"))
    return re.search(f"^{pattern}", said, re.MULTILINE) is not None


def _until(condition: Callable[[], bool], state: Callable[[], str] | None) -> None:
    """Wait for a condition, as long as the step may still fulfil it."""
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end or (state and state() not in OPEN and not condition()):
            raise RuntimeError("the step did not get so far")
        time.sleep(0.01)


def _promise(kept: bool, otherwise: str) -> None:
    if not kept:
        raise BrokenPromise(otherwise)


def run(seeds: Sequence[int]) -> dict[str, Any]:
    """All of these seeds on a project of their own. Returns `kills`, `broken` (a text for each broken promise) and `left`."""
    kills, broken = [], []
    with tempfile.TemporaryDirectory(prefix="emrjobs-kills-") as name:
        root = Path(name)
        for folder in ("jobs", "configs"):
            shutil.copytree(PROJECT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        loaded = load(root, "embedded", variables={})
        try:
            with open_platform(loaded, lambda event: None) as platform:
                made = Kills(platform)
                for seed in seeds:
                    began = time.monotonic()
                    try:
                        kills.append({**vars(made.kill(seed)), "seconds": round(time.monotonic() - began)})
                        print(kills[-1], file=sys.stderr, flush=True)
                    except BrokenPromise as exc:
                        broken.append(f"seed {seed}: {exc}")
                        print(broken[-1], file=sys.stderr, flush=True)
                left = made.left()
        finally:
            supervisor(loaded, lambda event: None).down()
    landed = Counter(one["landed"] for one in kills)
    return {"kills": kills, "landed": dict(landed), "broken": broken, "left": left}


def main() -> int:
    """Parse the command line, run, print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="first seed (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=15, help="how many (default: %(default)s)")
    options = parser.parse_args()
    report = run(range(options.first, options.first + options.seeds))
    print(json.dumps(report, indent=1))
    return 1 if report["broken"] or report["left"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
