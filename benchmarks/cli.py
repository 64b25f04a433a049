"""CPU seconds of commands that only look: ours beside emr-cli's and the AWS CLI's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import measure

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".local" / "bench" / "peers"


def results(rounds: int) -> str:
    """A section in Markdown."""
    _install_peers()
    emrjobs = str(Path(sys.executable).with_name("emrjobs"))
    endpoint = _endpoint(emrjobs)
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


def _install_peers() -> None:
    if (PEERS / "bin" / "aws").exists():
        return
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(PEERS)], check=True)
    packages = ["emr-cli==0.0.19", "awscli==1.46.3", "setuptools<80"]
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(PEERS / "bin" / "python"), *packages], check=True
    )


def _endpoint(emrjobs: str) -> dict[str, str]:
    """The environment with the local AWS endpoint, so that the peers have somebody to talk to."""
    import os
    import shlex

    subprocess.run([emrjobs, "local", "up"], check=True, capture_output=True)
    printed = subprocess.run([emrjobs, "local", "env"], check=True, capture_output=True, text=True).stdout
    exports = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines() if line.startswith("export "))
    return {**os.environ, **{name: shlex.split(value)[0] for name, value in exports.items()}}
