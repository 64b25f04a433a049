"""What a local service is: the contract between the supervisor and one server program.

A service says how its server is prepared, started and asked for its health; the supervisor owns everything else (ports,
processes, locks, logs, restarts). A new service is one class with the methods of `Service` and one line in
`framework.local.SERVICES`.

    class Trino:
        name = "trino"
        needs = ("s3", "aws")
        ports = (PortSpec("http"),)

        def __init__(self, settings: Mapping[str, Any]) -> None: ...
"""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from xml.sax.saxutils import escape

HOST = "127.0.0.1"
"""The only address a local service listens on."""


@dataclass(frozen=True)
class PortSpec:
    """One TCP port that a service listens on.

    Attributes:
        name: what `Context.port(name)` is asked for.
        also: offsets that must be free too and that the server takes by itself (SeaweedFS: gRPC on port + 10000).
    """

    name: str
    also: tuple[int, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """How clients reach a running service.

    Attributes:
        values: what `${local:<name>.<key>}` in a config resolves to; all text.
        secret: keys of `values` that are never printed.
    """

    name: str
    values: Mapping[str, str]
    secret: frozenset[str] = frozenset()

    def __getitem__(self, key: str) -> str:
        return self.values[key]

    def shown(self) -> dict[str, str]:
        """The values with secrets masked, for people to see."""
        return {key: "****" if key in self.secret else value for key, value in self.values.items()}

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, {self.shown()!r})"


@dataclass(frozen=True)
class Launch:
    """The server process to start.

    Attributes:
        argv: program and arguments. Never a secret: any user of the machine can read them.
        env: added to (None: removed from) the environment of the command that starts the service.
        cwd: working directory; None is the service's data directory.
        endless_stdin: give the server a standard input that never ends (programs that stop at end of file, such as py4j's
            gateway); otherwise it reads /dev/null.
        user: system user to run as; only when this process is root.
        stop_signal: asks the server to stop; SIGKILL to all that is left follows after `stop_timeout` seconds.
        start_timeout: seconds from start until the first successful probe.
    """

    argv: Sequence[str]
    env: Mapping[str, str | None] = field(default_factory=dict)
    cwd: Path | None = None
    endless_stdin: bool = False
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 10.0
    start_timeout: float = 60.0


class Report(Protocol):
    """Takes the progress of something long: what is being done, and bytes done and in all where known."""

    def __call__(self, text: str, done: int | None = None, total: int | None = None) -> None: ...


def _unheard(text: str, done: int | None = None, total: int | None = None) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Context:
    """What the supervisor hands to a service's methods.

    Attributes:
        root: the project's root folder.
        data: the service's own folder for data (`.local/data/<name>`); exists; deleted by reset.
        private: the service's own folder for small files with secrets (`.local/state/<name>`, mode 0700); exists; deleted by reset.
        ports: port numbers by `PortSpec.name`; empty in `prepare`.
        endpoints: the endpoints of all services in `needs`; empty in `prepare`.
        progress: tells whoever watches, `progress("downloading trino-server", done, total)`.
        secret: `secret(key)`: a random text of 32 letters and digits, made once per checkout and kept in a 0600 file.
    """

    root: Path
    data: Path
    private: Path
    secret: Callable[[str], str]
    ports: Mapping[str, int] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    progress: Report = _unheard

    def port(self, name: str) -> int:
        """The port chosen for a `PortSpec`; the same after a restart whenever it is still free."""
        return self.ports[name]


class Service(Protocol):
    """One server program of the embedded target. Holds no state: every method is told where it works by its context.

    Attributes:
        name: the word after `emrjobs local up`.
        needs: services that have to be ready before `launch`.
        ports: ports to find free ones for.
    """

    name: str
    needs: tuple[str, ...]
    ports: tuple[PortSpec, ...]

    def fingerprint(self) -> str:
        """Changes when a running server has to be restarted (version, settings). Cheap: asked by every `up`.

        The supervisor itself adds the endpoints of `needs`: a service is restarted when one of those moves.
        """

    def prepare(self, ctx: Context) -> None:
        """Download, unpack, initialise. Idempotent and safe to repeat after a crash in the middle.

        Runs under the service's lock, before every start, at the same time as the start of what the service needs.

        Raises:
            EmrjobsError: cannot be prepared; shown as it is.
        """

    def launch(self, ctx: Context) -> Launch:
        """The process to start."""

    def probe(self, ctx: Context) -> None:
        """Do one real operation (PUT and GET, `select 1`) and return; asked again and again after a start.

        Raises:
            EmrjobsError: will never become ready; the start fails at once.
            Exception: any other: not ready yet. Its text is shown when the time is over.
        """

    def check(self, ctx: Context) -> None:
        """Raise unless the running server still answers. At most some milliseconds, imports nothing heavy: asked by every command."""

    def endpoint(self, ctx: Context) -> Endpoint:
        """How clients reach it. Pure: computed from ports and secrets, asks nobody."""


@runtime_checkable
class FindsStragglers(Protocol):
    """A service whose server has helper processes that outlive it in sessions of their own (PostgreSQL's backends)."""

    def stragglers(self, ctx: Context) -> Sequence[int]:
        """Process ids that are left of a dead server and must be gone before another may start on the same data."""


@runtime_checkable
class StartsWork(Protocol):
    """A service whose server starts processes that outlive it (EMR steps): a restart leaves them alone, a stop ends them.

    They carry the mark of the service with `processes.WORK_SUFFIX`.

    Attributes:
        work_timeout: seconds that they get to end by themselves.
    """

    work_timeout: float


Settings = Mapping[str, Any]
"""Settings of one service, as its class takes them."""


def check_tcp(port: int, *, timeout: float = 1.0) -> None:
    """Raise OSError unless something accepts connections on the port."""
    with socket.create_connection((HOST, port), timeout=timeout):
        pass


def hadoop_xml(properties: Mapping[str, str]) -> str:
    """A configuration file as Hadoop and Hive read it."""
    rows = "".join(f"  <property><name>{name}</name><value>{escape(value)}</value></property>\n" for name, value in properties.items())
    return f"<configuration>\n{rows}</configuration>\n"


def check_http(port: int, path: str = "/", *, status: Sequence[int] = (200,), timeout: float = 2.0) -> None:
    """Raise OSError unless GET `path` answers with one of `status`."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
    except http.client.HTTPException as exc:
        raise OSError(f"GET {path} on port {port}: {exc!r}") from exc
    finally:
        connection.close()
    if answer.status not in status:
        raise OSError(f"GET {path} on port {port} answered {answer.status}")
