"""Random schedules of faults and kills against the real control plane; `python -m benchmarks faults` runs a thousand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "emr_schedules.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_random_schedules_of_faults_and_kills_end_with_one_cluster_and_one_step_per_run_on_the_local_emr() -> None:
    argv = [sys.executable, str(SCRIPT), "--seeds", "60", "--at-once", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout)["counts"]
    assert (counts["schedules"], counts["at once"]) == (60, 1)
    assert min(counts[kind] for kind in ("throttled", "cut off", "timed out", "broken", "processes killed")) > 10
