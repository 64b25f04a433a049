"""Ten expectations on staged data, against one hand-written aggregate that answers the same."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

from benchmarks import measure
from framework.config.loader import load
from framework.engines.spark import conf
from framework.local.target import open_platform
from framework.quality import gate
from framework.quality.suite import load_suite

ROOT = FilePath(__file__).parents[1]
SUITE = ROOT / ".local" / "bench" / "checks.yaml"
DATA = "s3://emrjobs-raw/bench/checks"
ROWS = 2_000_000
EXPECTATIONS = """
expectations:
  - expect_table_row_count_to_be_between: {min_value: 1}
  - expect_column_values_to_be_unique: {column: id}
  - expect_column_values_to_not_be_null: {column: id}
  - expect_column_values_to_not_be_null: {column: carrier}
  - expect_column_values_to_be_in_set: {column: origin, value_set: [EWR, JFK, LGA]}
  - expect_column_values_to_be_between: {column: amount, min_value: 0, max_value: 1000}
  - expect_column_values_to_be_between: {column: delay, min_value: -60, max_value: 1440}
  - expect_column_values_to_match_regex: {column: tail, regex: "^N[0-9]+$"}
  - expect_column_pair_values_a_to_be_greater_than_b: {column_A: arrived, column_B: departed, or_equal: true}
  - expect_column_mean_to_be_between: {column: delay, min_value: 0, max_value: 100}
"""


def results(rounds: int) -> str:
    """A section in Markdown."""
    SUITE.parent.mkdir(parents=True, exist_ok=True)
    SUITE.write_text(EXPECTATIONS, encoding="utf-8")
    suite = load_suite(SUITE, name="checks")
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform, platform.spark() as spark:
        conf.prepare(spark, platform.aws)
        _data(spark).write.mode("overwrite").parquet(DATA)

        def expectations() -> None:
            report = gate.audit(spark.read.parquet(DATA), suite)
            assert report.passed, report

        def by_hand() -> None:
            assert not any(_by_hand(spark.read.parquet(DATA)))

        costs = measure.in_turn(
            rounds, {"by hand": lambda: measure.block(by_hand), "suite": lambda: measure.block(expectations)}, warm_up=2
        )
    return "\n".join(
        [
            "## Checks",
            "",
            f"{ROWS:,} staged rows of 8 columns in Parquet on S3, in a warm session. The aggregate by hand answers the same ten questions in one query.",
            "",
            "| what | s | ratio (goal 1.3) |",
            "|---|---|---|",
            f"| one aggregate by hand | {measure.median(costs['by hand']):.2f} | 1 |",
            f"| 10 expectations | {measure.median(costs['suite']):.2f} | {measure.ratio(costs, 'suite', 'by hand'):.2f} |",
        ]
    )


def _data(spark: Any) -> Any:
    from pyspark.sql import functions as F

    row = F.col("id")
    return spark.range(ROWS).select(
        row,
        F.concat(F.lit("C"), row % 16).alias("carrier"),
        F.element_at(F.array(*map(F.lit, ["EWR", "JFK", "LGA"])), (row % 3 + 1).cast("int")).alias("origin"),
        (F.rand(1) * 1000).alias("amount"),
        (F.rand(2) * 100).cast("int").alias("delay"),
        F.concat(F.lit("N"), row % 5000).alias("tail"),
        (row % 1440).alias("departed"),
        (row % 1440 + 90).alias("arrived"),
    )


def _by_hand(frame: Any) -> tuple[bool, ...]:
    """As one writes it: counts of bad rows, and the figures that are to be in bounds. True for what fails."""
    from pyspark.sql import functions as F

    def bad(condition: Any) -> Any:
        return F.count(F.when(condition, 1))

    found = frame.agg(
        F.count("*").alias("n"),
        F.count_distinct("id").alias("different"),
        bad(F.col("id").isNull()),
        bad(F.col("carrier").isNull()),
        bad(~F.col("origin").isin("EWR", "JFK", "LGA")),
        bad(~F.col("amount").between(0, 1000)),
        bad(~F.col("delay").between(-60, 1440)),
        bad(~F.col("tail").rlike("^N[0-9]+$")),
        bad(F.col("arrived") < F.col("departed")),
        F.avg("delay").alias("mean"),
    ).head()
    return (found["n"] < 1, found["different"] != found["n"], *(one > 0 for one in found[2:9]), not 0 <= found["mean"] <= 100)
