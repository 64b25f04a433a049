"""What is made of the messages of Spark, the JVM and Python workers; all of them were seen."""

from __future__ import annotations

import pytest

from framework.engines.spark.causes import MAX, Cause, one_line, worker_error

UNKNOWN_COLUMN = (
    "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column or function parameter with name `a`.`nme` cannot be resolved. "
    "Did you mean one of the following? [`a`.`name`, `a`.`carrier`].; line 8 pos 31;\n'Project ['a.carrier]\n+- 'Filter"
)
NO_TYPE = '\n[UNSUPPORTED_DATATYPE] Unsupported data type "UUID".(line 6, pos 15)\n\n== SQL ==\nSELECT\n-----^^^\n'
AT_RUN_TIME = "[DIVIDE_BY_ZERO] Division by zero.\n== SQL(line 2, position 8) ==\n1/0\n"
AT_RUN_TIME_SPACED = "[DIVIDE_BY_ZERO] Division by zero.\n== SQL (line 2, position 8) ==\n1/0\n"


@pytest.mark.parametrize(
    ("kind", "message", "sentence"),
    [
        ("ExtendedAnalysisException", UNKNOWN_COLUMN, "A column or function parameter with name `a`.`nme` cannot be resolved."),
        ("ParseException", NO_TYPE, 'Unsupported data type "UUID".'),
        ("SparkArithmeticException", AT_RUN_TIME, "Division by zero."),
        ("NumberFormatException", 'For input string: "x"', 'NumberFormatException: For input string: "x"'),
        ("RuntimeException", "my own word", "my own word"),
        ("KeyError", "'carrier'", "KeyError: 'carrier'"),
        ("NullPointerException", "", "NullPointerException"),
    ],
)
def test_a_message_becomes_one_sentence(kind: str, message: str, sentence: str) -> None:
    assert Cause(kind, message).sentence == sentence


def test_sparks_suggestions_become_a_fix() -> None:
    assert Cause("AnalysisException", UNKNOWN_COLUMN).suggestion == "did you mean 'a.name'?"
    assert Cause("AnalysisException", NO_TYPE).suggestion is None


@pytest.mark.parametrize(
    ("message", "place"),
    [(UNKNOWN_COLUMN, (8, 31)), (NO_TYPE, (6, 15)), (AT_RUN_TIME, (2, 7)), (AT_RUN_TIME_SPACED, (2, 7)), ("no place", None)],
)
def test_the_place_in_sql_is_a_line_and_a_column_from_zero(message: str, place: tuple[int, int] | None) -> None:
    assert Cause("AnalysisException", message).place == place


def test_a_workers_last_exception_counts() -> None:
    text = """An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/project/jobs/a.py", line 3, in first
    {}["x"]
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/project/jobs/a.py", line 5, in second
    third()
    ^^^^^^^
  File "/project/jobs/_b.py", line 9, in third
    raise Broken("so\\nmore")
jobs._b.Broken: so
more
"""
    error = worker_error([Cause("SparkException", "Job aborted"), Cause("PythonException", text)])
    assert error is not None
    assert error.error == "Broken: so"
    assert error.frames == [("/project/jobs/a.py", 5), ("/project/jobs/_b.py", 9)]
    assert worker_error([Cause("SparkException", "Job aborted")]) is None


def test_a_long_line_is_cut() -> None:
    assert one_line("\n\n  " + "x" * 1000 + "\nmore") == "x" * MAX + " ..."
