"""What a run tells an OpenLineage receiver, from its own record."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import sample_figures as figures
from openlineage_receiver import receiver

from framework.config.loader import load
from framework.discovery import discover
from framework.errors import DatasetNotFound
from framework.local.target import open_platform
from framework.platform import Platform
from framework.runner import run_job

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_run_that_publishes_and_one_that_fails_are_told_with_what_they_read_and_wrote(root: Path, platform: Platform) -> None:
    job = discover(root).get("ingest_weather")
    with receiver() as taker:
        loaded = load(root, "embedded", overrides=[f"lineage.url={taker.url}"], variables={})
        with open_platform(loaded, lambda event: None) as opened:
            record = run_job(job, {"date": figures.DAYS[2]}, opened)
            with pytest.raises(DatasetNotFound):
                run_job(job, {"date": dt.date(2013, 12, 31)}, opened)
    assert [event.eventType.name for event in taker.events if event.eventType] == ["START", "COMPLETE", "START", "FAIL"]
    complete: Any = taker.events[1]
    fail: Any = taker.events[3]
    (read,), (written,) = complete.inputs, complete.outputs
    assert (read.namespace, read.name, read.inputFacets["inputStatistics"].rowCount) == ("s3://emrjobs-raw", "weather", 72)
    account = platform.aws.client("sts").get_caller_identity()["Account"]
    assert (written.namespace, written.name) == (f"arn:aws:glue:us-east-1:{account}", "table/lake/weather")
    assert record.output is not None
    assert written.facets["version"].datasetVersion == record.output.version
    assert written.outputFacets["outputStatistics"].rowCount == record.output.rows
    assert {tag["key"]: tag["value"] for tag in complete.run.facets["tags"].tags}["run_id"] == record.run_id
    assert "there are no files at" in fail.run.facets["errorMessage"].message
