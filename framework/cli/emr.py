"""`emrjobs submit`, `attach`, `cancel`, `clusters`, `steps`, `iam`, and `plan --submit`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framework.cli import common

if TYPE_CHECKING:
    from framework.cli.display import Display
    from framework.config.loader import Loaded
    from framework.emr import SubmitPlan, SubmitRecord
    from framework.emr.logs import DriverOutput, LogFile
    from framework.emr.watch import Event
    from framework.jobs import Job
    from framework.platform import Platform

EnvOption = Annotated[
    str,
    typer.Option("--env", "-e", envvar="EMRJOBS_ENV", help="Environment with target: emr.", autocompletion=common.environments),
]
DEFAULT_ENV = "local_emr"
PresetOption = Annotated[str | None, typer.Option("--preset", help="Cluster preset of configs/clusters/.")]
OnOption = Annotated[str | None, typer.Option("--on", help="An existing cluster: its id, its name, or tag:KEY=VALUE.", metavar="CLUSTER")]
RunArgument = Annotated[str, typer.Argument(help="Id of the run, or `latest`.")]


def submit(
    jobs: Annotated[str, typer.Argument(help="Name of the job; several with commas, as steps of one cluster.", metavar="JOB[,JOB]")],
    param: common.ParamOption = None,
    upstream: Annotated[bool, typer.Option("--upstream", help="The jobs that it depends on first.")] = False,
    preset: PresetOption = None,
    on: OnOption = None,
    env: EnvOption = DEFAULT_ENV,
    set_: common.SetOption = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
    as_json: common.JsonOption = False,
) -> None:
    """Run jobs as steps on EMR: ship code, start or find a cluster, follow. The same submit again attaches."""
    from framework import emr
    from framework.cli import opening, render
    from framework.cli.display import Display

    loaded = emr_settings(env, set_)
    chosen = chosen_jobs(jobs, param, upstream)
    with Display(quiet=as_json) as display, opening.shown(loaded, display) as platform:
        made = emr.plan(platform, chosen, preset=preset, on=on, overrides=set_ or ())
        if not as_json:
            for warning in made.warnings:
                display.note(f"warning: {warning}")
        done = emr.submit(platform, made, display.note if not as_json else lambda text: None)
        record = done.record
        if not as_json:
            how = "attached to" if done.attached else "went on with" if done.resumed else "submitted"
            for run in record.runs:
                display.note(f"{how} {run.run_id}: step {record.steps[run.run_id]} of cluster {record.cluster_id}")
        if not wait:
            _print_record(record, as_json)
            return
        code = follow(platform, record, display, quiet=as_json)
    if as_json:
        render.print_json(_record_json(record, code))
    sys.exit(code) if code else None


def attach(run: RunArgument = "latest", env: EnvOption = DEFAULT_ENV, set_: common.SetOption = None) -> None:
    """Follow a submit that runs, or show how it ended."""
    from framework import emr
    from framework.cli import opening
    from framework.cli.display import Display

    loaded = emr_settings(env, set_)
    with Display() as display, opening.shown(loaded, display) as platform:
        record = emr.submits(platform).of_run(run)
        code = follow(platform, record, display)
    sys.exit(code) if code else None


def cancel(
    run: RunArgument,
    terminate: Annotated[bool, typer.Option("--terminate", help="Terminate the cluster that the submit started.")] = False,
    env: EnvOption = DEFAULT_ENV,
    set_: common.SetOption = None,
) -> None:
    """Cancel the steps of a submit."""
    from framework import emr
    from framework.cli import opening

    with opening.platform(emr_settings(env, set_), quiet=True) as platform:
        asked = emr.cancel(platform, emr.submits(platform).of_run(run), terminate=terminate)
    print("\n".join(asked) or "nothing runs any more")


def clusters(
    every: Annotated[bool, typer.Option("--all", help="Those that have ended too, of the last 14 days.")] = False,
    env: EnvOption = DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List the clusters."""
    from framework.cli import opening, render
    from framework.emr.api import ACTIVE, EmrApi

    with opening.platform(emr_settings(env, set_), quiet=True) as platform:
        states = () if every else (*ACTIVE, "TERMINATING")
        found = list(EmrApi.of(platform.aws).clusters(since=time.time() - 14 * 86400, states=states))
    if as_json:
        render.print_json(found)
        return
    rows = [[one["Id"], one["Status"]["State"], one["Name"], _time(one["Status"]["Timeline"]["CreationDateTime"])] for one in found]
    render.print_table(["cluster", "state", "name", "created (UTC)"], rows)


