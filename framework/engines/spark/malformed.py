"""Malformed records of an input: set aside with their reason and origin, counted, and limited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from framework.errors import BadData
from framework.sources.paths import PathRead

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_RECORD, _FILE = "_corrupt_record", "_input_file"


def set_aside(spark: SparkSession, name: str, read: PathRead, *, where: str) -> tuple[DataFrame, int]:
    """The records that parse, and how many do not; those are written to the input's quarantine as JSON (file, record, reason).

    The files are parsed once, into Spark's disk storage: which fields are parsed, and so what is malformed, would otherwise
    depend on the columns that the job happens to use.

    Raises:
        BadData: more records are malformed than the input allows.
    """
    from pyspark import StorageLevel
    from pyspark.sql import functions as F

    assert read.quarantine is not None
    options = {**read.options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": _RECORD}
    parsed = spark.read.format(read.format).options(**options).schema(f"{read.schema}, {_RECORD} string").load(read.uri)
    parsed = parsed.withColumn(_FILE, F.input_file_name()).persist(StorageLevel.DISK_ONLY)
    is_bad = F.col(_RECORD).isNotNull()
    total, bad = parsed.agg(F.count(F.lit(1)), F.count(F.when(is_bad, 1))).head() or (0, 0)
    good = parsed.where(~is_bad).drop(_RECORD, _FILE)
    if not bad:
        return good, 0
    reason = F.lit(f"does not fit {read.schema}")
    if read.format == "json":
        is_json = F.from_json(F.col(_RECORD), "map<string,string>").isNotNull()
        reason = F.when(is_json, F.lit(f"a value does not fit {read.schema}")).otherwise(F.lit("is not a JSON object"))
    rejected = parsed.where(is_bad).select(F.col(_FILE).alias("file"), F.col(_RECORD).alias("record"), reason.alias("reason"))
    rejected.write.mode("overwrite").json(read.quarantine)
    if bad > read.max_malformed * total:
        shown = rejected.limit(3).collect()
        raise BadData(
            f"input {name}: {bad:,} of {total:,} records are malformed, more than {read.max_malformed:.2%}; nothing was published",
            where=where,
            details=[*(f"{row['file']}: {row['record'][:200]}: {row['reason']}" for row in shown), f"all of them: {read.quarantine}"],
            fix="correct the files or the declared schema, or raise max_malformed",
        )
    return good, int(bad)


def newest_of_each(frame: DataFrame, keys: tuple[str, ...], newest_by: str) -> DataFrame:
    """One row a key: that with the greatest `newest_by` (nulls are the oldest); among equals always the same one.

    Rows with a null in their key are no duplicates of each other: all of them stay.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    place = "_place"
    columns = [F.col(f"`{name}`") for name in frame.columns]
    window = Window.partitionBy(*[F.col(f"`{key}`") for key in keys]).orderBy(
        F.col(f"`{newest_by}`").desc_nulls_last(), F.xxhash64(*columns)
    )
    without_key = F.lit(False)
    for key in keys:
        without_key = without_key | F.col(f"`{key}`").isNull()
    return frame.withColumn(place, F.row_number().over(window)).where((F.col(place) == 1) | without_key).drop(place)
