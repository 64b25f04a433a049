"""What a table survives: steps that are killed at random moments and submitted again, counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "tests" / "emr_kills.py"
KILLS = 15
PHASES = {
    "start": "while Spark starts",
    "stage": "while it computes and stages",
    "check": "while the staged rows are checked",
    "publish": "while it publishes",
    "ended": "after the publish, before its end",
}


def results(rounds: int) -> str:
    """A section in Markdown; every kill is made once, whatever `rounds` says."""
    argv = [sys.executable, str(SCRIPT), "--seeds", str(KILLS)]
    report = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False).stdout)
    return section(report["kills"], [*report["broken"], *(f"the cluster {one} still runs" for one in report["left"])])


def section(kills: Sequence[Mapping[str, Any]], broken: Sequence[str]) -> str:
    """The section of these kills.

    Args:
        kills: as `tests/emr_kills.py` reports them, those that kept what is promised.
        broken: a text for each that did not.
    """
    rows = []
    for phase, text in PHASES.items():
        found = [one for one in kills if one["landed"] == phase]
        saw = [one["saw"] for one in found]
        rows.append(f"| {text} | {len(found)} | {saw.count('old')} | {saw.count('new')} | {sum(one['looks'] for one in found)} |")
    return "\n".join(
        [
            "## Steps that are killed",
            "",
            "`daily_etl` (an Iceberg table) and `carrier_scorecard` (Parquet in the Hive layout) as steps on the local EMR endpoint, with Spark. Their",
            "source has changed since the table was published. The process group of the running step is killed with SIGKILL, at a moment of the run",
            "that is drawn from the seed; the same is submitted again; then the job runs undisturbed. Meanwhile pyiceberg and pyarrow read the table.",
            "",
            "| the step died | kills | readers then saw the old rows | the new rows | looks at the table |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "**Broken promises** (something else than the old or the new rows was seen, the second submit failed, its table was not that of the undisturbed run,"
            f" or a cluster was left): **{len(broken)}**.",
            "",
            f"Again: `python tests/emr_kills.py --seeds {len(kills) + len(broken)}`; one of them: `--first SEED --seeds 1`.",
            *(["", "```", *broken, "```"] if broken else []),
        ]
    )
