"""Suites are validated in full when they are read, without Great Expectations."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from framework.errors import SuiteError
from framework.quality import catalogue
from framework.quality.suite import Severity, load_suite

GOOD = """\
expectations:
  - expect_table_row_count_to_be_between: {min_value: 1}
  - expect_column_values_to_not_be_null: {column: carrier, note: the key of the airlines}
  - expect_column_values_to_be_between: {column: delay_rate, min_value: 0, max_value: 1, severity: warn, mostly: 0.99}
  - expect_column_values_to_be_in_set: {column: flight_date, value_set: ["{date}"]}
  - expect_compound_columns_to_be_unique: {column_list: [flight_date, carrier, origin]}
"""


def refusal(write_suite: Any, expectations: str) -> SuiteError:
    with pytest.raises(SuiteError) as caught:
        write_suite(f"expectations:\n{expectations}")
    return caught.value


def test_a_suite_reads_as_it_is_written(write_suite: Any) -> None:
    suite = write_suite(GOOD)

    assert [expectation.statement for expectation in suite.expectations] == [
        "the number of rows must be at least 1",
        "carrier must not be null",
        "delay_rate must be between 0 and 1 in at least 99 % of the rows",
        "flight_date must be one of {date}",
        "flight_date, carrier, origin must be unique together",
    ]
    assert [expectation.severity for expectation in suite.expectations[1:3]] == [Severity.ERROR, Severity.WARN]
    assert suite.expectations[1].note == "the key of the airlines"
    assert suite.expectations[2].kwargs == {"column": "delay_rate", "min_value": 0, "max_value": 1, "mostly": 0.99}
    assert suite.expectations[3].where.endswith("flights.yaml:5")
    assert suite.expectations[4].columns == ("flight_date", "carrier", "origin")


def test_parameters_of_the_run_are_filled_in(write_suite: Any) -> None:
    suite = write_suite(GOOD)

    bound = suite.bind({"date": datetime.date(2013, 3, 8)})

    assert suite.parameters == {"date"}
    assert bound.expectations[3].kwargs["value_set"] == [datetime.date(2013, 3, 8)]
    assert bound.expectations[3].statement == "flight_date must be one of 2013-03-08"


def test_a_parameter_that_the_job_does_not_have_is_refused_with_the_nearest(write_suite: Any) -> None:
    with pytest.raises(SuiteError, match=r"no parameter 'date'") as caught:
        write_suite(GOOD).bind({"data": 1})

    assert caught.value.fix == "did you mean 'data'?"


def test_a_parameter_of_the_wrong_type_is_refused(write_suite: Any) -> None:
    suite = write_suite("expectations:\n  - expect_column_max_to_be_between: {column: day, max_value: '{date}'}\n")

    with pytest.raises(SuiteError, match="max_value: must be a date or a number, not 'yesterday'"):
        suite.bind({"date": "yesterday"})


@pytest.mark.parametrize(
    ("expectations", "message", "fix"),
    [
        (
            "  - expect_column_values_to_be_not_null: {column: a}",
            "expect_column_values_to_be_not_null: there is no such expectation",
            "did you mean 'expect_column_values_to_not_be_null'?",
        ),
        (
            "  - expect_column_values_to_not_be_null: {colum: a}",
            "expect_column_values_to_not_be_null.colum: unknown argument",
            "did you mean 'column'?",
        ),
        ("  - expect_column_values_to_not_be_null: {}", "expect_column_values_to_not_be_null.column: is required and not given", None),
        ("  - expect_column_values_to_not_be_null", "expect_column_values_to_not_be_null.column: is required and not given", None),
        ("  - expect_column_values_to_not_be_null: {column: 3}", "expect_column_values_to_not_be_null.column: must be text, not 3", None),
        (
            "  - expect_column_values_to_not_be_null: {column: a, mostly: 99}",
            "expect_column_values_to_not_be_null.mostly: must be a number from 0 to 1, not 99",
            None,
        ),
        (
            "  - expect_column_values_to_not_be_null: {column: a, severity: fatal}",
            "expect_column_values_to_not_be_null.severity: must be error or warn, not 'fatal'",
            None,
        ),
        (
            "  - expect_column_values_to_be_between: {column: a, min_value: low}",
            "expect_column_values_to_be_between.min_value: must be a date or a number, not 'low'",
            None,
        ),
        ("  - expect_column_values_to_be_between: {column: a}", "expect_column_values_to_be_between: needs min_value or max_value", None),
        (
            "  - expect_column_max_to_be_between: {column: a, min_value: 2, max_value: 1}",
            "expect_column_max_to_be_between: min_value 2 is greater than max_value 1",
            None,
        ),
        (
            "  - expect_column_values_to_be_in_set: {column: a, value_set: JFK}",
            "expect_column_values_to_be_in_set.value_set: must be a list, not 'JFK'",
            None,
        ),
        (
            "  - expect_compound_columns_to_be_unique: {column_list: [a, b], ignore_row_if: sometimes}",
            "expect_compound_columns_to_be_unique.ignore_row_if: must be one of all_values_are_missing, any_value_is_missing, never, "
            "not 'sometimes'",
            None,
        ),
        (
            "  - expect_column_values_to_match_like_pattern: {column: a, like_pattern: 'N%'}",
            "expect_column_values_to_match_like_pattern: Great Expectations cannot compute it on spark",
            "use another expectation",
        ),
        (
            "  - unexpected_rows_expectation: {unexpected_rows_query: select 1}",
            "unexpected_rows_expectation.unexpected_rows_query: must name the checked rows as {batch}",
            'write it as "select * from {batch} where ..."',
        ),
        ("  - {a: {}, b: {}}", "expectations.0: must be one expectation with its arguments", None),
    ],
)
def test_a_mistake_is_named_with_its_line(write_suite: Any, expectations: str, message: str, fix: str | None) -> None:
    error = refusal(write_suite, f"  - expect_column_to_exist: {{column: a}}\n{expectations}\n".replace("expectations.0", "expectations.1"))

    assert error.message == message.replace("expectations.0", "expectations.1")
    assert error.where is not None
    assert error.where.endswith("flights.yaml:3")
    if fix:
        assert error.fix == fix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("expectation: []\n", "expectation: unknown key"),
        ("expectations: []\n", "must be a list of at least one expectation"),
        ("", "must be a list of at least one expectation"),
        ("expectations: [\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_suite_is_refused(write_suite: Any, text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        write_suite(text)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read: No such file"):
        load_suite(tmp_path / "none.yaml", name="none")


def test_reading_a_suite_imports_neither_great_expectations_nor_spark(tmp_path: Path) -> None:
    path = tmp_path / "flights.yaml"
    path.write_text(GOOD, encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from framework.quality.suite import load_suite; import framework.quality.report;"
        f"load_suite(Path({str(path)!r}), name='flights');"
        "print(*{'great_expectations', 'pyspark', 'pandas', 'boto3'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_the_shipped_catalogue_is_in_step_with_the_installed_great_expectations() -> None:
    shipped = Path(catalogue.__file__).with_name("expectations.json").read_text(encoding="utf-8")

    assert shipped == catalogue.text(catalogue.generate()), "run `python -m framework.quality.catalogue`"
