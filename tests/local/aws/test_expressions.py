from __future__ import annotations

import pytest

from framework.local.aws.answers import ApiError
from framework.local.aws.glue.expressions import compile_filter

KEYS = [
    ("ds", "date"),
    ("hr", "int"),
    ("region", "string"),
    ("code", "varchar(3)"),
    ("amount", "decimal(10,2)"),
    ("at", "timestamp"),
    ("order", "string"),
]
ROW = ["2013-03-08", "7", "emea", "EWR", "12.50", "2013-03-08 10:00:00.5", "a'b"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ds = '2013-03-08'", True),
        ("ds = DATE '2013-03-08'", True),
        ("ds < '2013-03-08'", False),
        ("ds >= '2013-03-08' AND ds <= '2013-03-31'", True),
        ("ds <> '2013-03-08'", False),
        ("ds != '2013-03-09'", True),
        ("hr = 7", True),
        ("hr > 10", False),
        ("hr < 10", True),
        ("hr = '7'", True),
        ("hr IN (1, 7, 23)", True),
        ("hr NOT IN (1, 7, 23)", False),
        ("hr BETWEEN 5 AND 7 AND region = 'emea'", True),
        ("hr not between 5 and 7", False),
        ("region LIKE 'em%'", True),
        ("region LIKE 'e_e_'", True),
        ("region LIKE 'em'", False),
        ("region NOT LIKE '%x%'", True),
        ("code LIKE 'E%' AND code = 'EWR'", True),
        ("amount = 12.5", True),
        ("amount >= 12.51", False),
        ("at = '2013-03-08 10:00:00.500'", True),
        ("at > '2013-03-08 10:00:00.499999999'", True),
        ("order = 'a''b'", True),
        ('`order` = "a\'b"', True),
        ("hr = 1 OR hr = 7", True),
        ("hr = 1 OR region = 'apac' AND hr = 7", False),
        ("(hr = 1 OR region = 'emea') AND hr = 7", True),
        ("((hr)) = (7)", True),
        ("NOT hr = 1", True),
        ("NOT (hr = 7 OR region = 'apac')", False),
        ("region IS NULL", False),
        ("region IS NOT NULL", True),
        ("REGION = 'emea' and (DS = '2013-03-08')", True),
    ],
)
def test_an_expression_means_what_it_means_in_glue(expression: str, expected: bool) -> None:
    assert compile_filter(expression, KEYS)(ROW) is expected


def test_integers_compare_as_numbers_and_strings_as_text() -> None:
    assert compile_filter("n < 10", [("n", "bigint")])(["9"])
    assert not compile_filter("n < '10'", [("n", "string")])(["9"])


@pytest.mark.parametrize("expression", ["hr = 1", "NOT hr = 1", "hr IN (1)", "hr NOT IN (1)", "hr BETWEEN 0 AND 9", "hr = 1 OR NOT hr = 1"])
def test_null_is_neither_equal_nor_unequal(expression: str) -> None:
    row = ["2013-03-08", "__HIVE_DEFAULT_PARTITION__"]
    assert not compile_filter(expression, KEYS)(row)
    assert compile_filter("hr IS NULL", KEYS)(row)
    assert compile_filter("hr = 1 OR ds = '2013-03-08'", KEYS)(row)


@pytest.mark.parametrize(
    "expression",
    [
        "ds",
        "ds =",
        "= 'x'",
        "ds = '2013-03-08' AND",
        "(ds = '2013-03-08'",
        "hr IN ()",
        "ds ~ 'x'",
        "ds = '2013-03-08' ds",
        "region LIKE",
    ],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ApiError, match="InvalidInputException: Unsupported expression"):
        compile_filter(expression, KEYS)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("city = 'x'", "Invalid partition expression!"),
        ("hr = 'seven'", '"seven" is not an integer.'),
        ("ds = 2013-03-08", "2013 is not a date."),
        ("ds = '2013-02-31'", "2013-02-31 is not a date."),
        ("amount = 'x'", "x is not a decimal."),
        ("at = '2013-03-08'", "Timestamp format must be"),
        ("hr LIKE '7%'", "Integral data type doesn't support operation 'LIKE'"),
        ("ds LIKE '2013%'", "Date data type doesn't support operation 'LIKE'"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        compile_filter(expression, KEYS)
    assert refusal.value.code == "InvalidInputException"
    assert message in refusal.value.message


def test_a_partition_whose_value_is_not_of_its_type_is_an_invalid_state() -> None:
    with pytest.raises(ApiError, match=r'InvalidStateException: "x" is not an integer\.'):
        compile_filter("hr = 7", KEYS)(["2013-03-08", "x"])
