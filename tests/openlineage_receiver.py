"""A small OpenLineage receiver, as Marquez is one: takes events over HTTP and holds each against the library's own models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openlineage.client import facet_v2
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

FACETS = {
    "columnLineage": facet_v2.column_lineage_dataset.ColumnLineageDatasetFacet,
    "documentation": facet_v2.documentation_job.DocumentationJobFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "executionParameters": facet_v2.execution_parameters_run.ExecutionParametersRunFacet,
    "inputStatistics": facet_v2.input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
    "sql": facet_v2.sql_job.SQLJobFacet,
    "tags": facet_v2.tags_run.TagsRunFacet,
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
}


def validated(data: Mapping[str, Any]) -> RunEvent:
    """The event that JSON holds.

    Raises:
        TypeError, ValueError, KeyError: a key that the model does not know or that is missing, or a value that is none.
    """
    event = {key: value for key, value in data.items() if key != "schemaURL"}
    made = RunEvent(
        **{
            **event,
            "eventType": RunState(event["eventType"]),
            "run": Run(event["run"]["runId"], facets_of(event["run"]["facets"])),
            "job": Job(**{**event["job"], "facets": facets_of(event["job"]["facets"])}),
            "inputs": [dataset(InputDataset, one, "inputFacets") for one in event["inputs"]],
            "outputs": [dataset(OutputDataset, one, "outputFacets") for one in event["outputs"]],
        }
    )
    assert made.schemaURL == data["schemaURL"]
    return made


def dataset(kind: Any, data: Mapping[str, Any], own: str) -> Any:
    return kind(**{**data, "facets": facets_of(data.get("facets", {})), own: facets_of(data.get(own, {}))})


def facets_of(data: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for name, value in data.items():
        assert value["_producer"].startswith("urn:emrjobs:")
        made[name] = FACETS[name](**{key: inner for key, inner in value.items() if not key.startswith("_")})
        assert made[name]._schemaURL == value["_schemaURL"]
    return made


class Receiver:
    """What came in.

    Attributes:
        url: of the server.
        events: as models, in their order.
        keys: the Authorization header of each.
        answer: HTTP status of its answers.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.events: list[RunEvent] = []
        self.keys: list[str | None] = []
        self.answer = 201


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/api/v1/lineage"
            found.keys.append(self.headers["Authorization"])
            found.events.append(validated(body))
            self.send_response(found.answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
