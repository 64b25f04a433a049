"""`emrjobs jobs`, `plan` and `run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from framework.cli import common
from framework.errors import TableNotFound

if TYPE_CHECKING:
    from framework.discovery import Jobs
    from framework.jobs import Job
    from framework.ledger import RunRecord

UpstreamOption = Annotated[bool, typer.Option("--upstream", help="The jobs that it depends on first.")]


def jobs(as_json: common.JsonOption = False) -> None:
    """List the jobs of the project: what each reads and writes."""
    from framework.cli import render

    found = common.jobs()
    if as_json:
        render.print_json(
            {
                "jobs": [_as_json(job) for job in found],
                "problems": [str(problem) for problem in found.problems.values()],
            }
        )
    else:
        rows = [
            [
                job.name,
                job.engine.value,
                ", ".join(dataset.describe() for dataset in job.inputs.values()),
                job.output.name,
                _params(job),
                job.description,
            ]
            for job in found
        ]
        render.print_table(["job", "engine", "reads", "writes", "parameters", "description"], rows)
    if found.problems:
        _raise_first(found)


def plan(
    job: common.JobArgument,
    param: common.ParamOption = None,
    upstream: UpstreamOption = False,
    submit: Annotated[bool, typer.Option("--submit", help="What a submit to EMR would create, upload and cost; asks S3 and EMR.")] = False,
    preset: Annotated[str | None, typer.Option("--preset", help="With --submit: the cluster preset.")] = None,
    on: Annotated[str | None, typer.Option("--on", help="With --submit: an existing cluster.", metavar="CLUSTER")] = None,
    env: Annotated[str | None, common.ENV_OPTION] = None,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print what a run would read, write and check. Starts nothing and asks nobody, but for --submit."""
    from framework import planning
    from framework.cli import render

    if submit:
        _plan_submit(job, param, upstream, preset, on, env, set_, as_json)
        return
    env = env or common.DEFAULT_ENV
    loaded = common.settings(env, set_)
    chosen = _chosen(common.jobs(), job, upstream)
    plans = [planning.plan(one, _own_params(one, chosen, param), loaded) for one in chosen]
    if as_json:
        render.print_json([one.as_dict() for one in plans] if upstream else plans[0].as_dict())
        return
    for one in plans:
        render.print_plan(one)


def _plan_submit(
    names: str,
    param: list[str] | None,
    upstream: bool,
    preset: str | None,
    on: str | None,
    env: str | None,
    set_: list[str] | None,
    as_json: bool,
) -> None:
    from framework import emr as service
    from framework.cli import emr, opening, render

    loaded = emr.emr_settings(env or emr.DEFAULT_ENV, set_)
    chosen = emr.chosen_jobs(names, param, upstream)
    with opening.platform(loaded, quiet=as_json) as platform:
        made = service.plan(platform, chosen, preset=preset, on=on, overrides=set_ or ())
    if as_json:
        render.print_json(emr.plan_json(made))
    else:
        emr.print_submit_plan(made)


def run(
    job: common.JobArgument,
    param: common.ParamOption = None,
    upstream: UpstreamOption = False,
    env: common.EnvOption = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write the checks' results as HTML (Great Expectations Data Docs).")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Run a job: read, compute, check, publish."""
    from framework.cli import render

    loaded = common.settings(env, set_)
    known = common.jobs()
    chosen = _chosen(known, job, upstream)
    # A wrong parameter is said before anything is started.
    bound = [one.bind(_own_params(one, chosen, param)) for one in chosen]
    from framework.cli import running

    records: list[RunRecord] = []
    try:
        for one, values in zip(chosen, bound, strict=True):
            running.run(one, values, loaded, docs=docs, quiet=as_json, on_end=records.append)
    except TableNotFound as exc:
        writer = known.writer_of(exc.table)
        if writer is not None and writer.name != one.name:
            exc.fix = f"the job {writer.name} writes it: run that first, or both with --upstream (make: UPSTREAM=1)"
        raise
    finally:
        # A run that failed has a record too.
        if as_json and records:
            render.print_json([render.record_dict(record) for record in records] if upstream else render.record_dict(records[-1]))


def _chosen(found: Jobs, name: str, upstream: bool) -> list[Job]:
    wanted = found.get(name)
    return found.upstream(wanted) if upstream else [wanted]


def _own_params(job: Job, chosen: list[Job], given: list[str] | None) -> dict[str, Any]:
    """The given parameters that this job has; with --upstream each job takes its own."""
    values = common.params(given)
    if len(chosen) == 1:
        return values
    known = {name for one in chosen for name in one.params}
    return {name: value for name, value in values.items() if name in job.params or name not in known}


def _raise_first(found: Jobs) -> None:
    from framework.cli import render

    problems = list({id(problem): problem for problem in found.problems.values()}.values())
    for problem in problems[1:]:
        render.print_error(problem)
    raise problems[0]


def _params(job: Job) -> str:
    return ", ".join(f"{name}={param.default}" if param.default is not None else name for name, param in job.params.items())


def _as_json(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "engine": job.engine.value,
        "description": job.description,
        "inputs": {name: dataset.describe() for name, dataset in job.inputs.items()},
        "output": job.output.name,
        "checks": job.checks,
        "params": {
            name: {"type": param.type_name, "default": None if param.default is None else str(param.default)}
            for name, param in job.params.items()
        },
        "source": job.where,
    }
