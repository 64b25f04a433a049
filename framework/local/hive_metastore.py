"""`hive`: a Hive metastore 3.1.3 with its tables in the local PostgreSQL, started where `catalog.kind` is hive."""

from __future__ import annotations

import importlib.util
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from framework.errors import MissingExtra, ServiceUnavailable
from framework.local import artifacts, postgres
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Report, Settings, check_tcp, hadoop_xml

JAVA = 17

_DATABASE = "hive_metastore"
_USER = "hive"
_START = Path(__file__).with_name("hive_metastore.bsh")
_SCHEMA = "scripts/metastore/upgrade/postgres/hive-schema-3.1.0.postgres.sql"
_HEAP = "512m"

# What the archive brings and pyspark has newer, or what belongs to its command line tools.
_NOT_FROM_ARCHIVE = ("log4j", "httpcore", "jackson", "derby", "sqlline", "jline")
# Hadoop, and what it and S3A log and talk with.
_FROM_PYSPARK = (
    "hadoop-client-api", "hadoop-client-runtime", "slf4j-api", "jcl-over-slf4j", "log4j-", "commons-codec", "commons-collections-3",
    "httpclient-4", "httpcore-4", "jackson-annotations", "jackson-core-2", "jackson-databind", "joda-time",
)  # fmt: skip
_FROM_SPARK_GROUP = ("hadoop-aws", "aws-java-sdk", "jmespath", "ion-java", "jackson-dataformat-cbor", "postgresql")

_JVM = (
    f"-Xmx{_HEAP}",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    # DataNucleus and Hadoop look into the JDK's own classes.
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "net", "nio", "util", "util.concurrent")),
)


class HiveMetastore:
    """The metastore. Its Thrift API has no passwords; it listens on this machine only.

    Settings: none. Endpoint values: uri (`thrift://...`), host, port.
    """

    name = "hive"
    needs: tuple[str, ...] = ("s3", "postgres")
    ports = (PortSpec("thrift"),)

    def __init__(self, settings: Settings) -> None:
        self._archive, self._beanshell = artifacts.locked_jars("hive-metastore")

    def fingerprint(self) -> str:
        return json.dumps([self._archive.sha256, self._beanshell.sha256, _START.read_text(encoding="utf-8"), _JVM, JAVA])

    def prepare(self, ctx: Context) -> None:
        """Fetch and unpack the metastore once per user.

        Raises:
            DownloadFailed: it cannot be fetched.
            ServiceUnavailable: it cannot be unpacked.
        """
        artifacts.ensure_jdk(JAVA, ctx.progress)
        artifacts.ensure_jars("spark", ctx.progress)
        ensure_unpacked(ctx.progress)

    def launch(self, ctx: Context) -> Launch:
        home = ensure_unpacked(ctx.progress)
        _ensure_schema(ctx, (home / _SCHEMA).read_text(encoding="utf-8"))
        conf = ctx.private / "conf"
        conf.mkdir(exist_ok=True)
        for name, properties in configuration(ctx).items():
            file = conf / name
            file.touch(mode=0o600)
            file.write_text(hadoop_xml(properties), encoding="utf-8")
        java = artifacts.ensure_jdk(JAVA, ctx.progress) / "bin" / "java"
        classpath = ":".join(map(str, [conf, *_classpath(home, ctx.progress)]))
        argv = [str(java), *_JVM, "-cp", classpath, "bsh.Interpreter", str(_START), HOST, str(ctx.port("thrift"))]
        return Launch(argv, start_timeout=120.0)

    def probe(self, ctx: Context) -> None:
        from framework.catalog.hive import HiveCatalog
        from framework.config import model

        address = self.endpoint(ctx)["uri"]
        try:
            HiveCatalog(model.Catalog(kind="hive", warehouse="s3://unused/", uri=address), address).find("default.unknown")
        except ServiceUnavailable as exc:
            raise OSError(exc.message) from exc  # to a supervisor one of our errors would mean: never

    def check(self, ctx: Context) -> None:
        check_tcp(ctx.port("thrift"))

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("thrift")
        return Endpoint(self.name, {"uri": f"thrift://{HOST}:{port}", "host": HOST, "port": str(port)})


