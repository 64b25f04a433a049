"""A short piece of work that loads the classes that runs load, so that a class archive (AppCDS) made from it starts fast.

It needs no server: S3 clients are built and sent to a port where nobody listens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from framework.engines.spark import session
from framework.engines.spark.jvm import JvmLaunch

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_NOBODY = "http://127.0.0.1:9"  # the discard port: refused at once

# Loaded by a run only once it talks to a real server.
_CLASSES = (
    "com.amazonaws.services.s3.model.CompleteMultipartUploadRequest",
    "com.amazonaws.services.s3.model.ListObjectsV2Request",
    "com.amazonaws.services.s3.model.transform.XmlResponsesSaxParser",
    "org.apache.hadoop.fs.s3a.S3AInputStream",
    "org.apache.hadoop.fs.s3a.S3ABlockOutputStream",
    "org.apache.hadoop.fs.s3a.commit.magic.MagicS3GuardCommitter",
    "org.apache.iceberg.aws.s3.S3InputStream",
    "org.apache.iceberg.aws.s3.S3OutputStream",
    "org.apache.iceberg.aws.glue.GlueTableOperations",
    "org.postgresql.Driver",
    "org.postgresql.jdbc.PgConnection",
    "org.postgresql.jdbc.PgResultSet",
    "org.postgresql.core.v3.ConnectionFactoryImpl",
    "org.postgresql.core.v3.QueryExecutorImpl",
)


def conf(folder: Path) -> dict[str, str]:
    """Spark properties of a training session; `folder` takes what it writes."""
    s3a = "spark.hadoop.fs.s3a."
    return {
        "spark.master": "local[2]",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": "2",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        f"{s3a}endpoint": _NOBODY,
        f"{s3a}path.style.access": "true",
        f"{s3a}access.key": "none",
        f"{s3a}secret.key": "none",
        f"{s3a}aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        f"{s3a}attempts.maximum": "1",
        f"{s3a}retry.limit": "0",
        f"{s3a}bucket.probe": "0",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": str(folder / "lake"),
        "spark.sql.catalog.glue": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.glue.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
        "spark.sql.catalog.glue.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "spark.sql.catalog.glue.warehouse": "s3://none/none",
        "spark.sql.catalog.glue.glue.endpoint": _NOBODY,
        "spark.sql.catalog.glue.s3.endpoint": _NOBODY,
        "spark.sql.catalog.glue.s3.access-key-id": "none",
        "spark.sql.catalog.glue.s3.secret-access-key": "none",
        "spark.sql.catalog.glue.client.region": "us-east-1",
    }


def train(launch: JvmLaunch, folder: Path, *, timeout: float = 180.0) -> None:
    """Run the training in a JVM whose command has `train`; it writes its archive at its end.

    Args:
        folder: takes what the training writes; the caller deletes it.
        timeout: seconds that the JVM may take for the archive.

    Raises:
        EngineUnavailable: no JVM could be started.
    """
    with session.start(conf(folder), launch=launch, app_name="training", end_timeout=timeout) as spark:
        exercise(spark, folder)


def exercise(spark: SparkSession, folder: Path) -> None:
    """What runs do, in small: formats, joins, aggregates, windows, SQL, Iceberg, S3 clients. A part that fails is skipped."""
    from pyspark.sql import functions as F

    rows = spark.range(2000).select(
        F.col("id"),
        (F.col("id") % 7).alias("k"),
        F.expr("date'2013-01-01' + cast(id % 30 as int)").alias("day"),
        F.expr("timestamp'2013-01-01 00:00:00' + make_interval(0, 0, 0, 0, id)").alias("at"),
        F.expr("cast(id / 3 as decimal(12, 2))").alias("amount"),
        F.concat(F.lit("name "), F.col("id").cast("string")).alias("name"),
        F.expr("if(id % 5 = 0, null, id * 0.5)").alias("score"),
    )

    def files(name: str) -> Callable[[], object]:
        def act() -> object:
            path = str(folder / name)
            rows.write.mode("overwrite").partitionBy("k").format(name).save(path)
            return (
                spark.read.schema(rows.schema).format(name).load(path).where("k = 3 and score > 1").agg(F.sum("id"), F.count("*")).collect()
            )

        return act

    def aggregate() -> object:
        names = rows.select("k", "name").distinct().groupBy("k").agg(F.max("name").alias("last"))
        totals = rows.groupBy("k", "day").agg(
            F.count("*"), F.sum("amount").alias("s"), F.avg("score"), F.expr("percentile_approx(score, 0.9)"), F.countDistinct("name"),
            F.sum(F.when(F.col("score").isNull(), 1).otherwise(0)), F.min("at"), F.max("at"),
        )  # fmt: skip
        joined = totals.join(F.broadcast(names), "k", "left").join(rows.hint("merge"), ["k", "day"])
        return joined.orderBy("k", F.desc("s")).limit(50).collect()

    def sql() -> object:
        rows.createOrReplaceTempView("rows")
        spark.sql("create or replace temp view top as select *, row_number() over (partition by k order by score desc) as n from rows")
        return spark.sql("with t as (select * from top where n <= 3) select k, collect_list(name), avg(score) from t group by k").toPandas()

    def python() -> object:
        return rows.mapInPandas(lambda batches: batches, rows.schema).select(F.udf(lambda value: value, "string")("name")).count()

    def iceberg() -> object:
        rows.writeTo("lake.db.t").partitionedBy(F.col("day")).createOrReplace()
        rows.where("day < date'2013-01-05'").writeTo("lake.db.t").overwritePartitions()
        spark.sql("merge into lake.db.t t using (select 3L as id) s on t.id = s.id when matched then update set name = 'x'")
        return spark.sql("select count(*), sum(score) from lake.db.t where day = date'2013-01-03'").collect()

    def nobody(query: Callable[[], object]) -> Callable[[], object]:
        def act() -> None:
            try:
                query()
            except Exception as exc:
                log.debug("as expected: %s", str(exc)[:100])

        return act

    loader = spark._jvm.Thread.currentThread().getContextClassLoader()
    parts: list[Callable[[], object]] = [
        aggregate,
        sql,
        *(files(name) for name in ("parquet", "orc", "json", "csv", "avro")),
        iceberg,
        python,
        nobody(lambda: spark.read.parquet("s3://none/none").count()),
        nobody(lambda: spark.sql("select * from glue.none.none").collect()),
        *(partial(loader.loadClass, name) for name in _CLASSES),
    ]
    for part in parts:
        try:
            part()
        except Exception:
            log.warning("a part of the training failed", exc_info=True)