def steps(
    cluster: Annotated[str, typer.Argument(help="Id of the cluster, or of a run.")],
    env: EnvOption = DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List the steps of a cluster, newest first."""
    from framework import emr
    from framework.cli import opening, render
    from framework.emr.api import EmrApi

    with opening.platform(emr_settings(env, set_), quiet=True) as platform:
        cluster_id = cluster if cluster.startswith("j-") else str(emr.submits(platform).of_run(cluster).cluster_id)
        found = list(EmrApi.of(platform.aws).steps(cluster_id))
    if as_json:
        render.print_json(found)
        return
    rows = [[one["Id"], one["Status"]["State"], one["Name"], one["ActionOnFailure"]] for one in found]
    render.print_table(["step", "state", "name", "on failure"], rows)


def iam(
    what: Annotated[str, typer.Argument(help="Name of a job: its runtime role's policy. `cluster`: the roles of a cluster.")],
    account: Annotated[str, typer.Option("--account", help="AWS account id in the ARNs.")] = "*",
    env: EnvOption = "prod",
    set_: common.SetOption = None,
) -> None:
    """Print least-privilege IAM policies, derived from what the job declares; asks nobody."""
    from framework.cli import render
    from framework.emr import iam as policies

    loaded = emr_settings(env, set_)
    if what == "cluster":
        render.print_json(policies.cluster_policies(loaded, account=account))
    else:
        render.print_json(policies.runtime_policy(common.jobs().get(what), loaded, account=account))


def emr_settings(env: str, overrides: list[str] | None) -> Loaded:
    """Settings of an environment whose jobs run on EMR.

    Raises:
        UserError: its jobs run here.
    """
    from framework.errors import UserError

    loaded = common.settings(env, overrides)
    if loaded.settings.target != "emr":
        raise UserError(
            f"environment {env} runs its jobs on this machine",
            where=f"configs/env/{env}.yaml",
            fix="use `emrjobs run`, or an environment with target: emr",
        )
    return loaded


def chosen_jobs(names: str, given: list[str] | None, upstream: bool) -> list[tuple[Job, dict[str, Any]]]:
    """The named jobs in the order of their dependencies, each with those of the parameters that it has.

    Raises:
        UserError: an unknown job or parameter.
    """
    from framework.cli.jobs import _own_params

    found = common.jobs()
    wanted: dict[str, Job] = {}
    for name in dict.fromkeys(part.strip() for part in names.split(",") if part.strip()):
        for job in found.upstream(found.get(name)):
            wanted.setdefault(job.name, job)
    named = {part.strip() for part in names.split(",")}
    chosen = [job for job in wanted.values() if upstream or job.name in named]
    return [(job, job.bind(_own_params(job, chosen, given))) for job in chosen]


def follow(platform: Platform, record: SubmitRecord, display: Display, *, quiet: bool = False) -> int:
    """Show what happens until everything has ended; Ctrl-C asks what is to become of it.

    Returns:
        The exit code.
    """
    from framework import emr

    watch = emr.attach(platform, record)
    shown = _Shown(display, quiet)
    code = 0
    while True:
        try:
            for event in watch.events():
                code = max(code, shown.show(event))
            return code
        except KeyboardInterrupt:
            with display.paused():
                if _leave(platform, record):
                    return 130


class _Shown:
    """Events as lines: states and reasons on standard error, what the driver printed where it printed it."""

    def __init__(self, display: Display, quiet: bool) -> None:
        self._tell = (lambda text: None) if quiet else display.note
        self._quiet = quiet
        self._files: dict[tuple[str, str], DriverOutput] = {}

    def show(self, event: Event) -> int:
        """Show one event; the exit code that it means."""
        from framework.emr import watch

        match event:
            case watch.ClusterChanged(cluster_id, state, reason, seconds):
                self._tell(f"cluster {cluster_id} is {state} after {_span(seconds)}" + (f": {reason}" if reason else ""))
            case watch.StepChanged(run_id, step_id, state, reason, seconds):
                self._tell(f"step {step_id} ({run_id}) is {state} after {_span(seconds)}" + (f": {reason}" if reason else ""))
            case watch.Output(run_id, file, text) if file.source == "driver" and file.stream in ("stdout", "stderr"):
                self._print(run_id, file, text)
            case watch.RunEnded(run_id, state, cause, exit_code, _):
                self._finish(run_id)
                if exit_code:
                    self._tell(f"error: {run_id} {state.lower()}: {cause[0] if cause else 'no reason given'}")
                    for line in cause[1:]:
                        self._tell(f"  {line.strip()}")
                return exit_code
        return 0

    def _print(self, run_id: str, file: LogFile, text: str) -> None:
        from framework.emr.logs import DriverOutput

        self._write(self._files.setdefault((run_id, file.key), DriverOutput(file.stream)), text)

    def _finish(self, run_id: str) -> None:
        for key in [key for key in self._files if key[0] == run_id]:
            self._write(self._files.pop(key), "", last=True)

    def _write(self, output: DriverOutput, text: str, *, last: bool = False) -> None:
        if self._quiet:
            return
        stream = sys.stdout if output.stream == "stdout" else sys.stderr
        stream.writelines(f"{line}\n" for line in output.lines(text, last=last))
        stream.flush()


def _leave(platform: Platform, record: SubmitRecord) -> bool:
    """Ask what Ctrl-C is to mean; True: stop watching."""
    from framework import emr

    says = f"`emrjobs attach {record.submit_id}` follows it again, `emrjobs cancel {record.submit_id}` stops it"
    if not sys.stdin.isatty():
        print(f"\ninterrupted: {record.cluster_id} goes on; {says}", file=sys.stderr)
        return True
    print(
        "\n[d]etach, [c]ancel the step" + (", [t]erminate the cluster" if record.owned else "") + ", or go [o]n watching?", file=sys.stderr
    )
    try:
        answer = input().strip().lower()[:1]
    except (EOFError, KeyboardInterrupt):
        answer = "d"
    if answer == "c" or (answer == "t" and record.owned):
        print("\n".join(emr.cancel(platform, record, terminate=answer == "t")), file=sys.stderr)
        return True
    if answer == "d":
        print(f"{record.cluster_id} goes on; {says}", file=sys.stderr)
    return answer == "d"


def _print_record(record: SubmitRecord, as_json: bool) -> None:
    from framework.cli import render

    if as_json:
        render.print_json(_record_json(record, None))
        return
    render.print_pairs(
        [
            ("cluster", record.cluster_id),
            ("steps", [f"{run_id}: {step}" for run_id, step in record.steps.items()]),
            ("follow it", f"emrjobs attach {record.submit_id}"),
            ("stop it", f"emrjobs cancel {record.submit_id}"),
        ]
    )


def _record_json(record: SubmitRecord, code: int | None) -> dict[str, Any]:
    return {
        "submit": record.submit_id,
        "cluster": record.cluster_id,
        "steps": dict(record.steps),
        "runs": {run.run_id: run.job for run in record.runs},
        "exit_code": code,
    }


def print_submit_plan(made: SubmitPlan) -> None:
    """What a submit would do."""
    from framework.cli import render

    cluster = made.cluster
    render.print_pairs(
        [
            ("jobs", [_job_line(one.job.name, one.params) for one in made.jobs]),
            ("environment", f"{cluster.env} (region {cluster.settings.aws.region})"),
            ("cluster", _cluster_lines(made)),
            ("uploads", [f"{uri}" for _, uri, there in made.artifacts if not there] or "nothing: code and dependencies are there"),
            ("reuses", [f"{uri}" for _, uri, there in made.artifacts if there] or None),
            ("changed", _change_lines(made)),
            ("costs", _cost_lines(made)),
            ("warnings", list(made.warnings) or None),
        ]
    )


def plan_json(made: SubmitPlan) -> dict[str, Any]:
    """The plan for JSON."""
    from dataclasses import asdict

    return {
        "jobs": {one.job.name: dict(one.params) for one in made.jobs},
        "env": made.cluster.env,
        "cluster": made.existing["Id"] if made.existing else None,
        "request": dict(made.request),
        "artifacts": [{"kind": one.kind, "uri": uri, "there": there} for one, uri, there in made.artifacts],
        "spec_changes": list(made.spec_changes),
        "code_changes": list(made.code_changes),
        "estimate": asdict(made.estimate) if made.estimate else None,
        "usual_seconds": made.usual_seconds,
        "warnings": list(made.warnings),
    }


def _job_line(name: str, params: Any) -> str:
    return name + "".join(f"  {key}={value}" for key, value in params.items())


def _cluster_lines(made: SubmitPlan) -> list[str]:
    cluster = made.cluster
    if made.existing:
        return [f"{made.existing['Id']} ({made.existing['Name']}), {made.existing['Status']['State']}: takes the steps"]
    ends = "after its last step" if cluster.spec.lifetime == "transient" else f"after {cluster.spec.idle_minutes} idle minutes"
    lines = [f"new, preset {cluster.preset.name}, {cluster.release.label}, {', '.join(cluster.applications)}; ends {ends}"]
    for role, part in cluster.spec.parts().items():
        lines.append(f"  {role}: {_part(part)}")
    return lines


def _part(part: Any) -> str:
    if hasattr(part, "count"):
        return f"{part.count} x {part.type} {part.market}"
    amounts = [f"{amount} {name}" for amount, name in ((part.on_demand, "on-demand"), (part.spot, "spot")) if amount]
    return f"{' + '.join(amounts)} of {', '.join(choice.type for choice in part.types)}"


def _change_lines(made: SubmitPlan) -> Sequence[str] | str:
    if made.previous is None:
        return "first submit of this job"
    found = [f"cluster {line}" for line in made.spec_changes] + [f"code    {line}" for line in made.code_changes]
    return found[:40] or f"nothing since {made.previous.submit_id}"


def _cost_lines(made: SubmitPlan) -> list[str] | None:
    found = made.estimate
    if found is None:
        return None
    lines = [
        f"${found.on_demand:.2f} an hour on-demand"
        + (f", ${found.low:.2f} to ${found.high:.2f} with spot" if found.low < found.high else "")
    ]
    if found.at_most:
        lines.append(f"${found.at_most:.2f} an hour at most, when managed scaling is at its limit")
    if made.billed_seconds:
        hours = made.billed_seconds / 3600
        lines.append(
            f"${found.low * hours:.2f} to ${found.on_demand * hours:.2f} for the job's usual {_span(made.usual_seconds or 0)} and the start"
        )
    if found.unknown:
        lines.append(f"without {', '.join(found.unknown)}, whose price in {found.region} is not known")
    lines.append(f"prices of {found.date} ({found.region}); configs/prices.yaml overrides them")
    return lines


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _time(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"
