"""`trino`: a Trino server (coordinator and worker in one) from Maven Central, on a Java runtime of its own.

It is started only where something needs it: a job with `engine: trino`, `emrjobs query --engine trino`, or
`emrjobs local up trino`. Its catalogs are created, and replaced, while it runs: each statement brings those that it names.
"""

from __future__ import annotations

import base64
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from framework.errors import ServiceUnavailable
from framework.local import artifacts
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Settings, check_http
from framework.local.state import write_private
from framework.predicates import literal
from framework.sources.trino_catalogs import text

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


_SPOOL_KEYS = ("EMRJOBS_TRINO_SPOOL_ACCESS_KEY", "EMRJOBS_TRINO_SPOOL_SECRET_KEY")
_SPOOL_SECRET = "EMRJOBS_TRINO_SPOOL_SECRET"
# The catalogs that the server was told last; its own files say the same in Java's escapes.
_RECORD = "catalogs.json"


class Trino:
    """One Trino server.

    Settings: `heap` (as Java writes it, default 2g), `catalogs` (name -> properties that it starts with), `environment`
    (variables that catalogs refer to, with secrets), `spool` (prefix on S3 for results that a client fetches by itself).
    Endpoint values: url, host, port, user.
    """

    name = "trino"
    needs: tuple[str, ...] = ("s3", "aws")
    ports = (PortSpec("http"),)

    def __init__(self, settings: Settings) -> None:
        self._heap = str(settings.get("heap", "2g"))
        self._catalogs: Mapping[str, Mapping[str, str]] = {"tpch": {"connector.name": "tpch"}, **settings.get("catalogs", {})}
        self._environment: Mapping[str, str] = settings.get("environment", {})
        self._spool: str | None = settings.get("spool")

    def fingerprint(self) -> str:
        # The supervisor keeps only a hash of this. Catalogs are not in it: they are replaced while the server runs.
        return json.dumps([_archive().sha256, JAVA, self._heap, dict(self._environment), self._spool, _JVM], sort_keys=True)

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
        self._write_etc(etc, ctx)
        data = ctx.data / "node"
        data.mkdir(exist_ok=True)
        argv = command(etc, data, self._heap, ctx.progress)
        environment = dict(self._environment)
        if self._spool:
            s3 = ctx.endpoints["s3"]
            environment |= {_SPOOL_KEYS[0]: s3["access_key"], _SPOOL_KEYS[1]: s3["secret_key"]}
            environment[_SPOOL_SECRET] = base64.b64encode(ctx.secret("spooling").encode()).decode()
        return Launch(argv, env=environment, cwd=ctx.private, stop_timeout=15.0, start_timeout=420.0)

    def probe(self, ctx: Context) -> None:
        probe(ctx.port("http"))

    def check(self, ctx: Context) -> None:
        check_http(ctx.port("http"), "/v1/info")

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("http")
        return Endpoint(self.name, {"url": f"http://{HOST}:{port}", "host": HOST, "port": str(port), "user": USER})

    def _write_etc(self, etc: Path, ctx: Context) -> None:
        config = {}
        if self._spool:
            config = {"protocol.spooling.enabled": "true", "protocol.spooling.shared-secret-key": f"${{ENV:{_SPOOL_SECRET}}}"}
        catalogs = {f"{name}.properties": text(properties) for name, properties in self._catalogs.items()}
        write_etc(etc, ctx.port("http"), catalogs=catalogs, config=config)
        if self._spool:
            _write(etc / "spooling-manager.properties", self._spooling(ctx.endpoints["s3"]))
        write_private(ctx.private / _RECORD, json.dumps({name: dict(properties) for name, properties in self._catalogs.items()}))

    def _spooling(self, s3: Endpoint) -> dict[str, str]:
        return {
            "spooling-manager.name": "filesystem",
            "fs.s3.enabled": "true",
            "fs.location": f"{self._spool}/",
            "s3.endpoint": s3["url"],
            "s3.region": s3["region"],
            "s3.path-style-access": "true",
            "s3.aws-access-key": f"${{ENV:{_SPOOL_KEYS[0]}}}",
            "s3.aws-secret-key": f"${{ENV:{_SPOOL_KEYS[1]}}}",
        }


