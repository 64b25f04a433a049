"""The line that explains a failure."""

from __future__ import annotations

from pathlib import Path

from framework.local.aws.emr.execution.causes import UNKNOWN, explain


def written(folder: Path, **logs: str) -> list[Path]:
    for name, text in logs.items():
        (folder / name).write_text(text)
    return [folder / name for name in logs]


def test_the_last_line_of_a_python_traceback(tmp_path: Path) -> None:
    first = "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nKeyError: 'x'\n\n"
    between = "During handling of the above exception, another exception occurred:\n\n"
    second = 'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\nValueError: bad thing\n'
    text = first + between + second + "26/11/24 22:47:14 INFO ShutdownHookManager: Shutdown hook called\n"
    assert explain(written(tmp_path, stderr="26/11/24 INFO x: y\n", stdout=text), 1).message == "ValueError: bad thing"


def test_the_java_exception_behind_a_py4j_error(tmp_path: Path) -> None:
    text = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n'
        "py4j.protocol.Py4JJavaError: An error occurred while calling o42.parquet.\n"
        ": org.apache.spark.SparkException: Job aborted due to stage failure\n\tat org.apache.x\n"
    )
    assert explain(written(tmp_path, stderr=text), 1).message == "org.apache.spark.SparkException: Job aborted due to stage failure"


def test_the_root_cause_of_a_stack_trace(tmp_path: Path) -> None:
    text = (
        'Exception in thread "main" java.lang.RuntimeException: outer\n\tat a.b.C.main(C.java:1)\n'
        "Caused by: java.io.IOException: inner\n\tat a.b.C.x(C.java:2)\n"
    )
    found = explain(written(tmp_path, stderr=text), 1)
    assert found.message == 'Exception in thread "main" java.lang.RuntimeException: outer Caused by: java.io.IOException: inner'
    assert found.reason == UNKNOWN
    assert found.log == tmp_path / "stderr"


def test_known_causes_have_emrs_reasons(tmp_path: Path) -> None:
    text = "org.apache.hadoop.mapred.FileAlreadyExistsException: Output directory s3://b/o already exists\n"
    assert explain(written(tmp_path, stderr="", syslog=text), 1).reason == "Output directory already exists."


def test_a_program_that_says_nothing_is_known_by_its_exit_code(tmp_path: Path) -> None:
    assert explain(written(tmp_path, stderr="", stdout=""), 7).message == "exit code 7, and nothing in the logs"
