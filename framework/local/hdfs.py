"""`hdfs`: a NameNode and one DataNode of Hadoop 3.3.4 in one JVM, started where something lies at `hdfs://`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from framework.local import artifacts
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Settings, check_http, hadoop_xml

JAVA = 17

_START = Path(__file__).with_name("hdfs.bsh")
_LOG = """\
log4j.rootLogger=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %-5p %c{1}: %m%n
# A line for each block and each heartbeat that says nothing.
log4j.logger.BlockStateChange=WARN
log4j.logger.org.apache.hadoop.hdfs.server.datanode.DataNode.clienttrace=WARN
"""
_WEB_APPS = ("hdfs", "datanode", "secondary", "static", "logs")

_JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    # Names of this machine may resolve to an IPv6 address, on which nothing listens.
    "-Djava.net.preferIPv4Stack=true",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "nio", "util", "util.concurrent")),
)


class Hdfs:
    """The cluster's file system, with blocks of 128 MB and one copy of each.

    It asks nobody for a password; it listens on this machine only.

    Settings: none. Endpoint values: uri (`hdfs://...`), web (WebHDFS), core_site (a configuration file for Hadoop's clients), host, port.
    """

    name = "hdfs"
    needs: tuple[str, ...] = ()
    ports = tuple(PortSpec(name) for name in ("namenode", "namenode_http", "datanode", "datanode_http", "datanode_ipc"))

    def __init__(self, settings: Settings) -> None:
        self._jars = artifacts.locked_jars("hdfs")

    def fingerprint(self) -> str:
        return json.dumps([[jar.sha256 for jar in self._jars], _START.read_text(encoding="utf-8"), _JVM, JAVA])

    def prepare(self, ctx: Context) -> None:
        """Fetch the servers once per user.

        Raises:
            DownloadFailed: they cannot be fetched.
        """
        artifacts.ensure_jdk(JAVA, ctx.progress)
        artifacts.ensure_jars("hdfs", ctx.progress)

    def launch(self, ctx: Context) -> Launch:
        conf = ctx.private / "conf"
        for folder in (conf, *(conf / "webapps" / name for name in _WEB_APPS)):
            folder.mkdir(parents=True, exist_ok=True)
        for file, properties in configuration(ctx).items():
            (conf / file).write_text(hadoop_xml(properties), encoding="utf-8")
        (conf / "log4j.properties").write_text(_LOG, encoding="utf-8")
        _core_site(ctx).write_text(hadoop_xml(client_configuration(ctx)), encoding="utf-8")
        java = artifacts.ensure_jdk(JAVA, ctx.progress) / "bin" / "java"
        classpath = ":".join(map(str, [conf, *artifacts.ensure_jars("hdfs", ctx.progress)]))
        argv = [str(java), *_JVM, "-cp", classpath, "bsh.Interpreter", str(_START)]
        return Launch(argv, start_timeout=180.0, stop_timeout=20.0)

    def probe(self, ctx: Context) -> None:
        """A file is written and read: the NameNode answers before it knows its DataNode."""
        import fsspec

        port = ctx.port("namenode_http")
        files = fsspec.filesystem("webhdfs", host=HOST, port=port, user=user(), skip_instance_cache=True)
        files.pipe_file("/tmp/.emrjobs-probe", b"x")
        if files.cat_file("/tmp/.emrjobs-probe") != b"x":
            raise OSError("a file that was written could not be read")

    def check(self, ctx: Context) -> None:
        check_http(ctx.port("namenode_http"), "/webhdfs/v1/?op=GETFILESTATUS")

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("namenode")
        values = {
            "uri": f"hdfs://{HOST}:{port}",
            "web": f"http://{HOST}:{ctx.port('namenode_http')}",
            "core_site": str(_core_site(ctx)),
            "host": HOST,
            "port": str(port),
        }
        return Endpoint(self.name, values)


def client_configuration(ctx: Context) -> Mapping[str, str]:
    """What Hadoop's clients need so that `hdfs:///path` is a path of this file system."""
    return {"fs.defaultFS": f"hdfs://{HOST}:{ctx.port('namenode')}", "dfs.replication": "1"}


def configuration(ctx: Context) -> Mapping[str, Mapping[str, str]]:
    """The servers' configuration files: name -> properties. All that is not here is Hadoop's default, blocks of 128 MB among it."""

    def address(port: str) -> str:
        return f"{HOST}:{ctx.port(port)}"

    return {
        "core-site.xml": {**client_configuration(ctx), "hadoop.tmp.dir": str(ctx.data / "tmp"), "hadoop.http.staticuser.user": user()},
        "hdfs-site.xml": {
            "dfs.namenode.name.dir": (ctx.data / "name").as_uri(),
            "dfs.datanode.data.dir": (ctx.data / "data").as_uri(),
            "dfs.namenode.rpc-address": address("namenode"),
            "dfs.namenode.http-address": address("namenode_http"),
            "dfs.datanode.address": address("datanode"),
            "dfs.datanode.http.address": address("datanode_http"),
            "dfs.datanode.ipc.address": address("datanode_ipc"),
            "dfs.datanode.hostname": HOST,
            # Without a name service in reach it would take long to find out that 127.0.0.1 has no name.
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            # After a restart it waits for its one DataNode and for nothing else.
            "dfs.namenode.safemode.extension": "0",
            "dfs.namenode.safemode.min.datanodes": "1",
        },
    }


def user() -> str:
    """Whom clients are taken for: the account that runs everything here, which is HDFS's superuser."""
    import getpass

    return getpass.getuser()


def _core_site(ctx: Context) -> Path:
    # Its name changes with what it says: Trino, which is told the name only, is started again then.
    return ctx.private / f"core-site-{ctx.port('namenode')}.xml"
