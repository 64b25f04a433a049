"""What a local node's configuration files hold before the cluster's classifications are laid over them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from framework.local.aws.emr.contract import ClusterSpec
from framework.local.aws.emr.execution import filesystem
from framework.local.aws.emr.execution.configuration import Properties
from framework.local.aws.emr.execution.node import Node

DEFAULT_FS = "EMRJOBS_DEFAULT_FS"
"""Environment variable: replaces the default file system for one command."""

GLUE_FACTORY = "com.amazonaws.glue.catalog.metastore.AWSGlueDataCatalogHiveClientFactory"
_FACTORY_KEY = "hive.metastore.client.factory.class"
_S3A = "org.apache.hadoop.fs.s3a.S3AFileSystem"


def defaults(node: Node, cluster: ClusterSpec, wanted: Mapping[str, Properties]) -> dict[str, dict[str, str]]:
    """Classifications of the node itself: S3 through the local endpoint, HDFS in a folder, Spark in one process.

    Keys are never in a file: S3A's default providers find them in the environment.
    """
    return {
        "core-site": _core(node, cluster),
        "mapred-site": {"mapreduce.framework.name": "local", "mapreduce.jobtracker.address": "local"},
        "yarn-site": {},
        "hdfs-site": {},
        "spark-defaults": _spark(node, cluster, wanted),
        "spark-hive-site": _hive(node),
        "hive-site": _hive(node),
        # Pig's local mode reads no core-site.xml.
        "pig-properties": {key: value for key, value in _core(node, cluster).items() if key != "fs.defaultFS"},
        "spark-log4j2": _LOG4J2,
        "hadoop-log4j2": _HADOOP_LOG4J2,
        "hadoop-syslog": _HADOOP_SYSLOG,
    }


def s3_endpoint(cluster: ClusterSpec) -> str | None:
    """URL that the cluster's S3 clients use; None is AWS itself."""
    return cluster.runtime.get("AWS_ENDPOINT_URL_S3") or cluster.runtime.get("AWS_ENDPOINT_URL")


def _core(node: Node, cluster: ClusterSpec) -> dict[str, str]:
    authority = node.cluster.lower()
    conf = {
        # hdfs:// is a folder of the cluster, shown under its own scheme (Hadoop's ViewFileSystemOverloadScheme, on good terms with Hive).
        "fs.defaultFS": f"${{env.{DEFAULT_FS}:-hdfs://{authority}}}",
        "fs.hdfs.impl": filesystem.CLASS,
        "fs.viewfs.overload.scheme.target.hdfs.impl": "org.apache.hadoop.fs.LocalFileSystem",
        "fs.viewfs.overload.scheme.target.file.impl": "org.apache.hadoop.fs.LocalFileSystem",
        f"fs.viewfs.mounttable.{authority}.linkFallback": node.hdfs.as_uri(),
        "fs.viewfs.mounttable.default.linkFallback": node.hdfs.as_uri(),
        "fs.AbstractFileSystem.hdfs.impl": "org.apache.hadoop.fs.viewfs.ViewFs",
        # The user of a node's processes, whom this machine does not know.
        "hadoop.user.group.static.mapping.overrides": "dr.who=;hadoop=hadoop",
        "fs.s3.impl": _S3A,
        "fs.s3n.impl": _S3A,
        "fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
        "fs.s3a.endpoint.region": cluster.region,
        "fs.s3a.fast.upload.buffer": "bytebuffer",
        "fs.s3a.threads.max": "32",
        "hadoop.tmp.dir": str(node.root / "mnt/tmp/hadoop"),
        "fs.s3a.buffer.dir": str(node.root / "mnt/tmp/s3a"),
    }
    if endpoint := s3_endpoint(cluster):
        conf |= {
            "fs.s3a.endpoint": endpoint,
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": str(urlsplit(endpoint).scheme == "https").lower(),
        }
    return conf


def _spark(node: Node, cluster: ClusterSpec, wanted: Mapping[str, Properties]) -> dict[str, str]:
    conf = {
        "spark.master": "local[*]",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        # Small machines: the default of 200 tasks per shuffle costs more than it spreads.
        "spark.sql.shuffle.partitions": "8",
    }
    if wanted.get("spark-hive-site", {}).get(_FACTORY_KEY) == GLUE_FACTORY:
        catalog = "spark.sql.catalog.spark_catalog"
        conf |= {
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            catalog: "org.apache.iceberg.spark.SparkSessionCatalog",
            f"{catalog}.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
            f"{catalog}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            f"{catalog}.client.region": cluster.region,
            f"{catalog}.cache-enabled": "false",
        }
    return conf


def _hive(node: Node) -> dict[str, str]:
    metastore = node.root / "mnt/var/lib/hive/metastore_db"
    metastore.parent.mkdir(parents=True, exist_ok=True)
    return {
        "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={metastore};create=true",
        # Spark's warehouse too: spark.sql.warehouse.dir would win over what a cluster's hive-site says.
        "hive.metastore.warehouse.dir": "hdfs:///user/hive/warehouse",
        # This machine has no group hadoop to give folders to.
        "hive.warehouse.subdir.inherit.perms": "false",
        "datanucleus.schema.autoCreateAll": "true",
        "hive.metastore.schema.verification": "false",
    }


_LOG4J2 = {
    "rootLogger.level": "info",
    "rootLogger.appenderRef.stdout.ref": "console",
    "appender.console.type": "Console",
    "appender.console.name": "console",
    "appender.console.target": "SYSTEM_ERR",
    "appender.console.layout.type": "PatternLayout",
    "appender.console.layout.pattern": "%d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex",
    "logger.nativeCodeLoader.name": "org.apache.hadoop.util.NativeCodeLoader",
    "logger.nativeCodeLoader.level": "error",
    "logger.bindings.name": "org.apache.hadoop.metrics2.impl.MetricsConfig",
    "logger.bindings.level": "error",
}

_HADOOP_LOG4J2 = {**_LOG4J2, "rootLogger.level": "warn"}

# MapReduce's own lines, which on EMR are in the step's syslog.
_HADOOP_SYSLOG = {
    "rootLogger.level": "info",
    "rootLogger.appenderRef.file.ref": "syslog",
    "appender.syslog.type": "File",
    "appender.syslog.name": "syslog",
    "appender.syslog.fileName": "${env:EMRJOBS_SYSLOG}",
    "appender.syslog.layout.type": "PatternLayout",
    "appender.syslog.layout.pattern": "%d{ISO8601} %p %c (%t): %m%n%ex",
}
