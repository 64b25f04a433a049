"""The gate judges a Spark DataFrame by a suite, in one scan of it."""

from __future__ import annotations

import datetime
import json
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from framework.errors import SuiteError
from framework.quality.gate import CheckReport, audit, describe, preload

pytestmark = pytest.mark.spark

DAY = datetime.date(2013, 3, 8)
TEN_CHECKS = """\
expectations:
  - expect_table_row_count_to_be_between: {min_value: 1}
  - expect_column_values_to_not_be_null: {column: carrier}
  - expect_column_values_to_not_be_null: {column: flight_date}
  - expect_column_values_to_be_between: {column: delay_rate, min_value: 0, max_value: 1, mostly: 0.99}
  - expect_column_values_to_be_in_set: {column: origin, value_set: [JFK, LGA, EWR]}
  - expect_column_values_to_match_regex: {column: carrier, regex: '^[A-Z0-9]{2}$'}
  - expect_column_pair_values_a_to_be_greater_than_b: {column_A: flights, column_B: cancelled, or_equal: true}
  - expect_column_mean_to_be_between: {column: delay_rate, min_value: 0, max_value: 1}
  - expect_column_max_to_be_between: {column: flight_date, max_value: '{date}'}
  - expect_compound_columns_to_be_unique: {column_list: [flight_date, carrier, origin]}
"""


