"""Spark properties of one environment, derived from its settings."""

from __future__ import annotations

from typing import Any

from framework.aws import Aws
from framework.config.model import Settings
from framework.sources.hdfs import Hdfs

_S3A = "org.apache.hadoop.fs.s3a"
_SDK = "software.amazon.awssdk.auth.credentials"


def derive(settings: Settings, aws: Aws, *, project: str, metastore: str | None = None) -> dict[str, str]:
    """Properties for a session that resolves tables through the catalog and reads `s3://`.

    On EMR the cluster brings its own S3 connector and credentials (the instance profile); elsewhere S3A is set up for the
    endpoint and keys that the environment names.

    Args:
        project: the project's folder, so that Python workers can import from it. On a cluster it is part of what a submit ships, and
            YARN has a PYTHONPATH of its own.
        metastore: address of the Hive metastore, where the catalog is one.
    """
    conf = {
        "spark.app.name": "emrjobs",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        # One catalog for both kinds of table: Iceberg's are found in Glue or the metastore, the others in the session's own catalog.
        "spark.sql.catalog.spark_catalog": "org.apache.iceberg.spark.SparkSessionCatalog",
        **_iceberg(settings, aws, metastore),
        "spark.sql.catalog.spark_catalog.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "spark.sql.catalog.spark_catalog.warehouse": settings.catalog.warehouse,
        "spark.sql.catalog.spark_catalog.client.region": aws.region,
        # A staged snapshot must be seen by the session that picks it.
        "spark.sql.catalog.spark_catalog.cache-enabled": "false",
        # `metrics` knows a scan by its location, which must not be cut off.
        "spark.sql.maxMetadataStringLength": "4000",
    }
    if settings.target != "emr":
        conf |= {"spark.executorEnv.PYTHONPATH": project} | _on_this_machine(settings, aws)
    # Where the environment names none (AWS itself), these are empty and the cluster's own hold.
    return conf | _endpoints(aws) | _keys(aws) | dict(settings.spark.conf)


def _iceberg(settings: Settings, aws: Aws, metastore: str | None) -> dict[str, str]:
    prefix = "spark.sql.catalog.spark_catalog"
    if settings.catalog.kind == "hive":
        return {f"{prefix}.catalog-impl": "org.apache.iceberg.hive.HiveCatalog", f"{prefix}.uri": metastore or ""}
    conf = {f"{prefix}.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog"}
    if glue := aws.endpoint("glue"):
        conf[f"{prefix}.glue.endpoint"] = glue
    return conf


def _on_this_machine(settings: Settings, aws: Aws) -> dict[str, str]:
    cores = settings.spark.cores
    return {
        "spark.master": f"local[{cores}]",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.catalogImplementation": "in-memory",
        # Small data on few cores: AQE would coalesce the default 200 anyway, after planning them.
        "spark.sql.shuffle.partitions": str(max(2, cores if isinstance(cores, int) else 4)),
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3a.endpoint.region": aws.region,
        "spark.hadoop.fs.s3a.fast.upload.buffer": "bytebuffer",
        "spark.hadoop.fs.s3a.threads.max": "32",
        # As Hadoop 3.4 does: to delete the markers of all parent folders after each write takes longer than a small write itself.
        "spark.hadoop.fs.s3a.directory.marker.retention": "keep",
        # Files are uploaded by the tasks and completed at the commit; S3 has no rename.
        "spark.hadoop.fs.s3a.committer.name": "magic",
        "spark.hadoop.fs.s3a.committer.magic.enabled": "true",
        "spark.hadoop.mapreduce.outputcommitter.factory.scheme.s3": "org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory",
        "spark.hadoop.mapreduce.outputcommitter.factory.scheme.s3a": "org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory",
        "spark.sql.sources.commitProtocolClass": "org.apache.spark.internal.io.cloud.PathOutputCommitProtocol",
        "spark.sql.parquet.output.committer.class": "org.apache.spark.internal.io.cloud.BindingParquetOutputCommitter",
    }


def _endpoints(aws: Aws) -> dict[str, str]:
    conf: dict[str, str] = {}
    if s3 := aws.endpoint("s3"):
        conf |= {
            "spark.hadoop.fs.s3a.endpoint": s3,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": str(s3.startswith("https")).lower(),
            "spark.sql.catalog.spark_catalog.s3.endpoint": s3,
            "spark.sql.catalog.spark_catalog.s3.path-style-access": "true",
        }
    return conf


def _keys(aws: Aws) -> dict[str, str]:
    keys = aws.credentials()
    if not keys:
        return {}
    conf = {
        "spark.hadoop.fs.s3a.access.key": keys.key_id,
        "spark.hadoop.fs.s3a.secret.key": keys.secret,
        "spark.hadoop.fs.s3a.aws.credentials.provider": f"{_S3A}.{'Temporary' if keys.token else 'Simple'}AWSCredentialsProvider",
        "spark.sql.catalog.spark_catalog.s3.access-key-id": keys.key_id,
        "spark.sql.catalog.spark_catalog.s3.secret-access-key": keys.secret,
        # Glue's client has no key properties of its own: `prepare` puts them where this provider looks.
        "spark.sql.catalog.spark_catalog.client.credentials-provider": f"{_SDK}.SystemPropertyCredentialsProvider",
    }
    if keys.token:
        conf |= {"spark.hadoop.fs.s3a.session.token": keys.token, "spark.sql.catalog.spark_catalog.s3.session-token": keys.token}
    return conf


def use_hdfs(spark: Any, hdfs: Hdfs | None) -> None:
    """Make `hdfs:///path` a path of that file system; a cluster's nodes know their own."""
    if hdfs is None:
        return
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("fs.defaultFS", hdfs.uri)
    # The local one has one DataNode.
    hadoop.set("dfs.replication", "1")


def prepare(spark: Any, aws: Aws) -> None:
    """Make a new session usable from this thread, wherever it was started, with the environment's keys.

    The JVM's AWS SDK takes the keys from system properties: they never reach an argument list.
    """
    # Each Python thread has a Java thread of its own, and Iceberg asks that thread for the session.
    spark._jvm.SparkSession.setActiveSession(spark._jsparkSession)
    keys = aws.credentials()
    if keys:
        system = spark._jvm.java.lang.System
        system.setProperty("aws.accessKeyId", keys.key_id)
        system.setProperty("aws.secretAccessKey", keys.secret)
        # A warm JVM may have the token of another run.
        if keys.token:
            system.setProperty("aws.sessionToken", keys.token)
        else:
            system.clearProperty("aws.sessionToken")
