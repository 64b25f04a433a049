"""Run one job once: resolve, compute into staging, check, publish, record."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import logging
import platform as machine
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from framework import engines
from framework import progress as events
from framework.engines import Counted, Engine
from framework.engines.spark.read import TableRead
from framework.errors import ChecksFailed, EmrjobsError
from framework.jobs import EngineKind, Jdbc, Job, Output, Params
from framework.leases import Lease
from framework.ledger import (
    FAILED,
    INTERRUPTED,
    RUNNING,
    SUCCEEDED,
    CheckRecord,
    InputRecord,
    OutputRecord,
    RunRecord,
    code_hash,
    new_run_id,
)
from framework.platform import Platform, Resolved
from framework.publish import Area, Published, Staged
from framework.quality import suite as suites
from framework.sources.jdbc import JdbcRead
from framework.sources.paths import PathRead
from framework.sources.trino_catalogs import FederatedRead

if TYPE_CHECKING:
    from framework.quality.gate import CheckReport

_log = logging.getLogger(__name__)

Placed: TypeAlias = Callable[[], tuple[str, str] | None]
"""Where a run is: (cluster id, step id), None on this machine or while it is not known yet."""

PHASES = ("resolve", "start", "stage", "check", "publish")


def run_job(
    job: Job,
    given: Mapping[str, Any],
    platform: Platform,
    on_event: events.OnRunEvent = events.ignore,
    on_report: Callable[[CheckReport], None] = lambda report: None,
    on_end: Callable[[RunRecord], None] = lambda record: None,
    run_id: str | None = None,
    placed: Placed = lambda: None,
) -> RunRecord:
    """Run a job from its parameters to its published table; the one way, whatever the target.

    Args:
        given: parameters as the user gave them, texts or values.
        on_report: gets what the checks found, whether they passed or not.
        on_end: gets the finished record, whether the run succeeded or not.
        run_id: chosen by who submitted the run as a step; a new one when None.
        placed: asked at the start and at the end, because a step may start before its submitter knows the step's id.

    Returns:
        The record of the run, which is also in the ledger.

    Raises:
        UserError: before anything was started, or an input is not there.
        LeaseHeld: another run is at work on the same output.
        ChecksFailed: nothing was published; `report` holds the failing checks.
        EmrjobsError: the job failed; readers see what they saw before.
    """
    params = job.bind(given)
    suite = suites.of_job(job, platform.root)
    if suite:
        suite.bind(params)  # a check on a parameter that the job does not have is said before anything is started
    with (
        _recorded(job, params, platform, on_event, on_end, run_id, placed) as run,
        _held(platform.leases.hold(job, params, run.record.run_id), run) as taken,
        ExitStack() as opened,
    ):
        with ThreadPoolExecutor(1) as pool:
            # Starting the engine is the longest part: everything that does not need it happens meanwhile.
            unwanted = threading.Event()
            started = pool.submit(_start, job, platform, opened, unwanted)
            with run.phase("resolve", "look up the inputs"):
                try:
                    inputs = platform.resolve(job, params, run.record.run_id)
                    lease = taken.result()
                    run.begun.result()
                except BaseException:
                    # A session that is being started already is waited for, by the pool: it must not be left to itself.
                    unwanted.set()
                    raise
            with run.phase("start", f"start {job.engine.label}"):
                engine = started.result()
                engine.ready()
        area = engine.area(platform, job, params, run.record.run_id)
        try:
            with run.phase("stage", f"compute {job.name}"), engine.watched(f"compute {job.name}", on_event):
                staged, counted = engine.stage(job, inputs, params, area)
                run.staged(inputs, staged, engine)
            opened.callback(run.count, counted)
            if suite:
                with run.phase("check", f"check {staged.rows:,} staged rows against {suite.name}"):
                    report = engine.audit(area, suite, params)
                on_report(report)
                run.checked(report)
            with run.phase("publish", f"publish to {job.output.name}"):
                lease.confirm()
                run.published(area.publish(), job.output)
        except BaseException as exc:
            known = engine.explain(exc, job.where) if isinstance(exc, Exception) and not isinstance(exc, EmrjobsError) else None
            _give_up(engine, area)
            if known:
                raise known from exc
            raise
    return run.record


class _LogBook(logging.Handler):
    """What the framework logs during one run."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-5s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@dataclass
