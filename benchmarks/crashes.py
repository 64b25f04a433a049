"""The whole crash matrix, counted: what happens to a run, what readers see, and whether the rerun is as if nothing had been."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

from framework.config.loader import load
from framework.errors import EmrjobsError
from framework.local.target import open_platform

ROOT = FilePath(__file__).parents[1]
FAULTS = {
    "kill-driver": "the driver is killed (kill -9)",
    "interrupt-driver": "the run is interrupted (Ctrl-C)",
    "kill-s3": "the S3 server is killed",
    "kill-aws": "the AWS endpoint (Glue) is killed",
    "kill-postgres": "PostgreSQL is killed",
    "kill-spark": "Spark's JVM is killed",
    "full-s3": "the S3 server's disk is full for 15 s",
    "full-postgres": "PostgreSQL's disk is full",
    "full-spark": "Spark's disk is full",
    "slowdown-s3": "S3 answers every request with 503 SlowDown for 4 s",
    "cut-s3": "three connections to S3 drop in the middle of an answer",
    "cut-postgres": "connections to PostgreSQL drop in the middle of an answer",
}


def results(rounds: int) -> str:
    """A section in Markdown. Once through, whatever `rounds` says: nothing is timed."""
    sys.path.insert(0, str(ROOT / "tests"))
    from conformance.crash_matrix import Matrix, Outcome, cells

    loaded = load(ROOT, "embedded", variables={})
    outcomes: list[Outcome] = []
    failed: list[str] = []
    begun = time.monotonic()
    with open_platform(loaded, lambda event: None) as platform:
        matrix = Matrix(platform, loaded)
        for cell in cells():
            try:
                outcomes.append(matrix.run(cell))
            except (AssertionError, EmrjobsError) as exc:
                failed.append(f"{cell}: {(str(exc).splitlines() or [''])[0]}")
                print("failed:", exc, flush=True)
                matrix.forget(cell.kind)
            else:
                print(outcomes[-1], flush=True)
        removed = matrix.clean_up()
    return "\n".join(
        [
            *section(outcomes, failed),
            "",
            f"Afterwards `vacuum` removed what was left ({', '.join(f'{kind}: {count}' for kind, count in removed.items())} files or staged tables), "
            "found nothing the second time, and no reader saw a difference.",
            "",
            f"Took {(time.monotonic() - begun) / 60:.0f} minutes.",
        ]
    )


def section(outcomes: Sequence[Any], failed: Sequence[str]) -> list[str]:
    """Lines in Markdown.

    Args:
        outcomes: of the cells that hold.
        failed: what does not hold, each beginning with its cell.
    """
    rows = []
    for fault, text in FAULTS.items():
        found = [one for one in outcomes if one.cell.fault == fault]
        bad = sum(f", {fault}, " in one for one in failed)
        ended, old = sum(one.code != 0 for one in found), sum(one.saw == "old" for one in found)
        rows.append(f"| {text} | {len(found) + bad} | {ended} | {len(found) - ended} | {old} | {len(found) - old} | {len(found)} |")
    total, held = len(outcomes) + len(failed), len(outcomes)
    rows.append(f"| all | {total} | {sum(one.code != 0 for one in outcomes)} | {sum(one.code == 0 for one in outcomes)} | | | {held} |")
    return [
        "## The crash matrix",
        "",
        "A run over an Iceberg table, a Parquet table in the Hive layout, or a table of PostgreSQL, to which something happens at a given",
        "moment: at the beginning and end of a phase, or 0.3 s into it. A cell holds when readers (none of them this framework's) see the old",
        "rows or the new ones, the run ends by itself with one clear error or none, and a rerun gives what an undisturbed run gives. A full",
        "disk is a limit on the size of the server's files (RLIMIT_FSIZE): its writes fail with EFBIG. A storm and a cut are made by a TCP proxy.",
        "",
        "| what happens | cells | run ended by it | run went through | readers saw the old rows | the new rows | cells that hold |",
        "|---|---|---|---|---|---|---|",
        *rows,
        *([""] + [f"- does not hold: {one}" for one in failed] if failed else []),
    ]