def configuration(ctx: Context) -> Mapping[str, Mapping[str, str]]:
    """The metastore's configuration files: name -> properties; they hold the database's password and the S3 keys."""
    database, s3 = ctx.endpoints["postgres"], ctx.endpoints["s3"]
    return {
        "metastore-site.xml": {
            "javax.jdo.option.ConnectionURL": f"jdbc:postgresql://{database['host']}:{database['port']}/{_DATABASE}",
            "javax.jdo.option.ConnectionDriverName": "org.postgresql.Driver",
            "javax.jdo.option.ConnectionUserName": _USER,
            "javax.jdo.option.ConnectionPassword": ctx.secret("password"),
            "metastore.thrift.uris": f"thrift://{HOST}:{ctx.port('thrift')}",
            # The default database, which no job of ours writes to.
            "metastore.warehouse.dir": (ctx.data / "default").as_uri(),
            # The default needs classes of the whole Hive.
            "metastore.task.threads.always": "org.apache.hadoop.hive.metastore.events.EventCleanerTask",
            "metastore.expression.proxy": "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
            # It would list the files of every new partition.
            "metastore.stats.autogather": "false",
        },
        "core-site.xml": {
            "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "fs.s3a.endpoint": s3["url"],
            "fs.s3a.endpoint.region": s3["region"],
            "fs.s3a.access.key": s3["access_key"],
            "fs.s3a.secret.key": s3["secret_key"],
            "fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": str(s3["url"].startswith("https")).lower(),
        },
    }


def ensure_unpacked(on_progress: Report) -> Path:
    """The metastore's folder, fetched (28 MB) when it is not there yet.

    Raises:
        DownloadFailed: it cannot be fetched.
        ServiceUnavailable: it cannot be unpacked.
    """
    archive = artifacts.locked_jars("hive-metastore")[0]

    def unpack(packed: Path, scratch: Path) -> Path:
        with tarfile.open(packed) as tar:
            tar.extractall(scratch, filter="data")
        (unpacked,) = scratch.iterdir()
        return unpacked

    return artifacts.unpacked(
        artifacts.unpacked_home("hive-metastore", archive),
        lambda: artifacts.ensure_jars("hive-metastore", on_progress)[0],
        unpack,
        what="the Hive metastore",
    )


def _ensure_schema(ctx: Context, script: str) -> None:
    """A database of its own; its tables are made in one transaction, as MetastoreSchemaTool makes them, without a JVM."""
    server = ctx.endpoints["postgres"]
    postgres.ensure_database(server, _DATABASE, role=_USER, password=ctx.secret("password"))
    ours = replace(server, values={**server.values, "user": _USER, "password": ctx.secret("password")})
    with postgres.connect(ours, database=_DATABASE, autocommit=False) as connection:
        if connection.execute("select to_regclass('public.\"VERSION\"')").fetchone() == (None,):
            ctx.progress("creating the metastore's tables")
            connection.execute(script.encode())


def _classpath(home: Path, on_progress: Report) -> Sequence[Path]:
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise MissingExtra("the Hive metastore takes Hadoop from pyspark, which is not installed", fix="pip install 'emrjobs[spark]'")
    pyspark = Path(spec.origin).parent / "jars"
    return [
        *(jar for jar in sorted((home / "lib").glob("*.jar")) if not jar.name.startswith(_NOT_FROM_ARCHIVE)),
        *(jar for jar in sorted(pyspark.glob("*.jar")) if jar.name.startswith(_FROM_PYSPARK)),
        *(jar for jar in artifacts.ensure_jars("spark", on_progress) if jar.name.startswith(_FROM_SPARK_GROUP)),
        artifacts.ensure_jars("hive-metastore", on_progress)[1],
    ]
