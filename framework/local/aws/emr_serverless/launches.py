"""What an application and a job run are for the executor."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from framework.local.aws.emr.contract import ClusterSpec, Work, WorkKind
from framework.local.aws.emr_serverless.store import Application, JobRun

# Minutes until a batch job run is timed out (User Guide, "Job runs"); a streaming one has no limit.
DEFAULT_TIMEOUT = 720


def cluster(application: Application, runtime: Mapping[str, str], *, log_uri: str | None = None) -> ClusterSpec:
    """The application as a node to run on."""
    document = application.document
    return ClusterSpec(
        id=application.id,
        name=document.get("name") or application.id,
        release=document["releaseLabel"],
        applications=[document["type"]],
        configurations=[_classification(item) for item in document.get("runtimeConfiguration", ())],
        log_uri=log_uri,
        region=application.region,
        tags=document.get("tags", {}),
        runtime=runtime,
    )


def _classification(item: Mapping[str, object]) -> dict[str, object]:
    """rest-json writes the members with a small letter."""
    nested = item.get("configurations") or ()
    assert isinstance(nested, list | tuple)
    return {
        "Classification": item["classification"],
        "Properties": item.get("properties") or {},
        "Configurations": [_classification(part) for part in nested],
    }


def log_uri(application: Application, run: JobRun) -> str | None:
    """S3 prefix of the logs: the run's own, else the application's; None keeps them on this machine."""
    overrides = run.document.get("configurationOverrides", {}).get("monitoringConfiguration")
    for monitoring in (overrides, application.document.get("monitoringConfiguration")):
        uri = (monitoring or {}).get("s3MonitoringConfiguration", {}).get("logUri")
        if uri:
            return str(uri)
    return None


def work(run: JobRun) -> Work:
    """The current attempt of a job run as a piece of work."""
    document, attempt = run.document, run.work["attempt"]
    driver = document["jobDriver"]
    spark = driver.get("sparkSubmit")
    minutes = document.get("executionTimeoutMinutes", 0 if document.get("mode") == "STREAMING" else DEFAULT_TIMEOUT)
    return Work(
        id=run.id if attempt == 1 else f"{run.id}.{attempt}",
        kind=WorkKind.JOB_RUN,
        name=document.get("name") or run.id,
        jar="command-runner.jar",
        args=_spark(document, spark) if spark else _hive(document, driver["hive"]),
        # User Guide, "Storing logs": applications/<id>/jobs/<run>/SPARK_DRIVER/stdout.gz, HIVE_DRIVER for Hive.
        log_key=f"applications/{run.application}/jobs/{run.id}/{'SPARK' if spark else 'HIVE'}_DRIVER",
        timeout=minutes * 60 or None,
    )


def _spark(document: Mapping[str, object], driver: Mapping[str, object]) -> list[str]:
    conf = _overrides(document, "spark-defaults", "--conf")
    parameters = shlex.split(str(driver.get("sparkSubmitParameters") or ""))
    arguments = driver.get("entryPointArguments") or ()
    assert isinstance(arguments, list | tuple)
    # The parameters come last: they win over the classifications.
    return ["spark-submit", *conf, *parameters, str(driver["entryPoint"]), *arguments]


def _overrides(document: Mapping[str, object], classification: str, option: str) -> list[str]:
    """A classification of the run's own configuration as options."""
    overrides = document.get("configurationOverrides") or {}
    assert isinstance(overrides, dict)
    return [
        word
        for item in overrides.get("applicationConfiguration", ())
        if item["classification"] == classification
        for key, value in (item.get("properties") or {}).items()
        for word in (option, f"{key}={value}")
    ]


def _hive(document: Mapping[str, object], driver: Mapping[str, object]) -> list[str]:
    query = str(driver["query"])
    source = ["-f", query] if query.startswith(("s3://", "s3a://", "file:", "/")) else ["-e", query]
    init = ["-i", str(driver["initQueryFile"])] if driver.get("initQueryFile") else []
    conf = _overrides(document, "hive-site", "--hiveconf")
    return ["hive", *conf, *shlex.split(str(driver.get("parameters") or "")), *init, *source]