def write_etc(
    etc: Path,
    port: int,
    *,
    catalogs: Mapping[str, str],
    config: Mapping[str, str] | None = None,
    levels: Mapping[str, str] | None = None,
) -> None:
    """Write a server's configuration anew. A server looks for its catalogs in etc/ below the folder that it is started in.

    Args:
        port: that it listens on.
        catalogs: text by file name.
        config, levels: properties and log levels beside those that every server has; they win.
    """
    shutil.rmtree(etc, ignore_errors=True)
    (etc / "catalog").mkdir(parents=True)
    base = {
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": str(port),
        "discovery.uri": f"http://{HOST}:{port}",
        "plugin.dir": str(_home() / "plugin"),
        "catalog.management": "dynamic",
        # One user at one machine: what another query of the run before took is free again at once.
        "query.min-expire-age": "5m",
        "web-ui.preview.enabled": "false",
    }
    _write(etc / "config.properties", {**base, **(config or {})})
    _write(etc / "log.properties", {"io.trino": "INFO", "io.airlift": "WARN", "org.apache": "WARN", **(levels or {})})
    for name, content in catalogs.items():
        (etc / "catalog" / name).write_text(content, encoding="utf-8")


def command(etc: Path, data: Path, heap: str, on_progress: Report) -> list[str]:
    """The command line of a server, which has to be started in the folder of `etc`.

    Args:
        etc: as `write_etc` wrote it.
        data: a folder of its own.
        heap: as Java writes it.
    """
    return [
        *(str(artifacts.ensure_jdk(JAVA, on_progress) / "bin" / "java"), "-server", f"-Xmx{heap}", *_JVM),
        *("-cp", f"{_home() / 'lib'}/*"),
        *("-Dnode.environment=local", "-Dnode.id=emrjobs", f"-Dnode.data-dir={data}"),
        *(f"-Dnode.internal-address={HOST}", f"-Dnode.bind-ip={HOST}"),
        *(f"-Dconfig={etc / 'config.properties'}", f"-Dlog.levels-file={etc / 'log.properties'}"),
        "io.trino.server.TrinoServer",
    ]


def probe(port: int) -> None:
    """A row of a real catalog: the server says that it has started before its workers take work. It needs the catalog `tpch`.

    Raises:
        OSError: it is not ready.
        trino.exceptions.Error: it is not ready.
    """
    check_http(port, "/v1/info")
    from trino.dbapi import connect

    with connect(host=HOST, port=port, user=USER, request_timeout=10, max_attempts=1) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1 FROM tpch.tiny.region LIMIT 1")
        if cursor.fetchall() != [[1]]:
            raise OSError("a row that was asked for did not come")


def put_catalogs(server: Endpoint, private: Path, catalogs: Mapping[str, Mapping[str, str]]) -> None:
    """Give a running server these catalogs; others that it has stay. What it has already is not asked for again.

    Args:
        private: the service's folder.

    Raises:
        ServiceUnavailable: it refused one, or does not answer.
    """
    if not _missing(private, catalogs):
        return
    from filelock import FileLock
    from requests import RequestException
    from trino.dbapi import connect
    from trino.exceptions import Error

    with FileLock(private / "catalogs.lock"):
        missing = _missing(private, catalogs)
        try:
            with connect(host=server["host"], port=int(server["port"]), user=server["user"], request_timeout=60) as connection:
                for name in missing:
                    connector = catalogs[name]["connector.name"]
                    listed = ", ".join(
                        f'"{key}" = {literal(value, "trino")}' for key, value in catalogs[name].items() if key != "connector.name"
                    )
                    for statement in (
                        f'DROP CATALOG IF EXISTS "{name}"',
                        f'CREATE CATALOG "{name}" USING {connector}' + (f" WITH ({listed})" if listed else ""),
                    ):
                        connection.cursor().execute(statement).fetchall()
        except (Error, RequestException) as exc:
            raise ServiceUnavailable(f"Trino did not take the catalogs {', '.join(missing)}: {exc}") from exc
        write_private(private / _RECORD, json.dumps({**_recorded(private), **{name: dict(catalogs[name]) for name in missing}}))


def _missing(private: Path, catalogs: Mapping[str, Mapping[str, str]]) -> list[str]:
    has = _recorded(private)
    return [name for name, properties in catalogs.items() if has.get(name) != dict(properties)]


def _recorded(private: Path) -> dict[str, dict[str, str]]:
    try:
        found: dict[str, dict[str, str]] = json.loads((private / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def ensure_server(on_progress: Report) -> Path:
    """The unpacked server, fetched (821 MB) when it is not there yet.

    Raises:
        DownloadFailed: it cannot be fetched.
        ServiceUnavailable: it cannot be unpacked.
    """

    def fetch() -> Path:
        (archive,) = artifacts.ensure_jars("trino-server", on_progress)
        on_progress("unpacking the server")
        return archive

    return artifacts.unpacked(_home(), fetch, _unpack, what="the Trino server", fix="it needs 2 GB of room", once=True)


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
    return artifacts.unpacked_home("trino", _archive())


def _write(file: Path, properties: Mapping[str, str]) -> None:
    file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