class _Run:
    """The record of a run as it grows.

    Attributes:
        aside: small writes that nothing waits for yet.
        begun: done when the ledger has the record of a run that has only begun.
        told: tells who follows lineage how the run ended.
    """

    record: RunRecord
    on_event: events.OnRunEvent
    placed: Placed
    aside: ThreadPoolExecutor
    begun: Future[None]
    told: Callable[[RunRecord], None] = field(default=lambda record: None)
    phases: dict[str, float] = field(default_factory=dict)
    book: _LogBook = field(default_factory=_LogBook)

    @contextmanager
    def phase(self, name: str, text: str) -> Iterator[None]:
        self.on_event(events.PhaseStarted(name, text))
        _log.info("%s: %s", name, text)
        begun = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = round(time.monotonic() - begun, 3)
            self.on_event(events.PhaseEnded(name, self.phases[name], text))

    def staged(self, inputs: Mapping[str, Resolved], staged: Staged, engine: Engine) -> None:
        listed = not EngineKind(self.record.engine).federated  # such a server finds the partitions by itself
        found = [_input_record(name, read, listed=listed) for name, read in inputs.items()]
        self.record = replace(
            self.record,
            inputs=tuple(
                replace(one, quarantined=engine.quarantined.get(one.name), watermark=engine.watermarks.get(one.name)) for one in found
            ),
        )
        _log.info("staged %s rows at %s", staged.rows, staged.location)

    def count(self, counted: Counted) -> None:
        try:
            rows = counted()
        except Exception as exc:  # figures for people; what has ended the engine is told elsewhere
            _log.warning("the rows of the inputs could not be counted: %s", exc)
            return
        self.record = replace(self.record, inputs=tuple(replace(one, rows=rows.get(one.name)) for one in self.record.inputs))

    def checked(self, report: CheckReport) -> None:
        from framework.quality.report import describe as in_words

        checks = tuple(CheckRecord(in_words(result), str(result.severity), result.success) for result in report.results)
        self.record = replace(self.record, checks=checks)
        if report.failed_errors:
            raise ChecksFailed(
                f"{len(report.failed_errors)} of {len(report.results)} checks failed; nothing was published",
                details=[f"{result.where}: {in_words(result)}" for result in report.failed_errors],
                fix=f"correct the data or the job, or the suite configs/checks/{report.suite}.yaml",
                report=report,
            )

    def published(self, done: Published, output: Output) -> None:
        kind = "jdbc" if isinstance(output, Jdbc) else "table"
        made = OutputRecord(done.table, done.rows, done.partitions, done.version, done.previous, output.write_mode, kind)
        self.record = replace(self.record, output=made)


@contextmanager
def _recorded(
    job: Job,
    params: Params,
    platform: Platform,
    on_event: events.OnRunEvent,
    on_end: Callable[[RunRecord], None],
    run_id: str | None,
    placed: Placed,
) -> Iterator[_Run]:
    """Keep the run's record in the ledger from its start to its end, whatever the end is."""
    now = dt.datetime.now(dt.UTC)
    record = RunRecord(
        run_id=run_id or new_run_id(job.name, now),
        job=job.name,
        env=platform.loaded.env,
        target=platform.settings.target,
        engine=job.engine.value,
        params={name: str(value) for name, value in params.items()},
        status=RUNNING,
        started=now.isoformat(timespec="milliseconds"),
        versions=_versions(platform),
        code=code_hash(platform.root, job.suite_file(platform.root)),
    )
    record = _at(record, placed)
    emitter = platform.lineage  # what is wrong with it is said before anything is started
    aside = ThreadPoolExecutor(2, thread_name_prefix="aside")
    run = _Run(record, on_event, placed, aside, aside.submit(platform.ledger.write, record))
    own = logging.getLogger("framework")
    own.addHandler(run.book)
    level = own.level
    own.setLevel(min(logging.INFO, own.getEffectiveLevel()))
    run.told = emitter.begin(job, record, lambda text: on_event(events.Warned(text)))
    try:
        yield run
    except BaseException as exc:
        status = INTERRUPTED if isinstance(exc, KeyboardInterrupt) else FAILED
        message = platform.resolver.mask(str(exc))
        if isinstance(exc, EmrjobsError):
            _mask(exc, platform.resolver.mask)
        error = {"type": type(exc).__name__, "message": message, "exit_code": getattr(exc, "exit_code", 1)}
        _log.log(
            logging.INFO if isinstance(exc, EmrjobsError) else logging.ERROR, "run %s %s: %s", record.run_id, status, message, exc_info=True
        )
        _close(run, platform, status, error)
        raise
    else:
        _close(run, platform, SUCCEEDED, None)
    finally:
        aside.shutdown()
        on_end(run.record)
        own.removeHandler(run.book)
        own.setLevel(level)


