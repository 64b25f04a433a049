"""Cases beside a job: what is wrong with a file is told with its line, and rows are compared one by one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from builders import PYTHON_JOB, Project

from framework.errors import CaseError
from framework.testing.cases import load
from framework.testing.compare import compare
from framework.testing.frames import infer

GOOD = """\
a day:
  params: {date: 2013-03-08}
  inputs:
    flights: flights.csv
    weather: [{origin: EWR}]
    airlines: {schema: "carrier string", rows: []}
  expect:
    - {carrier: UA, flights: 1}
  key: [carrier]
"""


@pytest.fixture
def daily(project: Project) -> Any:
    project.write("jobs/daily.py", PYTHON_JOB)
    project.write("jobs/flights.csv", "carrier,flights,note\nUA,1,\n")

    def cases(text: str) -> Any:
        project.write("jobs/daily.test.yaml", text)
        return load(project.jobs().get("daily"), project.root)

    return cases


def test_rows_come_from_yaml_and_from_csv_with_empty_fields_as_null(daily: Any) -> None:
    (case,) = daily(GOOD)
    assert (case.name, case.where, case.key) == ("a day", "jobs/daily.test.yaml:1", ("carrier",))
    assert case.inputs["flights"].rows == ({"carrier": "UA", "flights": "1", "note": None},)
    assert case.inputs["weather"].rows == ({"origin": "EWR"},)
    assert case.inputs["airlines"].schema == "carrier string"


def test_a_file_of_cases_is_no_job(project: Project, daily: Any) -> None:
    daily(GOOD)
    assert [job.name for job in project.jobs()] == ["daily"]
    assert not project.jobs().problems


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("flights: flights.csv", "flihgts: flights.csv", "test.yaml:4: a day: job daily has no input 'flihgts'"),
        ("    weather: [{origin: EWR}]\n", "", "the input weather is not given"),
        ("flights.csv", "none.csv", "test.yaml:4: a day: flights: none.csv cannot be read: No such file"),
        ("rows: []", "row: []", "test.yaml:6: a day.inputs.airlines.row: unknown key"),
        ("rows: []", "rows: [], file: x.csv", "a day: airlines: give either file or rows"),
        ("key: [carrier]", "key: [carier]", "a day: the key column carier is not in expect"),
        ("  expect:\n    - {carrier: UA, flights: 1}\n", "", "a day.expect: is required and not given"),
        ("a day:", "a day: [", "is not valid YAML"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_line(daily: Any, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(CaseError) as raised:
        daily(GOOD.replace(old, new))
    assert expected in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1\n", "line 2 has 1 values, the header has 2"),
        ("a,a\n1,2\n", "the first line must name each column once"),
        ("", "the first line must name each column once"),
    ],
)
def test_a_broken_csv_file_is_told(daily: Any, project: Project, content: str, expected: str) -> None:
    project.write("jobs/flights.csv", content)
    with pytest.raises(CaseError, match=expected):
        daily(GOOD)


@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        ([1, None, 2], False, "int"),
        ([1, 2**40], False, "bigint"),
        ([1, 2.5], False, "double"),
        ([True], False, "boolean"),
        ([dt.date(2013, 1, 1), dt.datetime(2013, 1, 1, 5)], False, "timestamp"),
        (["x", 1], False, "string"),
        ([None], False, "string"),
        (["1", "2"], True, "int"),
        (["1", "2.5", "-3e4"], True, "double"),
        (["2013-01-01"], True, "date"),
        (["2013-01-01 05:00:00"], True, "timestamp"),
        (["true", "False"], True, "boolean"),
        (["007x"], True, "string"),
    ],
)
def test_types_that_nobody_declared_are_the_narrowest_that_hold_all_values(values: list[Any], text: bool, expected: str) -> None:
    assert infer(values, text=text) == expected


ROWS = [{"k": 1, "v": 1.0}, {"k": 2, "v": 2.0}]


def test_the_order_of_rows_and_the_last_digits_of_doubles_do_not_matter() -> None:
    assert compare(ROWS, [{"k": 2, "v": 2.0 + 1e-13}, {"k": 1, "v": 1.0}], ["k", "v"]) == []


def test_each_duplicate_counts() -> None:
    (one,) = compare([ROWS[0]], [ROWS[0], ROWS[0]], ["k", "v"])
    assert (one.expected, one.got) == (None, ROWS[0])


def test_rows_of_one_key_belong_together_and_name_what_differs() -> None:
    changed = {"k": 2, "v": 7.0}
    (one,) = compare(ROWS, [ROWS[0], changed], ["k", "v"], key=["k"])
    assert (one.expected, one.got, one.columns) == (ROWS[1], changed, ("v",))


def test_without_a_key_those_with_most_in_common_belong_together() -> None:
    expected = [{"a": 1, "b": 1, "c": 1}, {"a": 5, "b": 5, "c": 5}]
    found = compare(expected, [{"a": 9, "b": 9, "c": 9}, {"a": 1, "b": 1, "c": 2}], ["a", "b", "c"])
    assert [(one.expected, one.got and one.got["a"], one.columns) for one in found] == [
        (expected[0], 1, ("c",)),
        (expected[1], None, ()),
        (None, 9, ()),
    ]


def test_ordered_rows_must_come_in_their_order() -> None:
    assert len(compare(ROWS, ROWS[::-1], ["k", "v"], ordered=True)) == 2
    assert compare(ROWS, ROWS, ["k", "v"], ordered=True) == []
    (missing,) = compare(ROWS, ROWS[:1], ["k", "v"], ordered=True)
    assert (missing.expected, missing.got) == (ROWS[1], None)
