"""Measure and write benchmarks/RESULTS.md: `make bench`, or `python -m benchmarks cli session run`."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path

from benchmarks import (
    checks,
    cli,
    crashes,
    emr_endpoint,
    faults,
    federated,
    fetch,
    jdbc,
    kills,
    measure,
    memory,
    partitions,
    run,
    session,
    submit,
    watch,
)

RESULTS = Path(__file__).with_name("RESULTS.md")
PARTS = {
    "cli": cli.results,
    "emr_endpoint": emr_endpoint.results,
    "session": session.results,
    "run": run.results,
    "submit": submit.results,
    "watch": watch.results,
    "faults": faults.results,
    "kills": kills.results,
    "jdbc": jdbc.results,
    "partitions": partitions.results,
    "fetch": fetch.results,
    "federated": federated.results,
    "checks": checks.results,
    "memory": memory.results,
    "crashes": crashes.results,
}


def main() -> None:
    """Measure the parts that are named (all without a name) and put their sections into RESULTS.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; everything without it")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison")
    chosen = parser.parse_args()
    sections = _sections()
    for name in chosen.parts or PARTS:
        print(f"measuring: {name}")
        body = PARTS[name](chosen.rounds)
        when = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")
        sections[name] = f"{body}\n\nMeasured {when} on {measure.machine()}: `python -m benchmarks {name} --rounds {chosen.rounds}`.\n"
        print(sections[name])
    RESULTS.write_text(_HEAD + "".join(f"\n<!-- {name} -->\n{text}" for name, text in sections.items()), encoding="utf-8")


_HEAD = """# Results

Each figure is a ratio against a peer that was measured in the same run, round by round in turn (A B A B ...); the seconds are
medians and hold for the machine that is named. `make bench` measures everything again.
"""


def _sections() -> dict[str, str]:
    if not RESULTS.exists():
        return {}
    parts = RESULTS.read_text(encoding="utf-8").split("\n<!-- ")[1:]
    return {part.split(" -->\n", 1)[0]: part.split(" -->\n", 1)[1] for part in parts}


if __name__ == "__main__":
    main()