@contextmanager
def _held(holding: AbstractContextManager[Lease], run: _Run) -> Iterator[Future[Lease]]:
    """Hold a lease; it is taken while the inputs are looked up, and given back while the record is written.

    Yields:
        The lease, to be waited for before anything that only its holder may do.
    """
    taken = run.aside.submit(holding.__enter__)
    try:
        yield taken
    finally:
        futures.wait([taken])
        if taken.exception() is None:
            run.aside.submit(holding.__exit__, None, None, None)


def _mask(exc: EmrjobsError, mask: Callable[[str], str]) -> None:
    """No secret in what the caller prints: a driver, or the job's own code, may quote one."""
    exc.message = mask(exc.message)
    exc.details = tuple(mask(detail) for detail in exc.details)
    exc.fix = mask(exc.fix) if exc.fix else None
    exc.args = (exc.message,)


def _at(record: RunRecord, placed: Placed) -> RunRecord:
    place = placed()
    return replace(record, cluster=place[0], step=place[1]) if place else record


def _close(run: _Run, platform: Platform, status: str, error: Mapping[str, Any] | None) -> None:
    run.record = _at(run.record, run.placed)
    ended = dt.datetime.now(dt.UTC)
    seconds = (ended - dt.datetime.fromisoformat(run.record.started)).total_seconds()
    run.record = replace(
        run.record,
        status=status,
        ended=ended.isoformat(timespec="milliseconds"),
        seconds=round(seconds, 3),
        phases=dict(run.phases),
        error=error,
    )
    run.told(run.record)
    futures.wait([run.begun])  # or it would come after the record of the end
    try:
        text = "\n".join([*run.book.lines, platform.engine_log()])
        run.record = replace(run.record, log=platform.ledger.log_url(run.record.run_id))
        log = run.aside.submit(platform.ledger.write_log, run.record.run_id, platform.resolver.mask(text))
        platform.ledger.write(run.record)
        log.result()
    except EmrjobsError as exc:
        if status == SUCCEEDED:
            raise
        # The first error is the one to read; the ledger may be what is down.
        _log.error("the run's record could not be written: %s", exc)


def _start(job: Job, platform: Platform, opened: ExitStack, unwanted: threading.Event) -> Engine:
    engine = engines.load(job.engine)
    # Importing takes about as long as looking up the inputs: when one of them is not there, nothing has to be started.
    engine.preload()
    if unwanted.is_set():
        raise CancelledError
    return opened.enter_context(engine.open(platform, job))


def _give_up(engine: Engine, area: Area) -> None:
    try:
        engine.cancel()
        area.discard()
    except Exception as exc:  # the first error is the one to read
        _log.warning("what was staged could not be removed: %s", exc)


def _input_record(name: str, read: Resolved, *, listed: bool) -> InputRecord:
    if isinstance(read, PathRead):
        return InputRecord(name, "path", read.uri, files=read.files, size_bytes=read.size_bytes, quarantine=read.quarantine)
    if isinstance(read, JdbcRead):
        return InputRecord(name, "jdbc", read.described)
    if isinstance(read, FederatedRead):
        return InputRecord(name, read.kind, f"{read.connection}.{read.table}")
    partitions = len(read.partitions) if isinstance(read, TableRead) and read.info.partition_keys and listed else None
    return InputRecord(name, read.info.format, read.info.name, partitions=partitions)


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions(platform: Platform) -> dict[str, str]:
    found = {"release": platform.settings.release, "python": machine.python_version()}
    packages = {package: _version(package) for package in ("emrjobs", "pyspark", "trino", "great-expectations")}
    return found | {package: version for package, version in packages.items() if version}
