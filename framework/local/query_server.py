"""What the servers of Trino and PrestoDB have in common since before the fork: command line, files, readiness, catalogs by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.local import artifacts
from framework.local.service import HOST, Context, Endpoint, PortSpec, Settings, check_http
from framework.local.state import write_private

if TYPE_CHECKING:
    from framework.local.service import Report

USER = "emrjobs"
# The catalogs that a server was told last; its own files say the same in Java's escapes.
_RECORD = "catalogs.json"


@dataclass(frozen=True)
class Program:
    """One of the two, as it is fetched and started.

    Attributes:
        name: of its service; its archive is the group `<name>-server` of the locked jars.
        label: for messages.
        java: major version of the runtime that it gets.
        jvm: options of the JVM.
        main: class that is started.
        room: that it needs on disk, for messages.
        unpack: unpacks the archive into a folder, and returns the folder below it that is the server.
    """

    name: str
    label: str
    java: int
    jvm: tuple[str, ...]
    main: str
    room: str
    unpack: Callable[[Path, Path], Path]

    @property
    def archive(self) -> artifacts.Jar:
        """What is fetched."""
        (archive,) = artifacts.locked_jars(f"{self.name}-server")
        return archive

    @property
    def home(self) -> Path:
        """The unpacked server's folder."""
        return artifacts.unpacked_home(self.name, self.archive)

    def ensure(self, on_progress: Report) -> Path:
        """The unpacked server, fetched when it is not there yet.

        Raises:
            DownloadFailed: it cannot be fetched.
            ServiceUnavailable: it cannot be unpacked.
        """

        def fetch() -> Path:
            (archive,) = artifacts.ensure_jars(f"{self.name}-server", on_progress)
            on_progress("unpacking the server")
            return archive

        return artifacts.unpacked(
            self.home, fetch, self.unpack, what=f"the {self.label} server", fix=f"it needs {self.room} of room", once=True
        )

    def command(self, etc: Path, data: Path, heap: str, on_progress: Report) -> list[str]:
        """The command line of a server, which has to be started in the folder of `etc`.

        Args:
            etc: as `write_etc` wrote it.
            data: a folder of its own.
            heap: as Java writes it.
        """
        return [
            *(str(artifacts.ensure_jdk(self.java, on_progress) / "bin" / "java"), "-server", f"-Xmx{heap}", *self.jvm),
            *("-cp", f"{self.home / 'lib'}/*"),
            *("-Dnode.environment=local", "-Dnode.id=emrjobs", f"-Dnode.data-dir={data}"),
            *(f"-Dnode.internal-address={HOST}", f"-Dnode.bind-ip={HOST}"),
            *(f"-Dconfig={etc / 'config.properties'}", f"-Dlog.levels-file={etc / 'log.properties'}"),
            self.main,
        ]

    def write_etc(self, etc: Path, port: int, *, catalogs: Mapping[str, str], config: Mapping[str, str], levels: Mapping[str, str]) -> None:
        """Write a server's configuration anew. A server looks for its catalogs in etc/ below the folder that it is started in.

        Args:
            port: that it listens on.
            catalogs: text by file name.
            config: properties beside those that both programs have; they win.
            levels: log levels.
        """
        shutil.rmtree(etc, ignore_errors=True)
        (etc / "catalog").mkdir(parents=True)
        base = {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": str(port),
            "discovery.uri": f"http://{HOST}:{port}",
            "plugin.dir": str(self.home / "plugin"),
        }
        write_properties(etc / "config.properties", {**base, **config})
        write_properties(etc / "log.properties", levels)
        for name, content in catalogs.items():
            (etc / "catalog" / name).write_text(content, encoding="utf-8")


class QueryServer:
    """The service of one program.

    Settings: `heap` (as Java writes it, default 2g), `catalogs` (name -> properties that it starts with), `environment` (its own
    variables, with secrets). Endpoint values: url, host, port, user.
    """

    program: Program
    ports = (PortSpec("http"),)

    def __init__(self, settings: Settings) -> None:
        self._heap = str(settings.get("heap", "2g"))
        self._catalogs: Mapping[str, Mapping[str, str]] = {"tpch": {"connector.name": "tpch"}, **settings.get("catalogs", {})}
        self._environment: Mapping[str, str] = settings.get("environment", {})

    def prepare(self, ctx: Context) -> None:
        """Fetch and unpack the server once per user.

        Raises:
            DownloadFailed: it cannot be fetched.
            ServiceUnavailable: there is not enough room for it.
        """
        artifacts.ensure_jdk(self.program.java, ctx.progress)
        self.program.ensure(ctx.progress)

    def check(self, ctx: Context) -> None:
        check_http(ctx.port("http"), "/v1/info")

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("http")
        return Endpoint(self.program.name, {"url": f"http://{HOST}:{port}", "host": HOST, "port": str(port), "user": USER})

    def _command(self, etc: Path, ctx: Context) -> list[str]:
        data = ctx.data / "node"
        data.mkdir(exist_ok=True)
        return self.program.command(etc, data, self._heap, ctx.progress)


def probe(port: int, **options: Any) -> None:
    """A row of a real catalog: a server says that it has started before its workers take work. It needs the catalog `tpch`.

    Args:
        options: further arguments of the connection.

    Raises:
        OSError: it is not ready.
        trino.exceptions.Error: it is not ready.
    """
    check_http(port, "/v1/info")
    from trino.dbapi import connect

    with connect(host=HOST, port=port, user=USER, request_timeout=10, max_attempts=1, **options) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1 FROM tpch.tiny.region LIMIT 1")
        if cursor.fetchall() != [[1]]:
            raise OSError("a row that was asked for did not come")


def recorded(private: Path) -> dict[str, dict[str, str]]:
    """The catalogs that a server was told last; none when it was told none.

    Args:
        private: the service's folder.
    """
    try:
        found: dict[str, dict[str, str]] = json.loads((private / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def record(private: Path, catalogs: Mapping[str, Mapping[str, str]]) -> None:
    """Write down what `recorded` reads."""
    write_private(private / _RECORD, json.dumps({name: dict(properties) for name, properties in catalogs.items()}))


def write_properties(file: Path, properties: Mapping[str, str]) -> None:
    """Write a file of properties whose values need no escapes."""
    file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
