"""What a run would do, from declarations and configuration alone: nothing is started and nobody is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from framework import jobs, predicates
from framework.config.loader import Loaded
from framework.jobs import Job
from framework.sources import hdfs, jdbc, paths, presto_catalogs


@dataclass(frozen=True)
class PlannedInput:
    """One input: `kind` is table, path or jdbc; `predicate` is what the source is asked for."""

    name: str
    kind: str
    dataset: str
    format: str | None = None
    predicate: str | None = None


@dataclass(frozen=True)
class RunPlan:
    """What a run would read, check and write."""

    job: str
    description: str
    env: str
    target: str
    engine: str
    source: str
    params: Mapping[str, str]
    inputs: tuple[PlannedInput, ...]
    output: str
    format: str
    mode: str
    partitioned_by: tuple[str, ...]
    checks: tuple[str, ...]
    suite: str | None
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def plan(job: Job, given: Mapping[str, Any], loaded: Loaded) -> RunPlan:
    """The plan of one run.

    Raises:
        UserError: a parameter, connection, path name or suite is wrong.
    """
    from framework.quality import suite as suites

    params = job.bind(given)
    if job.engine is jobs.EngineKind.PRESTO:
        presto_catalogs.check(job, loaded.settings)
    file = job.suite_file(loaded.root)
    suite = suites.of_job(job, loaded.root)
    return RunPlan(
        job=job.name,
        description=job.description,
        env=loaded.env,
        target=loaded.settings.target,
        engine=job.engine.value,
        source=job.where,
        params={name: str(value) for name, value in params.items()},
        inputs=tuple(_planned(name, dataset, job, params, loaded) for name, dataset in job.inputs.items()),
        output=job.output.name,
        format=_format(job, loaded),
        mode=job.output.write_mode,
        partitioned_by=tuple(job.output.partitioned_by),
        checks=tuple(f"{expectation.severity}: {expectation.statement}" for expectation in suite.bind(params).expectations)
        if suite
        else (),
        suite=file.relative_to(loaded.root).as_posix() if file else None,
        warnings=tuple(in_hdfs(job, loaded)),
    )


def _format(job: Job, loaded: Loaded) -> str:
    """How the output is kept: a table's format, or the kind of its database."""
    if isinstance(job.output, jobs.Table):
        return job.output.format
    return jdbc.find(loaded.settings.connections, job.output.connection, where=job.where).kind


def in_hdfs(job: Job, loaded: Loaded) -> Iterator[str]:
    """A warning for each dataset that the job declares to lie in HDFS, which ends with its cluster.

    Raises:
        JobDefinitionError, ParameterError: the output's location is wrong.
    """
    gone = "it is gone when its cluster ends, which a transient one does after its last step"
    names = {f"{{{name}}}": uri for name, uri in loaded.settings.paths.items()}
    for name, dataset in job.inputs.items():
        if isinstance(dataset, jobs.Path):
            first, brace, _ = dataset.uri.partition("}")
            if hdfs.is_hdfs(names.get(first + brace, dataset.uri)):
                yield f"input {name} lies in HDFS ({dataset.uri}): {gone}"
    if isinstance(job.output, jobs.Table) and (location := paths.output_location(job.output, loaded.settings.paths, where=job.where)):
        yield f"output {job.output.name} lies in HDFS ({location}): {gone}"


def _planned(name: str, dataset: jobs.Dataset, job: Job, params: jobs.Params, loaded: Loaded) -> PlannedInput:
    if isinstance(dataset, jobs.Path):
        values = {**loaded.settings.paths, **params}
        uri = paths.normalise(jobs.fill(dataset.uri, values, what=f"input {name}", where=job.where), where=job.where)
        return PlannedInput(name, "path", uri, dataset.format)
    if isinstance(dataset, jobs.Jdbc):
        connection = jdbc.find(loaded.settings.connections, dataset.connection, where=job.where)
        predicate = predicates.render(dataset.where, params, jdbc.dialect(connection), where=job.where) if dataset.where else None
        return PlannedInput(name, "jdbc", dataset.describe(), connection.kind, predicate)
    predicate = predicates.render(dataset.where, params, "spark", where=job.where) if dataset.where else None
    return PlannedInput(name, "table", dataset.name, None, predicate)
