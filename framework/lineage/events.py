"""OpenLineage events: of a job as it is declared, and of a run when it begins and when it ends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from importlib import metadata

from openlineage.client import facet_v2 as facets
from openlineage.client.event_v2 import InputDataset, JobEvent, OutputDataset, Run, RunEvent, RunState, set_producer
from openlineage.client.event_v2 import Job as EventJob
from openlineage.client.uuid import generate_static_uuid

from framework.config.model import Settings
from framework.jobs import EngineKind, Job, Sql
from framework.ledger import FAILED, INTERRUPTED, RUNNING, SUCCEEDED, InputRecord, RunRecord
from framework.lineage import graph
from framework.lineage.columns import Columns
from framework.lineage.graph import Dataset
from framework.lineage.naming import Names


def _producer() -> str:
    try:
        return f"urn:emrjobs:{metadata.version('emrjobs')}"
    except metadata.PackageNotFoundError:  # a cluster gets the code of a checkout, without the package's metadata
        return "urn:emrjobs:checkout"


PRODUCER = _producer()
set_producer(PRODUCER)  # of every facet

_STATES = {RUNNING: RunState.START, SUCCEEDED: RunState.COMPLETE, FAILED: RunState.FAIL, INTERRUPTED: RunState.ABORT}


def of_job(job: Job, settings: Settings, names: Names, columns: Columns, *, at: dt.datetime) -> JobEvent:
    """What a job is declared to read and write, outside of any run."""
    node = graph.node(job, settings)
    return JobEvent(
        eventTime=at.isoformat(),
        producer=PRODUCER,
        job=_job(job, settings),
        inputs=[InputDataset(*names.of(one)) for one in node.inputs],
        outputs=[_output(node.output, node.inputs, names, columns)],
    )


def of_run(job: Job, record: RunRecord, settings: Settings, names: Names, columns: Columns) -> RunEvent:
    """A run as its record has it: START while it is running, COMPLETE, FAIL or ABORT (interrupted) at its end."""
    inputs = graph.inputs_of(job, settings)
    read: dict[Dataset, list[InputRecord]] = {one: [] for one in inputs.values()}
    for found in record.inputs:
        read[inputs[found.name]].append(found)
    output = _output(graph.dataset_of(job.output, job, settings), read, names, columns)
    if record.output:
        output.outputFacets = {
            "outputStatistics": facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(record.output.rows)
        }
        if record.output.version:
            output.facets = {
                **(output.facets or {}),
                "version": facets.dataset_version_dataset.DatasetVersionDatasetFacet(record.output.version),
            }
    return RunEvent(
        eventTime=record.ended or record.started,
        producer=PRODUCER,
        eventType=_STATES[record.status],
        run=Run(run_id(record), _run_facets(record)),
        job=_job(job, settings),
        inputs=[_input(one, records, names) for one, records in read.items()],
        outputs=[output],
    )


def run_id(record: RunRecord) -> str:
    """A run's UUID: always the same for one run id, wherever it is computed."""
    return str(generate_static_uuid(dt.datetime.fromisoformat(record.started), record.run_id.encode()))


def _job(job: Job, settings: Settings) -> EventJob:
    found: dict[str, facets.JobFacet] = {
        "jobType": facets.job_type_job.JobTypeJobFacet("BATCH", job.engine.label.upper(), "JOB"),
    }
    if job.description:
        found["documentation"] = facets.documentation_job.DocumentationJobFacet(job.description)
    if isinstance(job.body, Sql):
        found["sql"] = facets.sql_job.SQLJobFacet(job.body.text, job.body.dialect)
    return EventJob(settings.lineage.namespace, job.name, found)


def _run_facets(record: RunRecord) -> dict[str, facets.RunFacet]:
    tags = {
        "run_id": record.run_id,
        "environment": record.env,
        "target": record.target,
        "release": record.versions.get("release"),
        "cluster": record.cluster,
        "step": record.step,
    }
    parameter, tag = facets.execution_parameters_run.ExecutionParameter, facets.tags_run.TagsRunFacetFields
    found: dict[str, facets.RunFacet] = {
        "executionParameters": facets.execution_parameters_run.ExecutionParametersRunFacet(
            [parameter(key=name, value=value) for name, value in record.params.items()]
        ),
        "tags": facets.tags_run.TagsRunFacet([tag(key, value, "EMRJOBS") for key, value in tags.items() if value]),
    }
    if not EngineKind(record.engine).federated and "pyspark" in record.versions:
        found["processing_engine"] = facets.processing_engine_run.ProcessingEngineRunFacet(record.versions["pyspark"], "Spark")
    if record.error:
        found["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(str(record.error["message"]), "PYTHON")
    return found


def _input(dataset: Dataset, records: Iterable[InputRecord], names: Names) -> InputDataset:
    def total(of: str) -> int | None:
        values = [getattr(record, of) for record in records]
        return None if None in values or not values else sum(values)

    rows, size, files = total("rows"), total("size_bytes"), total("files")
    if rows is None and size is None:
        return InputDataset(*names.of(dataset))
    read = facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(rows, size, files)
    return InputDataset(*names.of(dataset), {"inputStatistics": read})


def _output(dataset: Dataset, inputs: Iterable[Dataset], names: Names, columns: Columns) -> OutputDataset:
    lineage = facets.column_lineage_dataset
    known = {one.name: names.of(one) for one in inputs}
    fields = {
        name: lineage.Fields(
            [
                lineage.InputField(*known[source.dataset], source.name, [lineage.Transformation("DIRECT", how.name)])
                for source, how in sources.items()
                if source.dataset in known and source.name != "*"
            ]
        )
        for name, sources in columns.sources.items()
        if name != "*"
    }
    found: dict[str, facets.DatasetFacet] = {"columnLineage": lineage.ColumnLineageDatasetFacet(fields)} if fields else {}
    return OutputDataset(*names.of(dataset), facets=found)
