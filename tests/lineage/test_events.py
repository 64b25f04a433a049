"""OpenLineage events, told to a real receiver and to a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import PYTHON_JOB, Project
from openlineage_receiver import Receiver, receiver, validated

from framework.config.loader import Loaded, load
from framework.config.references import Resolver
from framework.errors import ConfigError, SecretUnresolved, UserError
from framework.jobs import Job
from framework.ledger import FAILED, INTERRUPTED, RUNNING, SUCCEEDED, InputRecord, OutputRecord, RunRecord
from framework.lineage import emit
from framework.lineage.emit import Emitter
from framework.lineage.graph import Dataset
from framework.lineage.naming import Names

BEGUN = RunRecord(
    "20240101T101500123-scores-3f2a9c",
    "scores",
    "embedded",
    "embedded",
    "trino",
    {"least": "1"},
    RUNNING,
    "2024-01-01T10:15:00.123+00:00",
    versions={"release": "emr-7.12.0"},
)
ENDED = replace(
    BEGUN,
    status=SUCCEEDED,
    ended="2024-01-01T10:16:00.000+00:00",
    inputs=(InputRecord("marts.daily", "iceberg", "marts.daily", 7, files=2, size_bytes=900),),
    output=OutputRecord("marts.scores", 3, version="4711"),
)


@pytest.fixture
def job(project: Project) -> Job:
    header = "engine: trino\noutput: marts.scores\ndescription: Scores\nparams: {least: int}"
    project.sql(
        "scores",
        "SELECT d.carrier, sum(f.n) AS n FROM marts.daily AS d JOIN ops.public.flights AS f ON f.n >= {least} GROUP BY 1",
        header=header,
    )
    return project.jobs().get("scores")


@pytest.fixture
def taker() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def settings(project: Project, *overrides: str) -> Loaded:
    return load(project.root, "embedded", overrides=["lineage.account='123456789012'", *overrides], variables={})


def opened(loaded: Loaded) -> Emitter:
    return emit.open_emitter(loaded, Resolver(root=loaded.root, origin=loaded.origin), lambda: pytest.fail("the account is configured"))


def told(job: Job, emitter: Emitter, *records: RunRecord) -> list[str]:
    """Tell of a run with these records; returns the warnings."""
    warnings: list[str] = []
    begun, ended = records
    emitter.begin(job, begun, warnings.append)(ended)
    return warnings


def test_a_receiver_and_a_file_get_the_start_and_the_end_of_a_run(
    job: Job, project: Project, taker: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAGE_KEY", "opensesame")
    loaded = settings(project, f"lineage.url={taker.url}", "lineage.api_key=${env:LINEAGE_KEY}", "lineage.file=out/events.jsonl")
    assert told(job, opened(loaded), BEGUN, ENDED) == []
    assert taker.keys == ["Bearer opensesame"] * 2
    start, complete = taker.events
    assert [event.eventType.name for event in taker.events if event.eventType] == ["START", "COMPLETE"]
    assert start.run.runId == complete.run.runId
    assert (complete.job.namespace, complete.job.name) == ("emrjobs", "scores")
    names = [(one.namespace, one.name) for one in complete.inputs or []]
    assert names == [
        ("arn:aws:glue:us-east-1:123456789012", "table/marts/daily"),
        ("postgres://db.example.internal:5432", "ops.public.flights"),
    ]
    assert [(one.namespace, one.name) for one in start.inputs or []] == names
    written = (project.root / "out" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [validated(json.loads(line)) for line in written] == taker.events


def test_the_end_says_how_many_rows_which_version_and_which_columns(job: Job, project: Project, taker: Receiver) -> None:
    told(job, opened(settings(project, f"lineage.url={taker.url}")), BEGUN, ENDED)
    end: Any = taker.events[-1]
    (output,) = end.outputs
    assert (output.name, output.facets["version"].datasetVersion) == ("table/marts/scores", "4711")
    assert output.outputFacets["outputStatistics"].rowCount == 3
    assert end.inputs[0].inputFacets["inputStatistics"].rowCount == 7
    fields = {
        name: [(one["name"], one["field"], one["transformations"][0]["subtype"]) for one in field["inputFields"]]
        for name, field in output.facets["columnLineage"].fields.items()
    }
    assert fields == {
        "carrier": [("table/marts/daily", "carrier", "IDENTITY")],
        "n": [("ops.public.flights", "n", "AGGREGATION")],
    }
    assert end.run.facets["executionParameters"].parameters == [{"key": "least", "value": "1"}]
    assert end.job.facets["sql"].dialect == "trino"
    assert "{least}" in end.job.facets["sql"].query


@pytest.mark.parametrize(("status", "state"), [(FAILED, "FAIL"), (INTERRUPTED, "ABORT")])
def test_a_run_that_did_not_succeed_says_why(status: str, state: str, job: Job, project: Project, taker: Receiver) -> None:
    error = {"type": "JobFailed", "message": "Division by zero", "exit_code": 1}
    told(job, opened(settings(project, f"lineage.url={taker.url}")), BEGUN, replace(BEGUN, status=status, error=error))
    end: Any = taker.events[-1]
    assert (end.eventType.name, end.run.facets["errorMessage"].message) == (state, "Division by zero")


def test_a_receiver_that_is_down_or_refuses_costs_no_run_and_keeps_no_other_from_being_told(
    job: Job, project: Project, taker: Receiver
) -> None:
    taker.answer = 400
    emitter = opened(settings(project, f"lineage.url={taker.url}", "lineage.file=events.jsonl"))
    warnings = told(job, emitter, BEGUN, ENDED)
    assert warnings == [
        f"lineage.url could not be told that the run is {status}: HTTPError: 400 Client Error: Bad Request"
        for status in ("running", "succeeded")
    ]
    assert len((project.root / "events.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    down = opened(settings(project, "lineage.url=http://127.0.0.1:9"))
    assert ["ConnectionError" in warning for warning in told(job, down, BEGUN, ENDED)] == [True, True]


def test_nothing_configured_is_nobody_told_and_nothing_imported(job: Job, project: Project) -> None:
    emitter = emit.open_emitter(settings(project), Resolver(), lambda: "")
    assert told(job, emitter, BEGUN, ENDED) == []


@pytest.mark.parametrize(
    ("override", "kind", "text"),
    [
        ("lineage.url=marquez", ConfigError, "lineage.url: marquez is not a URL"),
        ("lineage.url=${env:NO_SUCH_VARIABLE}", SecretUnresolved, "the environment variable NO_SUCH_VARIABLE is not set"),
    ],
)
def test_a_wrong_receiver_is_said_before_anything_runs(override: str, kind: type[Exception], text: str, project: Project) -> None:
    with pytest.raises(kind, match=text):
        opened(settings(project, override))


def test_a_key_in_plain_text_is_refused(project: Project) -> None:
    with pytest.raises(ConfigError, match=r"lineage\.api_key: .*must be a reference"):
        settings(project, "lineage.api_key=opensesame")


def test_an_event_of_a_declared_job_needs_the_account_and_names_local_services_after_their_connection(project: Project) -> None:
    project.write("jobs/daily.py", PYTHON_JOB)
    loaded = load(project.root, "embedded", overrides=["connections.ops.host=${local:postgres.host}"], variables={})
    jobs = [project.jobs().get("daily")]
    from framework.lineage import columns

    by_job = {"daily": columns.of_job(jobs[0], {})}
    (event,) = (json.loads(text) for text in emit.declared(jobs, loaded, by_job, "123456789012"))
    assert [(one["namespace"], one["name"]) for one in event["inputs"]] == [
        ("postgres://ops:5432", "ops.public.flights"),
        ("s3://raw", "weather"),
        ("arn:aws:glue:us-east-1:123456789012", "table/reference/airlines"),
    ]
    with pytest.raises(UserError, match="give --account"):
        emit.declared(jobs, loaded, by_job, None)


def test_tables_of_a_hive_metastore_are_named_after_it(project: Project) -> None:
    project.write("jobs/daily.py", PYTHON_JOB)
    from framework.lineage import columns

    for uri, namespace in (("thrift://meta:9083,thrift://other:9083", "hive://meta:9083"), ("${local:hive.uri}", "hive://hive:9083")):
        loaded = load(project.root, "embedded", overrides=["catalog.kind=hive", f"catalog.uri={uri}"], variables={})
        job = project.jobs().get("daily")
        (text,) = emit.declared([job], loaded, {"daily": columns.of_job(job, {})}, None)
        assert json.loads(text)["outputs"][0] == {"facets": {}, "name": "marts.daily", "namespace": namespace, "outputFacets": {}}


@pytest.mark.parametrize(
    ("uri", "setting", "name"),
    [
        ("hdfs://name:8020/a/b", "", ("hdfs://name:8020", "/a/b")),
        ("hdfs:///a", "hdfs.uri=hdfs://name:8020", ("hdfs://name:8020", "/a")),
        ("hdfs:///a", "hdfs.uri=${local:hdfs.uri}", ("hdfs://hdfs", "/a")),
        ("file:///data/x", "", ("file", "/data/x")),
        ("s3://bucket", "", ("s3://bucket", "/")),
    ],
)
def test_files_are_named_after_where_they_lie(uri: str, setting: str, name: tuple[str, str], project: Project) -> None:
    loaded = load(project.root, "embedded", overrides=[setting] if setting else [], variables={})
    assert Names(loaded.settings, lambda text, key: text, lambda: "").of(Dataset(uri, "path")) == name


def test_the_file_may_lie_anywhere(job: Job, project: Project, tmp_path: Path) -> None:
    told(job, opened(settings(project, f"lineage.file={tmp_path}/deep/events.jsonl")), BEGUN, ENDED)
    assert len((tmp_path / "deep" / "events.jsonl").read_text(encoding="utf-8").splitlines()) == 2
