"""Resolved inputs as DataFrames, and catalog tables under their own names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from framework import predicates
from framework.catalog import Partition, TableInfo
from framework.engines.spark.databases import Databases
from framework.engines.spark.malformed import newest_of_each
from framework.jobs import Params
from framework.sources.jdbc import JdbcRead
from framework.sources.paths import PathRead

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PARTITIONS_A_STATEMENT = 500


@dataclass(frozen=True)
class TableRead:
    """A catalog table to read.

    Attributes:
        info: where and how it lies.
        where: predicate with `{param}` placeholders.
        partitions: those that the predicate can need, of a Hive-layout table.
    """

    info: TableInfo
    where: str | None = None
    partitions: tuple[Partition, ...] = ()


ResolvedInput: TypeAlias = TableRead | PathRead | JdbcRead


def frame(spark: SparkSession, read: ResolvedInput, params: Params, databases: Databases, *, where: str) -> DataFrame:
    """The input as a DataFrame; nothing is read yet, except that a database is asked for its columns.

    Args:
        databases: opened for all inputs of the run, until the frames are computed.
        where: `file:line` of the job, for messages.
    """
    if isinstance(read, JdbcRead | PathRead) and read.dedupe:
        return newest_of_each(
            frame(spark, replace(read, dedupe=None), params, databases, where=where), tuple(read.dedupe.keys), read.dedupe.by
        )
    if isinstance(read, PathRead):
        reader = spark.read.format(read.format).options(**_strict(read), **read.options)
        return (reader.schema(read.schema) if read.schema else reader).load(read.uri)
    if isinstance(read, JdbcRead):
        return databases.frame(read)
    mount(spark, read)
    table = spark.table(read.info.name)
    if not read.where:
        return table
    # pyspark's own {placeholders} would take braces in the predicate for theirs.
    predicate = predicates.markers(read.where, where=where).replace("{", "{{").replace("}", "}}")
    return spark.sql(f"SELECT * FROM {{table}} WHERE {predicate}", args=dict(params), table=table)


def _strict(read: PathRead) -> dict[str, str]:
    # A record that does not parse ends the job: Spark's default would turn it into nulls.
    return {"mode": "FAILFAST"} if read.format in ("json", "csv") else {}


def mount(spark: SparkSession, read: TableRead) -> None:
    """Make a Hive-layout table known to the session under its own name; Iceberg tables are known already.

    On EMR Spark finds them in Glue by itself. Elsewhere the session's catalog is in memory and knows only what is put
    there: the definition, and the partitions that the run needs.
    """
    if read.info.is_iceberg or _has_shared_catalog(spark):
        return
    info = read.info
    database, table = info.name.split(".")
    spark.sql(f"CREATE DATABASE IF NOT EXISTS spark_catalog.`{database}`")
    # Not with DROP TABLE: Iceberg's catalog comes first there, and would drop the table from Glue.
    scala, catalyst = spark._jvm.scala, spark._jvm.org.apache.spark.sql.catalyst
    identifier = catalyst.TableIdentifier(table, scala.Option.apply(database))
    spark._jsparkSession.sessionState().catalog().dropTable(identifier, True, False)
    columns = ", ".join(f"`{column.name}` {column.type}" for column in info.all_columns)
    options = ", ".join(f"{_text(key)} {_text(value)}" for key, value in info.options.items())
    keys = ", ".join(f"`{key.name}`" for key in info.partition_keys)
    spark.sql(
        f"CREATE TABLE spark_catalog.`{database}`.`{table}` ({columns}) USING {info.format}"
        + (f" OPTIONS ({options})" if options else "")
        + (f" PARTITIONED BY ({keys})" if keys else "")
        + f" LOCATION {_text(info.location)}"
    )
    for start in range(0, len(read.partitions), _PARTITIONS_A_STATEMENT):
        _add_partitions(spark, info, read.partitions[start : start + _PARTITIONS_A_STATEMENT])


def _add_partitions(spark: SparkSession, info: TableInfo, partitions: Sequence[Partition]) -> None:
    database, table = info.name.split(".")
    clauses = []
    for partition in partitions:
        spec = ", ".join(f"`{key.name}` = {_text(value)}" for key, value in zip(info.partition_keys, partition.values, strict=True))
        clauses.append(f"PARTITION ({spec}) LOCATION {_text(partition.location)}")
    spark.sql(f"ALTER TABLE spark_catalog.`{database}`.`{table}` ADD IF NOT EXISTS {' '.join(clauses)}")


def _has_shared_catalog(spark: SparkSession) -> bool:
    return bool(spark.conf.get("spark.sql.catalogImplementation") == "hive")


def _text(value: str) -> str:
    return predicates.literal(value, "spark")
