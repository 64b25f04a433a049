"""CPU seconds of commands that only look: ours beside emr-cli's and the AWS CLI's."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import measure, peers
from benchmarks.peers import PEERS


def results(rounds: int) -> str:
    """A section in Markdown."""
    peers.install()
    emrjobs = str(Path(sys.executable).with_name("emrjobs"))
    endpoint = peers.endpoint(emrjobs)
    contenders = {
        "emrjobs --help": [emrjobs, "--help"],
        "emrjobs jobs": [emrjobs, "jobs"],
        "emrjobs plan daily_etl": [emrjobs, "plan", "daily_etl"],
        "emrjobs plan carrier_scorecard": [emrjobs, "plan", "carrier_scorecard"],
        "emr --help (emr-cli 0.0.19)": [str(PEERS / "bin" / "emr"), "--help"],
        "aws sts get-caller-identity (awscli 1.46.3)": [str(PEERS / "bin" / "aws"), "sts", "get-caller-identity"],
    }
    costs = measure.in_turn(rounds, {name: lambda argv=argv: measure.command(argv, env=endpoint) for name, argv in contenders.items()})
    lines = ["## Commands that only look, CPU seconds", "", "| command | CPU s | against `emr --help` |", "|---|---|---|"]
    peer = "emr --help (emr-cli 0.0.19)"
    lines += [
        f"| `{name}` | {measure.median(found, 'cpu'):.2f} | {measure.ratio(costs, name, peer, 'cpu'):.2f} |"
        for name, found in costs.items()
    ]
    return "\n".join([*lines, "", "Goal: at most 0.25 CPU s each."])
