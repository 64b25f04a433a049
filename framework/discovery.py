"""Find the jobs of a project, check that they fit together, and order them by who writes what another reads."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from framework import sqlfile
from framework.errors import EmrjobsError, JobDefinitionError, UnknownJob, nearest
from framework.jobs import Job, relocate


@dataclass(frozen=True)
class Jobs:
    """The jobs of a project.

    Attributes:
        by_name: the healthy ones.
        problems: what is wrong, by the name of each job (or the stem of each file) that it concerns.
    """

    by_name: Mapping[str, Job]
    problems: Mapping[str, JobDefinitionError] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Job]:
        return iter(sorted(self.by_name.values(), key=lambda job: job.name))

    def get(self, name: str) -> Job:
        """One job by name.

        Raises:
            JobDefinitionError: something is wrong with it, or with a file that may define it.
            UnknownJob: there is none of that name.
        """
        if name in self.problems:
            raise self.problems[name]
        if name not in self.by_name:
            broken = [f"not read: {problem}".splitlines()[0] for problem in self.problems.values()]
            raise UnknownJob(f"there is no job {name!r}", details=broken, fix=nearest(name, self.by_name, what="job in jobs/"))
        return self.by_name[name]

    def writer_of(self, table: str) -> Job | None:
        """The job that publishes to a table, given by its identity."""
        return next((job for job in self.by_name.values() if job.output.identity == table.lower()), None)

    def upstream(self, job: Job) -> list[Job]:
        """The jobs that `job` depends on, directly or not, in an order in which they can run; itself last.

        Raises:
            JobDefinitionError: something is wrong with one of them, or with a file that may define one.
        """
        if self.problems:
            # A job that could not be read may be the one that writes what another reads.
            raise next(iter(self.problems.values()))
        graph: dict[str, set[str]] = {}
        pending = [job]
        while pending:
            current = pending.pop()
            if current.name in graph:
                continue
            writers = [writer for table in current.reads() if (writer := self.writer_of(table)) and writer.name != current.name]
            graph[current.name] = {writer.name for writer in writers}
            pending += writers
        return [self.get(name) for name in TopologicalSorter(graph).static_order()]


def discover(root: Path, *, cache: Path | None = None) -> Jobs:
    """Read every .py and .sql file in `root/jobs/` (names that start with _ or . are helpers, not jobs).

    Never raises for one broken file: what is wrong is kept in `problems`, so that the other jobs stay usable.

    Raises:
        JobDefinitionError: there is no folder jobs/.
    """
    root = root.absolute()  # as the files' own names in tracebacks and code objects are
    folder = root / "jobs"
    if not folder.is_dir():
        raise JobDefinitionError(f"there is no folder jobs/ in {root}", fix="run the command inside a project, or give --project")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    found: list[Job] = []
    problems: dict[str, JobDefinitionError] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix not in (".py", ".sql") or any(part.startswith(("_", ".")) for part in file.relative_to(folder).parts):
            continue
        try:
            found += [sqlfile.load(file, root, cache)] if file.suffix == ".sql" else _from_python(file, root)
        except JobDefinitionError as exc:
            problems[file.stem] = exc
    by_name = _without_clashes(found, problems)
    _report_cycles(by_name, problems)
    return Jobs({name: job for name, job in by_name.items() if name not in problems}, problems)


def _from_python(file: Path, root: Path) -> list[Job]:
    relative = file.relative_to(root)
    module_name = ".".join(relative.with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:  # pragma: no cover - only for suffixes that Python does not know
        raise JobDefinitionError("is not a Python file", where=relative)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        del sys.modules[module_name]
        raise _import_problem(exc, file, root) from exc
    # By identity: a job that has two names in its file is one job.
    own = {id(value): value for value in vars(module).values() if isinstance(value, Job) and Path(value.file) == file}
    return [relocate(value, file, root) for value in own.values()]


def _import_problem(exc: BaseException, file: Path, root: Path) -> JobDefinitionError:
    place = f"{file.relative_to(root)}:{_line_in(file, exc)}"
    if isinstance(exc, EmrjobsError):
        where = exc.where or place
        if Path(where.rsplit(":", 1)[0]).is_relative_to(root):
            where = str(Path(where).relative_to(root))
        return JobDefinitionError(exc.message, where=where, details=exc.details, fix=exc.fix)
    if isinstance(exc, SyntaxError):
        # A helper that the file imports may be the one that does not parse.
        broken = Path(exc.filename or file)
        shown = broken.relative_to(root) if broken.is_relative_to(root) else broken
        details = [exc.text.strip()] if exc.text and exc.text.strip() else []
        return JobDefinitionError(f"does not parse: {exc.msg}", where=f"{shown}:{exc.lineno or 1}", details=details)
    return JobDefinitionError(f"raises on import: {type(exc).__name__}: {exc}", where=place)


def _line_in(file: Path, exc: BaseException) -> int:
    frames = [frame for frame in traceback.extract_tb(exc.__traceback__) if Path(frame.filename) == file]
    return (frames[-1].lineno or 1) if frames else 1


def _without_clashes(found: list[Job], problems: dict[str, JobDefinitionError]) -> dict[str, Job]:
    by_name: dict[str, Job] = {}
    by_output: dict[str, Job] = {}
    for job in found:
        if other := by_name.get(job.name):
            problems[job.name] = JobDefinitionError(
                f"two jobs are named {job.name!r}: {other.where} and {job.where}", where=job.where, fix="rename one of the two"
            )
            continue
        by_name[job.name] = job
        table = job.output.identity
        if other := by_output.get(table):
            problem = JobDefinitionError(
                f"two jobs publish to {job.output.name.lower()}: {other.name} ({other.where}) and {job.name} ({job.where})",
                where=job.where,
                fix="give one of the two another output",
            )
            problems[job.name] = problems[other.name] = problem
        else:
            by_output[table] = job
    return by_name


def _report_cycles(by_name: Mapping[str, Job], problems: dict[str, JobDefinitionError]) -> None:
    writers = {job.output.identity: job.name for job in by_name.values()}
    graph = {job.name: {writers[table] for table in job.reads() if table in writers} - {job.name} for job in by_name.values()}
    while names := _cycle(graph):
        for name in set(names):
            del graph[name]
            problems[name] = JobDefinitionError(
                f"jobs depend on each other in a circle: {' -> '.join(names)}",
                where=by_name[name].where,
                fix="let one of them read something else",
            )


def _cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Names of jobs that feed each other in a circle, in the direction of the data, the first one again at the end; else empty."""
    try:
        TopologicalSorter({name: sources & graph.keys() for name, sources in graph.items()}).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return []
