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

from framework.errors import ServiceUnavailable
from framework.local import query_server
from framework.local.query_server import Program, QueryServer, write_properties
from framework.local.service import Context, Endpoint, Launch, Settings
from framework.predicates import literal
from framework.sources.trino_catalogs import Catalogs

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


def _unpack(archive: Path, target: Path) -> Path:
    with tarfile.open(archive) as tar:
        # All of it: plugins share files as hard links, and the first name of one may lie in a plugin that is not kept.
        tar.extractall(target, filter="data")
    (unpacked,) = target.iterdir()
    for plugin in (unpacked / "plugin").iterdir():
        if plugin.name not in _PLUGINS:
            shutil.rmtree(plugin)
    return unpacked


PROGRAM = Program(
    name="trino",
    label="Trino",
    java=25,  # Trino 476 needs 24 or newer (Trino, Deploying Trino); 25 is the newest runtime on PyPI
    jvm=_JVM,
    main="io.trino.server.TrinoServer",
    room="2 GB",
    unpack=_unpack,
)


class Trino(QueryServer):
    """One Trino server.

    Settings beside those of every query server, whose `environment` holds what catalogs refer to: `spool` (prefix on S3 for results
    that a client fetches by itself).
    """

    program = PROGRAM
    name = "trino"
    needs: tuple[str, ...] = ("s3", "aws")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._spool: str | None = settings.get("spool")

    def fingerprint(self) -> str:
        # The supervisor keeps only a hash of this. Catalogs are not in it: they are replaced while the server runs.
        return json.dumps([PROGRAM.archive.sha256, PROGRAM.java, self._heap, dict(self._environment), self._spool, _JVM], sort_keys=True)

    def launch(self, ctx: Context) -> Launch:
        etc = ctx.private / "etc"
        self._write_etc(etc, ctx)
        environment = dict(self._environment)
        if self._spool:
            s3 = ctx.endpoints["s3"]
            environment |= {_SPOOL_KEYS[0]: s3["access_key"], _SPOOL_KEYS[1]: s3["secret_key"]}
            environment[_SPOOL_SECRET] = base64.b64encode(ctx.secret("spooling").encode()).decode()
        return Launch(self._command(etc, ctx), env=environment, cwd=ctx.private, stop_timeout=15.0, start_timeout=420.0)

    def probe(self, ctx: Context) -> None:
        query_server.probe(ctx.port("http"))

    def _write_etc(self, etc: Path, ctx: Context) -> None:
        config = {}
        if self._spool:
            config = {"protocol.spooling.enabled": "true", "protocol.spooling.shared-secret-key": f"${{ENV:{_SPOOL_SECRET}}}"}
        write_etc(etc, ctx.port("http"), catalogs=Catalogs(self._catalogs).files(), config=config)
        if self._spool:
            write_properties(etc / "spooling-manager.properties", self._spooling(ctx.endpoints["s3"]))
        query_server.record(ctx.private, self._catalogs)

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
    """Write a server's configuration anew; see `Program.write_etc`.

    Args:
        config, levels: properties and log levels beside those that every Trino server has; they win.
    """
    base = {
        "catalog.management": "dynamic",
        # One user at one machine: what another query of the run before took is free again at once.
        "query.min-expire-age": "5m",
        "web-ui.preview.enabled": "false",
    }
    told = {"io.trino": "INFO", "io.airlift": "WARN", "org.apache": "WARN", **(levels or {})}
    PROGRAM.write_etc(etc, port, catalogs=catalogs, config={**base, **(config or {})}, levels=told)


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
        query_server.record(private, {**query_server.recorded(private), **{name: catalogs[name] for name in missing}})


def _missing(private: Path, catalogs: Mapping[str, Mapping[str, str]]) -> list[str]:
    has = query_server.recorded(private)
    return [name for name, properties in catalogs.items() if has.get(name) != dict(properties)]
