"""Starts, finds, checks and stops the services of one checkout.

Nothing runs in the background for this: each command looks at the state on disk and at the processes, acts, and ends. A
lock per service keeps two commands from starting it twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from framework.errors import ConfigError, EmrjobsError, ServiceUnavailable, nearest
from framework.local import SERVICES, logfiles, order, ports, processes
from framework.local.events import Deleted, Event, Progress, Ready, Starting, Stopped, Waiting
from framework.local.service import Context, Endpoint, FindsStragglers, Launch, Service, Settings, StartsWork
from framework.local.state import Layout, Record, Run, ServiceStatus, State

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger(__name__)


class Supervisor:
    """The services of one checkout.

    Args:
        root: the project's root folder; everything lies in `<root>/.local/`.
        settings: settings per service name.
        on_event: told what happens; called from several threads, never at the same time.
        services: name -> loader, for tests.
    """

    def __init__(
        self,
        root: Path,
        settings: Mapping[str, Settings] | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        *,
        services: Mapping[str, Callable[[Settings], Service]] = SERVICES,
    ) -> None:
        self.layout = Layout(root)
        self._settings = settings or {}
        self._on_event = on_event
        self._loaders = services
        self._services: dict[str, Service] = {}
        self._telling = threading.Lock()
        self._loading = threading.RLock()

    # -- what the commands call ------------------------------------------------------------------------------------------

    def up(self, names: Sequence[str]) -> Mapping[str, Endpoint]:
        """Make the named services and all they need answer; returns the endpoints of all of these.

        What runs already is only checked. The others start side by side, each as soon as what it needs is ready.

        Raises:
            ConfigError: an unknown name.
            ServiceUnavailable: one did not start; its log's last lines are in the details and no process of it is left. The
                others that started stay up.
        """
        self.layout.create()
        ordered = order.by_need(names, lambda name: self._service(name).needs)
        warm: dict[str, Endpoint] = {}
        for name in ordered:
            needs = self._service(name).needs
            if all(need in warm for need in needs):
                endpoint = self._healthy(name, {need: warm[need] for need in needs})
                if endpoint is not None:
                    warm[name] = endpoint
        cold = [name for name in ordered if name not in warm]
        return {**warm, **self._start_all(cold, warm)} if cold else warm

    def status(self, names: Sequence[str] | None = None) -> list[ServiceStatus]:
        """How each service is now; changes nothing. Without names: all there are."""
        return [self._status(name) for name in (names if names is not None else self._loaders)]

    def endpoints(self) -> Mapping[str, Endpoint]:
        """Endpoints of the services that were started and not stopped, from the state on disk; asks and starts nothing."""
        records = {name: self.layout.read(name) for name in self.layout.recorded()}
        return {name: _endpoint(name, record) for name, record in records.items() if record.run is not None}

    def down(self, names: Sequence[str] | None = None) -> None:
        """Stop the named services (without names: all), those first that need others. No process of theirs is left."""
        self._each_stopped(names, self._stop)

    def reset(self, names: Sequence[str] | None = None) -> None:
        """Stop the named services (without names: all) and delete their data and secrets."""
        self._each_stopped(names, self._stop_and_delete)

    def logs(self, name: str, lines: int = 100, *, follow: bool = False) -> Iterator[str]:
        """The last lines of a service's log, then with `follow` those that are written from now on, until closed.

        Raises:
            ConfigError: an unknown name.
        """
        self._require(name)
        path = self.layout.log(name)
        end = logfiles.size(path)
        yield from logfiles.tail(path, lines)
        if follow:
            yield from logfiles.follow(path, start=end)

    def diagnose(self) -> list[str]:
        """After something failed: one text for each service that died or stopped answering meanwhile, with its last log lines."""
        found = []
        for status in self.status(self.layout.recorded()):
            if status.state in ("crashed", "unhealthy"):
                last = logfiles.tail(status.log, 10)
                found.append("\n".join([f"{status.name} {status.why}; the end of {status.log}:", *(f"  {line}" for line in last)]))
        return found

    # -- up --------------------------------------------------------------------------------------------------------------

    def _start_all(self, names: Sequence[str], warm: Mapping[str, Endpoint]) -> dict[str, Endpoint]:
        abort = threading.Event()
        futures: dict[str, Future[Endpoint]] = {}
        with ThreadPoolExecutor(max_workers=len(names), thread_name_prefix="local") as pool:
            try:
                for name in names:
                    # `names` is in order of need, so what this one waits for is already submitted.
                    needs = {need: futures.get(need) or warm[need] for need in self._service(name).needs}
                    futures[name] = pool.submit(self._start, name, needs, abort)
                for future in as_completed(futures.values()):
                    future.exception()
            except BaseException:  # Ctrl-C: the threads take back what they have begun
                abort.set()
                raise
        failed = [error for future in futures.values() if (error := future.exception()) is not None]
        for error in failed:
            if not isinstance(error, _NeedFailed):
                raise error
        return {name: future.result() for name, future in futures.items()}

    def _start(self, name: str, needs: Mapping[str, Future[Endpoint] | Endpoint], abort: threading.Event) -> Endpoint:
        service = self._service(name)
        with self._locked(name, abort):
            began = time.monotonic()
            record = self.layout.read(name)
            prepared = False
            if processes.find(record.run.server if record.run else None) is None:
                # The usual case, done while the services that this one needs are starting.
                service.prepare(self._context(name, record, abort=abort))
                prepared = True
            waited = time.monotonic()
            endpoints = {need: _result(need, value) for need, value in needs.items()}
            began += time.monotonic() - waited
            reason = None
            if record.run is not None:
                endpoint, reason = self._take_over(name, record, endpoints, abort)
                if endpoint is not None:
                    return endpoint
            # Even without a record: a lost one must not lead to two servers on the same data.
            self._clear(name, record)
            self._tell(Starting(name, reason))
            if not prepared:
                service.prepare(self._context(name, record, abort=abort))
            endpoint = self._launch(name, endpoints, abort)
            self._tell(Ready(name, time.monotonic() - began, f"{reason}; restarted" if reason else None))
            return endpoint

    def _take_over(
        self, name: str, record: Record, needs: Mapping[str, Endpoint], abort: threading.Event
    ) -> tuple[Endpoint | None, str | None]:
        """The endpoint if what was started before still serves, else the reason why it has to be started again."""
        run = record.run
        if run is None or processes.find(run.server) is None:
            return None, processes.describe_exit(processes.outcome(self.layout.exit_file(name))[1])
        if run.fingerprint != self._fingerprint(name, needs):
            return None, "its settings changed"
        service, context = self._service(name), self._context(name, record, needs)
        if run.ready:
            # A loaded machine answers late: a server in use is not killed for one slow answer.
            deadline, ask = time.monotonic() + 10, service.check
        else:  # the command that started it died before it was ready
            deadline, ask = time.monotonic() + 30, service.probe
        problem = self._wait(name, run, lambda: ask(context), deadline, abort)
        if problem is not None:
            text = problem.message if isinstance(problem, EmrjobsError) else problem
            return None, f"did not answer ({text})" if processes.find(run.server) else text
        self.layout.write(name, replace(record, run=replace(run, ready=True)))
        return _endpoint(name, record), None

    def _launch(self, name: str, needs: Mapping[str, Endpoint], abort: threading.Event) -> Endpoint:
        service, layout = self._service(name), self.layout
        for attempt in (1, 2, 3):
            record = self._choose_ports(name)
            context = self._context(name, record, needs)
            launch, endpoint = service.launch(context), service.endpoint(context)
            path = layout.log(name)
            log_from = logfiles.rotate(path)
            _note(path, f"starting on {dict(record.ports)}")
            keeper, server = processes.spawn(launch, data=context.data, log=path, exit_file=layout.exit_file(name), mark=layout.mark(name))
            run = Run(
                keeper=keeper,
                server=server,
                mark=layout.mark(name),
                fingerprint=self._fingerprint(name, needs),
                began=time.time(),
                log_from=log_from,
                stop_signal=int(launch.stop_signal),
                stop_timeout=launch.stop_timeout,
            )
            record = Record(ports=record.ports, run=run, values=dict(endpoint.values), secret=tuple(sorted(endpoint.secret)))
            problem: str | EmrjobsError | None = "the start was given up"
            try:
                layout.write(name, record)
                problem = self._wait(name, run, lambda: service.probe(context), time.monotonic() + launch.start_timeout, abort)  # noqa: B023
            finally:
                if problem is not None:
                    self._clear(name, record)
            if problem is None:
                layout.write(name, replace(record, run=replace(run, ready=True)))
                return endpoint
            if attempt < 3 and not self._ports_free(service, record):
                # Another program took a port between the look and the server's own bind.
                self._tell(Progress(name, "its port was taken meanwhile; trying another"))
                continue
            break
        raise self._unavailable(name, run, launch, problem)

    def _wait(self, name: str, run: Run, ask: Callable[[], None], deadline: float, abort: threading.Event) -> str | EmrjobsError | None:
        """Ask until it works (None), the server dies, or the time is over (the reason)."""
        pause = 0.02
        while True:
            try:
                ask()
                # Something else may answer on the port while our server died of finding it taken.
                if processes.find(run.server) is not None:
                    return None
            except EmrjobsError as exc:
                return exc
            except Exception as exc:  # whatever a client library raises while the server is not there yet
                last = " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
            else:
                last = ""
            if processes.find(run.server) is None:
                return processes.describe_exit(processes.exit_code(self.layout.exit_file(name), run.keeper))
            if time.monotonic() > deadline:
                return last
            if abort.wait(pause):
                return "the start was interrupted"
            pause = min(pause * 1.5, 0.3)

    def _unavailable(self, name: str, run: Run, launch: Launch, problem: str | EmrjobsError | None) -> EmrjobsError:
        path = self.layout.log(name)
        last = logfiles.tail(path, 10, start=run.log_from)
        details = [f"the end of {path}:", *(f"  {line}" for line in last)] if last else []
        if isinstance(problem, EmrjobsError):
            problem.details = (*problem.details, *details)
            return problem
        crashed = problem is not None and problem.startswith(("crashed", "ended", "is gone"))
        what = f"{problem} while it started" if crashed else f"was not ready within {launch.start_timeout:.0f} s ({problem})"
        return ServiceUnavailable(
            f"the local service {name} {what}", details=details, fix=f"`emrjobs local logs {name}` shows the whole log"
        )

    def _healthy(self, name: str, needs: Mapping[str, Endpoint]) -> Endpoint | None:
        record = self.layout.read(name)
        run = record.run
        if run is None or not run.ready or processes.find(run.server) is None or run.fingerprint != self._fingerprint(name, needs):
            return None
        try:
            self._service(name).check(self._context(name, record, needs))
        except Exception as exc:  # decided under the lock, with patience
            log.info("%s does not answer its check: %r", name, exc)
            return None
        return _endpoint(name, record)

    def _fingerprint(self, name: str, needs: Mapping[str, Endpoint]) -> str:
        service = self._service(name)
        parts = [str(self.layout.root), service.fingerprint(), {need: dict(needs[need].values) for need in service.needs}]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _choose_ports(self, name: str) -> Record:
        """Choose and remember the ports, so that no other service of this checkout takes them meanwhile."""
        with self._lock("ports"):
            taken = {port for other in self.layout.recorded() if other != name for port in self.layout.read(other).ports.values()}
            record = self.layout.read(name)
            record = replace(record, ports=ports.choose(self._service(name).ports, record.ports, taken), run=None)
            self.layout.write(name, record)
            return record

    def _ports_free(self, service: Service, record: Record) -> bool:
        return all(ports.is_free(record.ports[spec.name] + offset) for spec in service.ports for offset in (0, *spec.also))

    # -- down and status ---------------------------------------------------------------------------------------------------

    def _each_stopped(self, names: Sequence[str] | None, act: Callable[[str], None]) -> None:
        """`act` on each in its own thread, on a service only after all that need it."""
        wanted = set(names if names is not None else self._loaders)
        for name in wanted:
            self._require(name)
        chosen = [name for name in order.by_need(sorted(wanted), self._needs, strict=False) if name in wanted]
        if not self.layout.states.is_dir():
            # Never used, or `.local` was deleted while servers ran.
            marks = {name: self.layout.mark(name) for name in chosen}
            chosen = [
                name
                for name, mark in marks.items()
                if processes.family(None, mark=mark) or processes.family(None, mark=mark + processes.WORK_SUFFIX)
            ]
        if not chosen:
            return
        self.layout.create()
        order.backwards(chosen, self._needs, act)

    def _stop(self, name: str) -> None:
        with self._locked(name, threading.Event()):
            record = self.layout.read(name)
            began = time.monotonic()
            killed = self._clear(name, record)
            with contextlib.suppress(EmrjobsError):
                service = self._service(name)
                if isinstance(service, StartsWork):
                    processes.stop_work(self.layout.mark(name), service.work_timeout)
            if record.run is not None or killed:
                self._tell(Stopped(name, time.monotonic() - began, killed))

    def _stop_and_delete(self, name: str) -> None:
        self._stop(name)
        with self._locked(name, threading.Event()):
            self.layout.forget(name)
            self._tell(Deleted(name))

    def _clear(self, name: str, record: Record) -> bool:
        """Stop every process of the service and forget its run; whether a server had to be killed."""
        stragglers: Sequence[int] = ()
        with contextlib.suppress(EmrjobsError):  # a class that cannot be loaded any more must not keep its server alive
            service = self._service(name)
            if isinstance(service, FindsStragglers) and self.layout.data(name).is_dir():
                stragglers = service.stragglers(self._context(name, record))
        killed = processes.stop(record.run, mark=self.layout.mark(name), others=stragglers)
        if record.run is not None:
            self.layout.write(name, replace(record, run=None))
        return killed

    def _status(self, name: str) -> ServiceStatus:
        self._require(name)
        record = self.layout.read(name) if self.layout.states.is_dir() else Record()
        run = record.run
        server = processes.find(run.server) if run else None
        state: State = "stopped"
        why = None
        if run is not None and server is None:
            code = processes.outcome(self.layout.exit_file(name))[1]
            # A server may end on purpose, after having been idle for long.
            state, why = "stopped" if code == 0 else "crashed", processes.describe_exit(code)
        elif run is not None and not run.ready:
            state = "starting"
        elif run is not None:
            state = "running"
            try:
                service = self._service(name)
                needs = {need: _endpoint(need, self.layout.read(need)) for need in service.needs}
                service.check(self._context(name, record, needs))
            except Exception as exc:  # whatever the check met is the answer
                state, why = "unhealthy", f"does not answer ({' '.join(str(exc).split())[:300] or type(exc).__name__})"
        return ServiceStatus(
            name=name,
            state=state,
            pid=server.pid if server else None,
            ports=record.ports,
            began=run.began if run else None,
            uptime=time.time() - run.began if run and server else None,
            rss=processes.memory(run) if run and server else None,
            log=self.layout.log(name),
            data=self.layout.data(name),
            why=why,
        )

    # -- small things ------------------------------------------------------------------------------------------------------

    def _service(self, name: str) -> Service:
        with self._loading:
            if name not in self._services:
                self._require(name)
                self._services[name] = self._loaders[name](self._settings.get(name, {}))
            return self._services[name]

    def _needs(self, name: str) -> Sequence[str]:
        try:
            return self._service(name).needs
        except (EmrjobsError, ImportError):
            return ()

    def _require(self, name: str) -> None:
        if name not in self._loaders:
            raise ConfigError(f"there is no local service {name!r}", fix=nearest(name, self._loaders, what="service"))

    def _context(
        self, name: str, record: Record, needs: Mapping[str, Endpoint] | None = None, abort: threading.Event | None = None
    ) -> Context:
        layout = self.layout

        def progress(text: str, done: int | None = None, total: int | None = None) -> None:
            if abort is not None and abort.is_set():  # the one way to stop a long download in another thread
                raise ServiceUnavailable(f"the start of {name} was interrupted")
            self._tell(Progress(name, text, done, total))

        layout.data(name).mkdir(parents=True, exist_ok=True)
        layout.private(name).mkdir(parents=True, exist_ok=True, mode=0o700)
        return Context(
            root=layout.root,
            data=layout.data(name),
            private=layout.private(name),
            secret=lambda key: layout.secret(name, key),
            ports=record.ports,
            endpoints=needs or {},
            progress=progress,
        )

    def _tell(self, event: Event) -> None:
        with self._telling:
            self._on_event(event)

    def _lock(self, name: str) -> BaseFileLock:
        from filelock import FileLock  # only starts and stops need it

        return FileLock(self.layout.lock(name), thread_local=False)

    @contextlib.contextmanager
    def _locked(self, name: str, abort: threading.Event) -> Iterator[None]:
        from filelock import Timeout

        lock = self._lock(name)
        told = False
        while True:
            try:
                lock.acquire(timeout=0.5 if told else 0)
                break
            except Timeout:
                if not told:
                    self._tell(Waiting(name))
                told = True
                if abort.is_set():
                    raise
        try:
            yield
        finally:
            lock.release()


class _NeedFailed(ServiceUnavailable):
    """A service was not started because one that it needs was not; that one's own error is the one to show."""


def _result(name: str, value: Future[Endpoint] | Endpoint) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    if value.exception() is not None:
        raise _NeedFailed(f"{name} is not available")
    return value.result()


def _endpoint(name: str, record: Record) -> Endpoint:
    return Endpoint(name, dict(record.values), frozenset(record.secret))


def _note(path: Path, text: str) -> None:
    """A line of ours between the server's, so that starts can be told apart."""
    with path.open("a", encoding="utf-8") as out:
        out.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} emrjobs: {text}\n")
