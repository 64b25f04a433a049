"""`emrjobs test`: jobs on the small data declared beside them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framework.cli import common

if TYPE_CHECKING:
    from framework.jobs import Job
    from framework.testing.cases import Case
    from framework.testing.run import Result

JobsArgument = Annotated[
    list[str] | None, typer.Argument(help="Jobs; all that have cases without it.", metavar="[JOB]...", autocompletion=common.job_names)
]


def check_cases(
    names: JobsArgument = None,
    only: Annotated[str | None, typer.Option("--case", "-k", help="Only cases whose name has this text.")] = None,
    env: common.EnvOption = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Run jobs on the data of jobs/<job>.test.yaml and compare what comes out, row by row."""
    from framework.cli import render

    loaded = common.settings(env, set_)
    chosen = [(job, case) for job, case in _cases(names) if only is None or only.lower() in case.name.lower()]
    if only is not None and not chosen:
        from framework.errors import CaseError

        raise CaseError(f"no case has {only!r} in its name")
    for job, case in chosen:
        job.bind(case.params)  # a wrong parameter is said before Spark is started
    results = _run(loaded, chosen, quiet=as_json)
    failed = [result for result in results if not result.passed]
    if as_json:
        render.print_json([{**asdict(result), "passed": result.passed} for result in results])
    else:
        print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if failed:
        raise typer.Exit(1)


def _cases(names: list[str] | None) -> list[tuple[Job, Case]]:
    """The cases of the named jobs, or of all that have some.

    Raises:
        CaseError: there are none.
    """
    from framework.errors import CaseError
    from framework.testing import cases

    root, found = common.project(), common.jobs()
    chosen = []
    for job in [found.get(name) for name in names] if names else found:
        own = cases.load(job, root)
        chosen += [(job, case) for case in own]
        if names and not own:
            file = cases.files_of(job, root)[0].relative_to(root)
            raise CaseError(f"job {job.name} has no cases", where=file, fix=f"write {file}; `emrjobs new job` makes one for a new job")
    if not chosen:
        raise CaseError("no job has cases", where="jobs/", fix="write jobs/<job>.test.yaml; `emrjobs new job` makes one for a new job")
    return chosen


def _run(loaded: Any, chosen: list[tuple[Job, Case]], *, quiet: bool) -> list[Result]:
    import tempfile
    from pathlib import Path

    from framework.cli.display import Display
    from framework.local.target import open_spark
    from framework.testing.run import conf, run_case

    results = []
    with tempfile.TemporaryDirectory(prefix="emrjobs-test-") as folder, Display(quiet=quiet) as display:
        with open_spark(loaded, display.local, conf(Path(folder))) as spark:
            for job, case in chosen:
                result = run_case(spark, job, case, loaded.root)
                results.append(result)
                if not quiet:
                    _print(result)
    return results


def _print(result: Result) -> None:
    from framework.cli import render

    state = "passed" if result.passed else "FAILED"
    print(f"{result.job}: {result.case}: {state} ({result.seconds:.1f} s)")
    if result.error:
        print("\n".join(f"  {line}" for line in result.error.splitlines()))
    if not result.differences:
        return
    rows = []
    for one in result.differences:
        for sign, row in (("-", one.expected), ("+", one.got)):
            if row is not None:
                note = ", ".join(one.columns) if sign == "+" and one.columns else ""
                rows.append([sign, *("null" if row[column] is None else str(row[column]) for column in result.columns), note])
    render.print_table(["", *result.columns, "differs in"], rows, title=f"{result.where}: - expected, + got")
