"""Jobs and the datasets between them, from what the jobs declare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from framework import jobs
from framework.config.model import Settings
from framework.discovery import Jobs
from framework.errors import UserError, nearest
from framework.jobs import Job
from framework.sources import jdbc, paths

_VARIES = "\x00"


@dataclass(frozen=True, order=True)
class Dataset:
    """What jobs read or write, under one name whichever job speaks of it.

    Attributes:
        name: `database.table`; `connection.schema.table`; the URI of a folder, without the part that differs between runs.
        kind: table, path, or the kind of the connection.
    """

    name: str
    kind: str


@dataclass(frozen=True)
class JobNode:
    """One job between its datasets; `source` is `file:line`."""

    name: str
    engine: str
    source: str
    inputs: tuple[Dataset, ...]
    output: Dataset


@dataclass(frozen=True)
class Graph:
    """All jobs of a project, by name."""

    jobs: Mapping[str, JobNode]

    def writer(self, dataset: Dataset) -> JobNode | None:
        """The job that publishes to a dataset; None for one that comes from elsewhere."""
        return next((job for job in self.jobs.values() if job.output == dataset), None)

    def readers(self, dataset: Dataset) -> list[JobNode]:
        """The jobs that read a dataset, by name."""
        return [job for job in self.jobs.values() if dataset in job.inputs]

    def datasets(self) -> list[Dataset]:
        """Every dataset, by name."""
        return sorted({dataset for job in self.jobs.values() for dataset in (*job.inputs, job.output)})

    def find(self, name: str) -> Dataset:
        """The dataset of that name, or the one that the job of that name writes.

        Raises:
            UserError: there is neither.
        """
        if name in self.jobs:
            return self.jobs[name].output
        by_name = {dataset.name: dataset for dataset in self.datasets()}
        wanted = name.rstrip("/") if "://" in name else name.lower()
        if wanted not in by_name:
            raise UserError(
                f"no job is named {name!r}, and none reads or writes a dataset of that name", fix=nearest(name, [*self.jobs, *by_name])
            )
        return by_name[wanted]

    def upstream(self, dataset: Dataset) -> list[JobNode]:
        """The jobs that a dataset is made by, directly or not; the nearest first."""
        return self._walk(dataset, lambda job: job.inputs, lambda one: [writer] if (writer := self.writer(one)) else [])

    def downstream(self, dataset: Dataset) -> list[JobNode]:
        """The jobs that a dataset goes into, directly or not; the nearest first."""
        return self._walk(dataset, lambda job: [job.output], self.readers)

    def _walk(
        self, start: Dataset, further: Callable[[JobNode], Iterable[Dataset]], jobs_of: Callable[[Dataset], Iterable[JobNode]]
    ) -> list[JobNode]:
        found: dict[str, JobNode] = {}
        pending = [start]
        while pending:
            for job in jobs_of(pending.pop(0)):
                if job.name not in found:
                    found[job.name] = job
                    pending += further(job)
        return list(found.values())

    def only(self, kept: Iterable[JobNode]) -> Graph:
        """The part with these jobs."""
        names = {job.name for job in kept}
        return Graph({name: job for name, job in self.jobs.items() if name in names})


def of_jobs(found: Jobs, settings: Settings) -> Graph:
    """The graph of a project's jobs.

    Args:
        settings: say what `{raw}` stands for, and what kind of system a connection is.

    Raises:
        JobDefinitionError: a job could not be read; it may be the one in between.
        ConfigError: a job names an unknown connection.
    """
    if found.problems:
        raise next(iter(found.problems.values()))
    return Graph({job.name: node(job, settings) for job in found})


def node(job: Job, settings: Settings) -> JobNode:
    """A job and its datasets under their common names."""
    inputs = inputs_of(job, settings)
    return JobNode(job.name, job.engine.value, job.where, tuple(dict.fromkeys(inputs.values())), dataset_of(job.output, job, settings))


def inputs_of(job: Job, settings: Settings) -> dict[str, Dataset]:
    """What a job reads, by the names that its body uses."""
    return {name: dataset_of(declared, job, settings) for name, declared in job.inputs.items()}


def dataset_of(declared: jobs.Dataset, job: Job, settings: Settings) -> Dataset:
    """A declared dataset under its common name."""
    if isinstance(declared, jobs.Table):
        return Dataset(declared.name.lower(), "table")
    if isinstance(declared, jobs.Path):
        return Dataset(_folder(declared.uri, job, settings), "path")
    connection = jdbc.find(settings.connections, declared.connection, where=job.where)
    schema, _, table = declared.table.rpartition(".")
    # A table without a schema: PostgreSQL looks in `public`, MySQL in the connection's database, OpenSearch has one schema.
    default = {"postgresql": "public", "mysql": connection.database}.get(connection.kind, "default")
    return Dataset(f"{declared.connection}.{schema or default}.{table}".lower(), connection.kind)


def _folder(uri: str, job: Job, settings: Settings) -> str:
    """The URI up to the first folder that depends on a parameter: `{raw}/weather/date={date}/` is `s3://raw/weather`."""
    values = {**settings.paths, **dict.fromkeys(job.params, _Varies())}
    parts = paths.normalise(jobs.fill(uri, values, what=uri, where=job.where), where=job.where).split("/")
    kept = next((number for number, part in enumerate(parts) if _VARIES in part or "*" in part), len(parts))
    return "/".join(parts[:kept]).rstrip("/")


class _Varies:
    """A parameter that has no value yet, whatever its format."""

    def __format__(self, spec: str) -> str:
        return _VARIES
