"""A submit of unchanged code to a cluster that runs, beside emr-cli's: CPU seconds to the accepted step, and bytes uploaded.

Both talk to the local EMR endpoint. A first step that sleeps holds the cluster, so that nothing is executed meanwhile.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import measure, peers
from benchmarks.peers import BUCKET, PEERS

_MAIN = "from pyspark.sql import SparkSession\nimport helper\n\nSparkSession.builder.getOrCreate()\n"


def results(rounds: int) -> str:
    """A section in Markdown."""
    peers.install()
    emrjobs = str(Path(sys.executable).with_name("emrjobs"))
    endpoint = peers.endpoint(emrjobs)
    emr, s3 = peers.client("emr", endpoint), peers.client("s3", endpoint)
    cluster = _held_cluster(emr)
    numbers = itertools.count(1)

    def ours() -> list[str]:
        # Other parameters are another run; the code is the same.
        return [emrjobs, "submit", "carrier_scorecard", "-p", f"min_flights={next(numbers)}", "--on", cluster, "--no-wait"]

    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "main.py").write_text(_MAIN)
            Path(folder, "helper.py").write_text("X = 1\n")
            theirs = [str(PEERS / "bin" / "emr"), "run", "--cluster-id", cluster, "--entry-point", "main.py", "--build"]
            theirs += ["--s3-code-uri", f"s3://{BUCKET}/emr-cli/", "--job-name", "bench"]
            measure.command(ours(), env=endpoint)  # ships code and dependencies, once
            uploaded: dict[str, list[int]] = {"emrjobs submit": [], "emr run --build (emr-cli 0.0.19)": []}

            def counted(name: str, act: Any, prefix: str) -> Any:
                before = _objects(s3, prefix)
                found = act()
                uploaded[name].append(sum(size for key, (size, at) in _objects(s3, prefix).items() if before.get(key) != (size, at)))
                return found

            mine, peer = uploaded
            costs = measure.in_turn(
                rounds,
                {
                    mine: lambda: counted(mine, lambda: measure.command(ours(), env=endpoint), "artifacts/"),
                    peer: lambda: counted(peer, lambda: measure.command(["env", "-C", folder, *theirs], env=endpoint), "emr-cli/"),
                },
            )
    finally:
        emr.terminate_job_flows(JobFlowIds=[cluster])
    lines = [
        "## Submit of unchanged code to a running cluster",
        "",
        "| command | CPU s | against emr-cli | bytes uploaded |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {measure.median(found, 'cpu'):.2f} | {measure.ratio(costs, name, peer, 'cpu'):.2f} | {max(uploaded[name])} |"
        for name, found in costs.items()
    ]
    return "\n".join(
        [*lines, "", "Goal: at most 2.0 CPU s and 0 bytes. emr-cli packs two files without dependencies here; with them it needs Docker."]
    )


def _held_cluster(emr: Any) -> str:
    return str(
        emr.run_job_flow(
            Name="bench",
            ReleaseLabel="emr-7.12.0",
            Applications=[{"Name": "Spark"}],
            ServiceRole="EMR_DefaultRole",
            JobFlowRole="EMR_EC2_DefaultRole",
            Instances={
                "KeepJobFlowAliveWhenNoSteps": True,
                "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}],
            },
            AutoTerminationPolicy={"IdleTimeout": 600},
            Steps=[{"Name": "hold", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", "-c", "sleep 1800"]}}],
        )["JobFlowId"]
    )


def _objects(s3: Any, prefix: str) -> dict[str, tuple[int, Any]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {item["Key"]: (item["Size"], item["LastModified"]) for page in pages for item in page.get("Contents", [])}
