"""A job as a step: spark-submit in cluster mode, with the code and the Python environment that the submit has shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework.config.loader import Loaded
from framework.config.references import Resolver, is_late
from framework.emr.package import Stored
from framework.errors import ConfigError

PYTHON = "./environment/bin/python"


@dataclass(frozen=True)
class JobRun:
    """One job of a submit.

    Attributes:
        run_id: of the run that the step will be.
        params: as given, texts.
        after: run ids that must have succeeded before, of jobs in the same submit.
    """

    job: str
    run_id: str
    params: Mapping[str, str]
    after: tuple[str, ...] = ()


def step_name(run: JobRun) -> str:
    """`daily_etl <run id>`: a step is found again by its name, which the API gives in lists."""
    return f"{run.job} {run.run_id}"


def run_id_of(name: str) -> str | None:
    """The run id in a step's name; None for a step that is not ours."""
    match = re.fullmatch(r"\S+ (\d{8}T\d{9}-\S+-[0-9a-f]{6})", name)
    return match[1] if match else None


def step(run: JobRun, submit_id: str, env: str, overrides: Sequence[str], stored: Sequence[Stored], *, on_failure: str) -> dict[str, Any]:
    """The StepConfig of a run.

    Args:
        overrides: `key=value` that the cluster needs beside configs/, without secrets.
        on_failure: EMR's ActionOnFailure.
    """
    uris = {one.kind: one.uri for one in stored}
    # YARN unpacks the archives beside driver and executors under the names after '#'; Spark starts both Pythons by this path.
    conf = {
        "spark.pyspark.python": PYTHON,
        "spark.pyspark.driver.python": PYTHON,
        "spark.yarn.appMasterEnv.PYSPARK_PYTHON": PYTHON,
        "spark.executorEnv.PYSPARK_PYTHON": PYTHON,
        # The step ends with the driver's exit code, and its record says why; a second attempt would run the job twice.
        "spark.yarn.maxAppAttempts": "1",
    }
    arguments = ["spark-submit", "--deploy-mode", "cluster", "--name", step_name(run)]
    arguments += ["--archives", f"{uris['env']}#environment,{uris['code']}#project"]
    arguments += [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]
    arguments += [uris["entry"], run.job, "--run", run.run_id, "--submit", submit_id, "--env", env]
    arguments += [part for name, value in sorted(run.params.items()) for part in ("--param", f"{name}={value}")]
    arguments += [part for text in overrides for part in ("--set", text)]
    arguments += [part for one in run.after for part in ("--after", one)]
    return {
        "Name": step_name(run),
        "ActionOnFailure": on_failure,
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": arguments},
    }


def cluster_overrides(loaded: Loaded, given: Sequence[str], resolver: Resolver, connections: Collection[str]) -> list[str]:
    """What differs between this machine and a cluster, as `--set` texts: the user's own, and local services resolved.

    The AWS endpoint of a local cluster is in its processes' environment, credentials too.

    Args:
        connections: those that the jobs name; no service is started for others.

    Raises:
        ConfigError: a setting would put a secret into a step's arguments.
    """
    found = list(given)
    from_environment = {
        "aws.endpoint_url": "${env:AWS_ENDPOINT_URL}",
        "aws.s3_endpoint_url": "${env:AWS_ENDPOINT_URL}",
        "aws.access_key_id": "${env:AWS_ACCESS_KEY_ID}",
        "aws.secret_access_key": "${env:AWS_SECRET_ACCESS_KEY}",
    }
    for key, value, origin in loaded.leaves():
        if not (is_late(value) and str(value).startswith("${local:")):
            continue
        section, _, rest = key.partition(".")
        if section == "connections" and rest.partition(".")[0] not in connections:
            continue
        if key in from_environment:
            found.append(f"{key}={from_environment[key]}")
        elif re.search(r"password|secret|token", f"{key} {value}"):
            raise ConfigError(
                f"{key}: {value} is a secret of this machine, which no cluster may get as an argument",
                where=origin,
                fix="use ${secretsmanager:NAME#KEY}",
            )
        else:
            found.append(f"{key}={json.dumps(resolver.text(value, key=key))}")
    return found
