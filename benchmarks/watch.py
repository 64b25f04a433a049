"""How long after its end a step is noticed: by `emrjobs attach`, `aws emr wait step-complete` and `emr run --wait`, at the same time.

All talk to the local EMR endpoint, to one cluster whose steps run beside each other. The first two follow the same steps; emr-cli follows
only steps of its own. A step ends when a file appears, at a moment that is drawn, after everybody has begun to look. What is taken is the
time from the step's EndDateTime (DescribeStep) to the end of the command.
"""

from __future__ import annotations

import datetime as dt
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.peers import BUCKET, PEERS, ROOT
from framework.config.loader import load
from framework.emr import submits
from framework.emr.records import SubmitRecord
from framework.emr.step import JobRun, step_name
from framework.ledger import new_run_id
from framework.local.target import open_platform

_SHORTEST, _LONGEST = 5.0, 65.0  # seconds until a step ends: over two of the 30 s between two looks of AWS's waiter
_THEIRS = 3  # steps of emr-cli: each is a JVM
OURS, AWS, CLI = "emrjobs attach", "aws emr wait step-complete (awscli 1.46.3)", "emr run --wait (emr-cli 0.0.19)"
_PATIENCE = 300.0


@dataclass(frozen=True)
class Follower:
    """A command that follows a step.

    Attributes:
        step: its name.
        go: the file whose appearance ends the step.
    """

    who: str
    step: str
    go: Path
    argv: list[str]


def results(rounds: int) -> str:
    """A section in Markdown; `rounds` is how many steps are followed."""
    peers.install()
    emrjobs = str(Path(sys.executable).with_name("emrjobs"))
    endpoint = peers.endpoint(emrjobs)
    emr = peers.client("emr", endpoint)
    cluster = _cluster(emr)
    with tempfile.TemporaryDirectory(prefix="emrjobs-bench-") as name:
        try:
            followers = [*_following(emrjobs, emr, cluster, Path(name), rounds), *_of_emr_cli(cluster, Path(name))]
            ends = _exits(followers, endpoint, emr, cluster)
            ended = {step["Name"]: step["Status"]["Timeline"]["EndDateTime"].timestamp() for step in _steps(emr, cluster)}
        finally:
            emr.terminate_job_flows(JobFlowIds=[cluster])
    late: dict[str, list[float]] = {OURS: [], AWS: [], CLI: []}
    for one, end in zip(followers, ends, strict=True):
        late[one.who].append(end - ended[one.step])
    lines = [
        "## How long after its end a finished step is noticed",
        "",
        "| command | steps | median, s | longest, s |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{who}` | {len(found)} | {statistics.median(found):.1f} | {max(found):.1f} |" for who, found in late.items()]
    text = "Goal: at most 5 s. From the step's EndDateTime to the end of the command that follows it; steps end 5 to 65 s after all began to look."
    return "\n".join([*lines, "", text])


def _following(emrjobs: str, emr: Any, cluster: str, folder: Path, steps: int) -> list[Follower]:
    """Steps that are each followed by us and by AWS's waiter."""
    loaded = load(ROOT, "embedded", variables={})
    found = []
    with open_platform(loaded, lambda event: None) as platform:
        for number in range(steps):
            run = JobRun("sleep", new_run_id("sleep", dt.datetime.now(dt.UTC)), {"number": str(number)})
            name, go = step_name(run), folder / f"ours-{number}"
            what = {"Jar": "command-runner.jar", "Args": ["bash", "-c", f"until [ -e {go} ]; do sleep 0.1; done"]}
            (step,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[{"Name": name, "HadoopJarStep": what}])["StepIds"]
            # As a submit leaves it: what attach follows is a record.
            record = SubmitRecord(run.run_id, (run,), "local_emr", "bench", time.time(), cluster, {run.run_id: step}, owned=False)
            submits(platform).write(record)
            found.append(Follower(OURS, name, go, [emrjobs, "attach", run.run_id, "--env", "local_emr"]))
            waiter = [str(PEERS / "bin" / "aws"), "emr", "wait", "step-complete", "--cluster-id", cluster, "--step-id", step]
            found.append(Follower(AWS, name, go, waiter))
    return found


def _of_emr_cli(cluster: str, folder: Path) -> list[Follower]:
    found = []
    for number in range(_THEIRS):
        own, go = folder / str(number), folder / f"theirs-{number}"
        own.mkdir()
        (own / "main.py").write_text(f"import os, time\n\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.1)\n")
        name = f"emr-cli {number}"
        argv = ["env", "-C", str(own), str(PEERS / "bin" / "emr"), "run", "--cluster-id", cluster, "--entry-point", "main.py", "--build"]
        argv += ["--s3-code-uri", f"s3://{BUCKET}/emr-cli-{number}/", "--job-name", name, "--wait"]
        found.append(Follower(CLI, name, go, argv))
    return found


def _exits(followers: Sequence[Follower], environment: dict[str, str], emr: Any, cluster: str) -> list[float]:
    """Run all at the same time, end the steps, and tell when each command ended.

    Raises:
        RuntimeError: one failed.
    """
    ends = [0.0] * len(followers)
    said: list[list[str]] = [[] for _ in followers]
    codes = [0] * len(followers)

    def run(number: int) -> None:
        argv = followers[number].argv
        with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said[number].append(line)
            codes[number] = process.wait()
            ends[number] = time.time()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(followers))]
    for one in threads:
        one.start()
    _wait(lambda: len([one for one in _steps(emr, cluster) if one["Status"]["State"] == "RUNNING"]) == len({one.step for one in followers}))
    _wait(lambda: all("is RUNNING" in "".join(said[number]) for number, one in enumerate(followers) if one.who == OURS))
    begun, draw = time.monotonic(), random.Random(7)
    goes = sorted((draw.uniform(_SHORTEST, _LONGEST), go) for go in sorted({one.go for one in followers}))
    for seconds, go in goes:
        time.sleep(max(0.0, begun + seconds - time.monotonic()))
        go.touch()
    for one in threads:
        one.join()
    if any(codes):
        raise RuntimeError("\n".join(" ".join(followers[number].argv) + "".join(said[number]) for number, code in enumerate(codes) if code))
    return ends


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("the steps did not start")
        time.sleep(0.5)


def _steps(emr: Any, cluster: str) -> list[dict[str, Any]]:
    return [one for page in emr.get_paginator("list_steps").paginate(ClusterId=cluster) for one in page["Steps"]]


def _cluster(emr: Any) -> str:
    made = emr.run_job_flow(
        Name="bench",
        ReleaseLabel="emr-7.12.0",
        Applications=[{"Name": "Spark"}],
        ServiceRole="EMR_DefaultRole",
        JobFlowRole="EMR_EC2_DefaultRole",
        StepConcurrencyLevel=30,
        Instances={
            "KeepJobFlowAliveWhenNoSteps": True,
            "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}],
        },
        AutoTerminationPolicy={"IdleTimeout": 600},
    )
    return str(made["JobFlowId"])
