"""What a submit survives: random schedules of faults and kills, counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "tests" / "emr_schedules.py"
SCHEDULES, AT_ONCE = 1_000, 10


def results(rounds: int) -> str:
    """A section in Markdown; every schedule is run once, whatever `rounds` says."""
    argv = [sys.executable, str(SCRIPT), "--seeds", str(SCHEDULES), "--at-once", str(AT_ONCE)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    report = json.loads(done.stdout)
    counts, broken = report["counts"], report["broken"]
    rows = [
        ("schedules, by seeds 0 to 999", counts["schedules"]),
        ("processes that submitted", counts["lives"]),
        ("of them killed with SIGKILL at a call", counts["processes killed"]),
        *((f"calls {kind}", counts[kind]) for kind in ("throttled", "cut off", "timed out")),
        ("calls that answered 500", counts["broken"]),
        ("rounds of four processes that submit the same at once, without faults", counts["at once"]),
        ("**not exactly one cluster and one step per run, or a cluster left running**", f"**{len(broken)}**"),
    ]
    return "\n".join(
        [
            "## Submits that are disturbed",
            "",
            "Against the local EMR control plane over HTTP. Each call of a submit fails with a chance of 10, 30 or 50 %, before its effect or",
            "after it; new clusters and steps show up in the lists up to 10 s late. A submit that has ended, killed or not, is made again",
            "until it is through; then the clusters and steps that the endpoint has are counted, and the cluster is terminated.",
            "",
            "| what | count |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
            f"Again: `python tests/emr_schedules.py --seeds {SCHEDULES} --at-once {AT_ONCE}`; one schedule: `--first SEED --seeds 1`.",
            *(["", "```", *broken, "```"] if broken else []),
        ]
    )