@pytest.fixture(scope="module")
def flights(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """900 staged rows: 300 carriers at three airports on one day."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    rows = [
        (DAY, letters[number // 26] + letters[number % 26], origin, number / 300, 10, number % 11)
        for number in range(300)
        for origin in ("JFK", "LGA", "EWR")
    ]
    schema = "flight_date date, carrier string, origin string, delay_rate double, flights int, cancelled int"
    path = str(tmp_path_factory.mktemp("staged") / "flights")
    spark.createDataFrame(rows, schema).write.parquet(path)
    return spark.read.parquet(path)


def one(frame: Any, write_suite: Any, expectation: str, **options: Any) -> Any:
    report = audit(frame, write_suite(f"expectations:\n  - {expectation}\n"), **options)
    assert len(report.results) == 1
    return report.results[0]


def test_data_that_holds_passes_in_one_scan(flights: Any, write_suite: Any) -> None:
    report = audit(flights, write_suite(TEN_CHECKS), parameters={"date": DAY})

    assert [describe(result) for result in report.results if not result.success] == []
    assert report.passed
    assert report.rows == 900
    # One query; with adaptive execution Spark counts each of its stages as a job.
    assert report.spark_jobs is not None
    assert report.spark_jobs <= 3
    assert [describe(result) for result in report.results] == [
        "the number of rows must be at least 1: found 900",
        "carrier must not be null: holds for all 900 rows",
        "flight_date must not be null: holds for all 900 rows",
        "delay_rate must be between 0 and 1 in at least 99 % of the rows: holds for all 900 rows",
        "origin must be one of JFK, LGA, EWR: holds for all 900 rows",
        "carrier must match ^[A-Z0-9]{2}$: holds for all 900 rows",
        "flights must be at least cancelled: holds for all 900 rows",
        "the mean of delay_rate must be between 0 and 1: found 0.498333",
        "the maximum of flight_date must be at most 2013-03-08: found 2013-03-08",
        "flight_date, carrier, origin must be unique together: holds for all 900 rows",
    ]


def test_a_failure_says_how_many_rows_and_shows_some_whole(flights: Any, write_suite: Any) -> None:
    result = one(flights, write_suite, "expect_column_values_to_be_between: {column: delay_rate, max_value: 0.985}", sample_rows=2)

    assert not result.success
    assert describe(result) == "delay_rate must be at most 0.985: 12 of 900 rows (1.3 %) do not hold"
    assert (result.unexpected_count, result.rows) == (12, 900)
    assert len(result.samples) == 2
    assert all(sample["delay_rate"] > 0.985 for sample in result.samples)
    assert set(result.samples[0]) == {"flight_date", "carrier", "origin", "delay_rate", "flights", "cancelled"}
    assert result.samples[0]["flight_date"] == "2013-03-08"


def test_a_warning_is_reported_and_does_not_block(flights: Any, write_suite: Any) -> None:
    suite = write_suite(
        "expectations:\n"
        "  - expect_column_values_to_be_in_set: {column: origin, value_set: [JFK], severity: warn}\n"
        "  - expect_column_to_exist: {column: carrier}\n"
    )

    report = audit(flights, suite)

    assert report.passed
    assert [describe(result) for result in report.failed_warnings] == ["origin must be one of JFK: 600 of 900 rows (66.7 %) do not hold"]


def test_an_error_blocks(flights: Any, write_suite: Any) -> None:
    report = audit(flights, write_suite("expectations:\n  - expect_table_row_count_to_be_between: {max_value: 10}\n"))

    assert not report.passed
    assert [describe(result) for result in report.failed_errors] == ["the number of rows must be at most 10: found 900"]


def test_nulls_are_not_judged_and_not_counted(spark: Any, write_suite: Any) -> None:
    frame = spark.createDataFrame([("JFK",), ("XXX",), (None,), (None,)], "origin string")

    result = one(frame, write_suite, "expect_column_values_to_be_in_set: {column: origin, value_set: [JFK]}")

    assert describe(result) == "origin must be one of JFK: 1 of 2 rows (50 %) do not hold"
    assert result.samples == ({"origin": "XXX"},)


@pytest.mark.parametrize(
    "expectation", ["expect_column_values_to_be_unique: {column: k}", "expect_compound_columns_to_be_unique: {column_list: [k, v]}"]
)
def test_every_row_of_a_duplicate_key_is_counted(spark: Any, write_suite: Any, expectation: str) -> None:
    frame = spark.createDataFrame([(1, 1), (2, 1), (2, 1), (2, 1), (3, 1), (None, None), (None, None)], "k int, v int")

    result = one(frame, write_suite, expectation)

    assert (result.unexpected_count, result.success) == (3, False)
    assert result.samples == ({"k": 2, "v": 1},) * 3


@pytest.mark.parametrize(
    ("rows", "unique"),
    [
        ([(0.0,), (-0.0,)], False),  # equal in Spark's grouping
        ([(float("nan"),), (float("nan"),)], False),
        ([(0.0,), (1.0,), (None,), (None,)], True),
    ],
)
def test_the_shortcut_for_uniqueness_agrees_with_spark_on_odd_numbers(spark: Any, write_suite: Any, rows: list[Any], unique: bool) -> None:
    result = one(spark.createDataFrame(rows, "k double"), write_suite, "expect_column_values_to_be_unique: {column: k}")

    assert result.success is unique


def test_hashes_that_meet_do_not_make_unique_rows_fail(spark: Any, write_suite: Any) -> None:
    # Spark's hash of several columns skips nulls: these two keys share one.
    frame = spark.createDataFrame([(1, None), (None, 1)], "a int, b int")

    assert one(frame, write_suite, "expect_compound_columns_to_be_unique: {column_list: [a, b]}").success


def test_a_row_condition_limits_the_rows_in_the_same_scan(flights: Any, write_suite: Any) -> None:
    suite = write_suite(
        "expectations:\n"
        "  - expect_column_values_to_be_in_set: {column: origin, value_set: [JFK], row_condition: \"origin like 'J%'\"}\n"
        "  - expect_column_values_to_be_between: {column: flights, min_value: 1, row_condition: \"carrier = 'AA'\"}\n"
        "  - expect_table_row_count_to_equal: {value: 900}\n"
    )

    report = audit(flights, suite)

    assert [describe(result) for result in report.results] == [
        "origin must be one of JFK where origin like 'J%': holds for all 300 rows",
        "flights must be at least 1 where carrier = 'AA': holds for all 3 rows",
        "the number of rows must be 900: found 900",
    ]
    assert report.spark_jobs is not None
    assert report.spark_jobs <= 2


def test_a_query_finds_offending_rows(flights: Any, spark: Any, write_suite: Any) -> None:
    query = "select carrier, sum(cancelled) as lost from {batch} group by carrier having lost > 29"
    result = one(flights, write_suite, f"unexpected_rows_expectation: {{unexpected_rows_query: '{query}'}}", sample_rows=1)

    assert describe(result).endswith("having lost > 29: 27 rows found")
    assert result.samples[0]["lost"] == 30
    assert not spark.catalog.tableExists("tmp_view")


def test_a_query_that_finds_nothing_holds(flights: Any, write_suite: Any) -> None:
    query = "select * from {batch} where flights < 0"

    assert one(flights, write_suite, f"unexpected_rows_expectation: {{unexpected_rows_query: '{query}'}}").success


def test_a_column_that_does_not_exist_fails_its_check_alone_and_names_the_nearest(flights: Any, write_suite: Any) -> None:
    suite = write_suite(
        "expectations:\n"
        "  - expect_column_values_to_not_be_null: {column: carier}\n"
        "  - expect_column_values_to_not_be_null: {column: carrier}\n"
        "  - expect_column_to_exist: {column: carier}\n"
    )

    report = audit(flights, suite)

    assert [describe(result) for result in report.failed_errors] == [
        "carier must not be null: could not be computed: there is no column 'carier'; did you mean 'carrier'?",
        "column carier must exist: does not hold",
    ]
    assert report.results[1].success


def test_a_check_that_spark_cannot_compute_fails_alone(flights: Any, write_suite: Any) -> None:
    suite = write_suite(
        "expectations:\n"
        "  - expect_column_values_to_be_between: {column: flights, min_value: 1, row_condition: 'no_such > 1'}\n"
        "  - expect_column_values_to_not_be_null: {column: carrier}\n"
        "  - expect_column_mean_to_be_between: {column: flights, min_value: 1}\n"
    )

    report = audit(flights, suite)

    assert [result.success for result in report.results] == [False, True, True]
    assert re.search(r"could not be computed: .*no_such", describe(report.results[0]))
    assert "\n" not in describe(report.results[0])


def test_nested_fields_are_columns_too(spark: Any, write_suite: Any) -> None:
    frame = spark.sql("select named_struct('code', 'JFK', 'n', cast(null as int)) as airport")

    assert one(frame, write_suite, "expect_column_values_to_not_be_null: {column: airport.code}").success
    failed = one(frame, write_suite, "expect_column_values_to_not_be_null: {column: airport.n}")
    assert failed.samples == ({"airport": {"code": "JFK", "n": None}},)


def test_an_empty_frame_passes_what_judges_rows_and_fails_a_row_count(flights: Any, write_suite: Any) -> None:
    report = audit(flights.where("false"), write_suite(TEN_CHECKS), parameters={"date": DAY})

    assert report.rows == 0
    assert describe(report.results[0]) == "the number of rows must be at least 1: found 0"
    assert not report.results[0].success
    assert describe(report.results[1]) == "carrier must not be null: there are no such rows"
    assert all(result.success for result in report.results if result.rows is not None)


def test_arguments_that_great_expectations_refuses_are_the_users_mistake(flights: Any, write_suite: Any) -> None:
    suite = write_suite("expectations:\n  - expect_compound_columns_to_be_unique: {column_list: [carrier]}\n")

    with pytest.raises(SuiteError, match="column_list must contain at least two columns") as caught:
        audit(flights, suite)

    assert caught.value.where is not None
    assert caught.value.where.endswith("flights.yaml:2")


def test_a_report_is_json(flights: Any, write_suite: Any) -> None:
    report = audit(flights, write_suite(TEN_CHECKS.replace("[JFK, LGA, EWR]", "[JFK]")), parameters={"date": DAY})

    stored = json.loads(json.dumps(report.to_dict()))

    assert stored["passed"] is False
    assert stored["results"][4]["unexpected_count"] == 600
    assert stored["results"][4]["severity"] == "error"
    assert stored["results"][8]["kwargs"]["max_value"] == "2013-03-08"


def test_an_audit_leaves_no_trace(flights: Any, write_suite: Any, spark: Any, tmp_path: Path, capfd: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    suite = write_suite(TEN_CHECKS.replace("carrier}", "carier}"))
    before = {path.name for path in tmp_path.iterdir()}
    spark.sparkContext.setJobGroup("the run", "of a job")
    preload()
    level, showwarning = logging.getLogger("great_expectations").level, warnings.showwarning

    audit(flights, suite, parameters={"date": DAY})

    assert {path.name for path in tmp_path.iterdir()} == before
    assert capfd.readouterr() == ("", "")
    assert spark.sparkContext.getLocalProperty("spark.jobGroup.id") == "the run"
    assert (logging.getLogger("great_expectations").level, warnings.showwarning) == (level, showwarning)
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)


def test_data_docs_are_one_page_that_needs_no_network(flights: Any, write_suite: Any, tmp_path: Path) -> None:
    from framework.quality.docs import data_docs

    suite = write_suite(TEN_CHECKS.replace("[JFK, LGA, EWR]", "[JFK]").replace("column: carrier}", "column: carier}"))
    report: CheckReport = audit(flights, suite, parameters={"date": DAY})

    index = data_docs(report, tmp_path / "docs")

    html = index.read_text(encoding="utf-8")
    assert index == tmp_path / "docs" / "index.html"
    assert "values must belong to this set" in html
    assert "600 unexpected values found" in html
    assert "carier" in html
    assert not re.findall(r"<(?:script|link|img)\b[^>]*(?:src|href)=[^>]*>", html)


@pytest.mark.parametrize(
    ("expectation", "holds"),
    [
        ("expect_column_median_to_be_between: {column: delay_rate, min_value: 0.4, max_value: 0.6}", True),
        ("expect_column_stdev_to_be_between: {column: delay_rate, max_value: 0.1}", False),
        (
            "expect_column_quantile_values_to_be_between: {column: flights, quantile_ranges: {quantiles: [0.5], value_ranges: [[10, 10]]}}",
            True,
        ),
        ("expect_column_distinct_values_to_equal_set: {column: origin, value_set: [JFK, LGA]}", False),
        ("expect_column_unique_value_count_to_be_between: {column: carrier, min_value: 300, max_value: 300}", True),
        ("expect_column_proportion_of_unique_values_to_be_between: {column: carrier, min_value: 0.34}", False),
        ("expect_column_values_to_be_of_type: {column: origin, type_: StringType}", True),
        ("expect_column_values_to_be_of_type: {column: origin, type_: LongType}", False),
        ("expect_column_value_z_scores_to_be_less_than: {column: delay_rate, threshold: 3, double_sided: true}", True),
        ("expect_column_value_lengths_to_equal: {column: carrier, value: 2}", True),
        ("expect_column_values_to_be_decreasing: {column: flights, strictly: true}", False),
        ("expect_select_column_values_to_be_unique_within_record: {column_list: [carrier, origin]}", True),
        ("expect_multicolumn_sum_to_equal: {column_list: [flights, cancelled], sum_total: 10}", False),
        ("expect_table_columns_to_match_set: {column_set: [carrier, origin], exact_match: false}", True),
        ("expect_table_column_count_to_equal: {value: 6}", True),
    ],
)
def test_the_verdict_is_that_of_great_expectations_own_engine(flights: Any, write_suite: Any, expectation: str, holds: bool) -> None:
    from great_expectations.execution_engine import SparkDFExecutionEngine
    from great_expectations.expectations.registry import get_expectation_impl
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    from framework.quality.gx import quiet

    suite = write_suite(f"expectations:\n  - {expectation}\n")
    asked = suite.expectations[0]
    with quiet():
        engine = SparkDFExecutionEngine(persist=False, spark=flights.sparkSession, batch_data_dict={"staged": flights})
        own = get_expectation_impl(asked.type)(**asked.kwargs)
        needed = own.get_validation_dependencies(engine, {"result_format": "BASIC"}).get_metric_configurations()
        metrics, _ = MetricsCalculator(engine).compute_metrics(needed, {"result_format": "BASIC"})
        expected = own.metrics_validate(metrics, {"result_format": "BASIC"}, engine)

    result = audit(flights, suite).results[0]

    assert (result.success, result.exception) == (holds, None)
    assert result.success == expected.success
    assert result.unexpected_count == expected.result.get("unexpected_count")
