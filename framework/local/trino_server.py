"""`trino`: a Trino server (coordinator and worker in one) from Maven Central, on a Java runtime of its own.

It is started only where something needs it: a job with `engine: trino`, `emrjobs query --engine trino`, or
`emrjobs local up trino`.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from framework.errors import ServiceUnavailable
from framework.local import artifacts
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Settings, check_http

if TYPE_CHECKING:
    from framework.local.service import Report

JAVA = 25
"""Trino 476 needs Java 24 or newer (Trino, Deploying Trino); 25 is the newest runtime on PyPI."""

USER = "emrjobs"

# The archive has 60 plugins. PostgreSQL's needs geospatial's types.
_PLUGINS = {"hive", "iceberg", "postgresql", "geospatial", "mysql", "opensearch", "memory", "tpch", "spooling-filesystem"}

# As Trino's documentation has them (Deploying Trino, JVM config).
_JVM = (
    "-XX:InitialRAMPercentage=10",
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=32M",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:ReservedCodeCacheSize=512M",
    "-XX:PerMethodRecompilationCutoff=10000",
    "-XX:PerBytecodeRecompilationCutoff=10000",
    "-XX:+EnableDynamicAgentLoading",
    "-Djdk.attach.allowAttachSelf=true",
    "-Djdk.nio.maxCachedBufferSize=2000000",
    "-Dfile.encoding=UTF-8",
    "--add-modules=jdk.incubator.vector",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


class Trino:
    """One Trino server.

    Settings: `heap` (as Java writes it, default 2g), `catalogs` (file name -> text, as `framework.sources.trino_catalogs`
    renders them), `environment` (variables that the catalogs refer to, with secrets). Endpoint values: url, host, port, user.
    """

    name = "trino"
    needs: tuple[str, ...] = ("s3", "aws", "postgres")
    ports = (PortSpec("http"),)

    def __init__(self, settings: Settings) -> None:
        self._heap = str(settings.get("heap", "2g"))
        self._catalogs: Mapping[str, str] = settings.get("catalogs", {"tpch.properties": "connector.name=tpch\n"})
        self._environment: Mapping[str, str] = settings.get("environment", {})

    def fingerprint(self) -> str:
        # The supervisor keeps only a hash of this.
        return json.dumps([_archive().sha256, JAVA, self._heap, dict(self._catalogs), dict(self._environment), _JVM], sort_keys=True)

    def prepare(self, ctx: Context) -> None:
        """Fetch and unpack the server once per user.

        Raises:
            DownloadFailed: it cannot be fetched.
            ServiceUnavailable: there is not enough room for it.
        """
        artifacts.ensure_jdk(JAVA, ctx.progress)
        ensure_server(ctx.progress)

    def launch(self, ctx: Context) -> Launch:
        home = _home()
        etc = ctx.private / "etc"
        self._write_etc(etc, home, ctx)
        data = ctx.data / "node"
        data.mkdir(exist_ok=True)
        argv = [
            *(str(artifacts.ensure_jdk(JAVA, ctx.progress) / "bin" / "java"), "-server", f"-Xmx{self._heap}", *_JVM),
            *("-cp", f"{home / 'lib'}/*"),
            *("-Dnode.environment=local", "-Dnode.id=emrjobs", f"-Dnode.data-dir={data}"),
            *(f"-Dnode.internal-address={HOST}", f"-Dnode.bind-ip={HOST}"),
            *(f"-Dconfig={etc / 'config.properties'}", f"-Dlog.levels-file={etc / 'log.properties'}"),
            "io.trino.server.TrinoServer",
        ]
        return Launch(argv, env=self._environment, cwd=data, stop_timeout=15.0, start_timeout=180.0)

    def probe(self, ctx: Context) -> None:
        """A row of a real catalog: the server says that it has started before its workers take work."""
        self.check(ctx)
        from trino.dbapi import connect

        with connect(host=HOST, port=ctx.port("http"), user=USER, request_timeout=10, max_attempts=1) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT 1 FROM tpch.tiny.region LIMIT 1")
            if cursor.fetchall() != [[1]]:
                raise OSError("a row that was asked for did not come")

    def check(self, ctx: Context) -> None:
        check_http(ctx.port("http"), "/v1/info")

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("http")
        return Endpoint(self.name, {"url": f"http://{HOST}:{port}", "host": HOST, "port": str(port), "user": USER})

    def _write_etc(self, etc: Path, home: Path, ctx: Context) -> None:
        shutil.rmtree(etc, ignore_errors=True)
        (etc / "catalog").mkdir(parents=True)
        port = ctx.port("http")
        config = {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": str(port),
            "discovery.uri": f"http://{HOST}:{port}",
            "plugin.dir": str(home / "plugin"),
            "catalog.config-dir": str(etc / "catalog"),
            # One user at one machine: what another query of the run before took is free again at once.
            "query.min-expire-age": "5m",
            "web-ui.preview.enabled": "false",
        }
        _write(etc / "config.properties", config)
        _write(etc / "log.properties", {"io.trino": "INFO", "io.airlift": "WARN", "org.apache": "WARN"})
        for name, text in self._catalogs.items():
            (etc / "catalog" / name).write_text(text, encoding="utf-8")


def ensure_server(on_progress: Report) -> Path:
    """The unpacked server, fetched (821 MB) when it is not there yet.

    Raises:
        DownloadFailed: it cannot be fetched.
        ServiceUnavailable: it cannot be unpacked.
    """
    from filelock import FileLock

    home = _home()
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.parent / "unpacking.lock"):
        if home.is_dir():  # another process was faster
            return home
        (archive,) = artifacts.ensure_jars("trino-server", on_progress)
        for broken in home.parent.glob(".new-*"):  # of a start that was killed
            shutil.rmtree(broken, ignore_errors=True)
        on_progress("unpacking the server")
        try:
            with tempfile.TemporaryDirectory(dir=home.parent, prefix=".new-") as scratch:
                unpacked = _unpack(archive, Path(scratch))
                unpacked.rename(home)
        except (OSError, tarfile.TarError) as exc:
            raise ServiceUnavailable(
                f"the Trino server cannot be unpacked: {exc}", where=home.parent, fix="it needs 2 GB of room; EMRJOBS_CACHE_DIR moves it"
            ) from exc
        archive.unlink(missing_ok=True)
    return home


def _unpack(archive: Path, target: Path) -> Path:
    with tarfile.open(archive) as tar:
        # All of it: plugins share files as hard links, and the first name of one may lie in a plugin that is not kept.
        tar.extractall(target, filter="data")
    (unpacked,) = target.iterdir()
    for plugin in (unpacked / "plugin").iterdir():
        if plugin.name not in _PLUGINS:
            shutil.rmtree(plugin)
    return unpacked


def _archive() -> artifacts.Jar:
    (archive,) = artifacts.locked_jars("trino-server")
    return archive


def _home() -> Path:
    archive = _archive()
    return artifacts.cache_dir() / "trino" / f"{archive.coordinates.split(':')[2]}-{archive.sha256[:12]}"


def _write(file: Path, properties: Mapping[str, str]) -> None:
    file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
