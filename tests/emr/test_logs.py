"""Logs of a step: followed piece by piece, and the lines in them that explain a failure."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from builders import OneClient

from framework.emr.logs import DriverOutput, StepLogs, root_cause, unpacked

OURS = """\
26/11/24 23:15:58 INFO SparkContext: Starting job
error: jobs/daily_etl.py:15: input weather: there are no files at s3://raw/weather/date=2013-12-31/
  fix: check the path and the parameters in it
26/11/24 23:15:59 INFO ShutdownHookManager: Shutdown hook called
"""
PYTHON = """\
26/11/24 23:15:58 INFO SparkContext: Starting job
Traceback (most recent call last):
  File "/mnt/yarn/project/framework/cli/step.py", line 10, in main
    app()
  File "/mnt/yarn/project/jobs/daily_etl.py", line 22, in daily_etl
    return flights.nope
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/sql/dataframe.py", line 3129, in __getattr__
    raise AttributeError(
AttributeError: 'DataFrame' object has no attribute 'nope'
26/11/24 23:15:59 INFO ShutdownHookManager: Shutdown hook called
"""
JAVA = """\
Exception in thread "main" org.apache.spark.SparkException: Application application_1_0001 finished with failed status
\tat org.apache.spark.deploy.yarn.Client.run(Client.scala:1)
Caused by: java.io.IOException: No space left on device
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)
"""


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        ((OURS,), "jobs/daily_etl.py:15: input weather: there are no files at s3://raw/weather/date=2013-12-31/"),
        ((PYTHON,), "AttributeError: 'DataFrame' object has no attribute 'nope'"),
        ((JAVA,), "java.io.IOException: No space left on device"),
        ((JAVA, PYTHON), "AttributeError: 'DataFrame' object has no attribute 'nope'"),
        (("fatal error: An error occurred (403)\n",), "fatal error: An error occurred (403)"),
    ],
)
def test_the_root_cause_is_one_line_of_five_hundred(texts: tuple[str, ...], first: str) -> None:
    padding = "26/11/24 23:15:58 INFO BlockManager: nothing\n" * 250
    assert root_cause(*(padding + text + padding for text in texts))[0] == first


def test_the_place_of_a_python_error_is_in_the_users_own_file() -> None:
    assert root_cause(PYTHON)[1] == '  File "/mnt/yarn/project/jobs/daily_etl.py", line 22, in daily_etl'


def test_a_log_without_an_error_has_no_cause() -> None:
    assert root_cause("26/11/24 INFO all is well\n", "") == []


class Objects:
    """S3 with objects that grow."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get_paginator(self, name: str) -> Objects:
        return self

    def paginate(self, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        yield {"Contents": [{"Key": key, "ETag": str(hash(data))} for key, data in self.objects.items() if key.startswith(Prefix)]}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        return {"Body": BytesIO(self.objects[Key])}


def test_a_driver_in_cluster_mode_is_followed_through_its_containers_log() -> None:
    s3 = Objects()
    logs = StepLogs(OneClient(s3), "s3://b/logs/", "j-1", "s-1")  # type: ignore[arg-type]
    assert list(logs.new()) == []
    s3.objects["logs/j-1/steps/s-1/stderr.gz"] = gzip.compress(b"Submitted application application_1_0001\n")
    assert [text for _, text in logs.new()] == ["Submitted application application_1_0001\n"]
    driver = "logs/j-1/containers/application_1_0001/container_1_0001_01_000001/stdout.gz"
    s3.objects[driver] = gzip.compress(b"one\n")
    s3.objects[driver.replace("000001/", "000002/")] = gzip.compress(b"an executor's\n")
    assert [(file.source, file.stream, text) for file, text in logs.new()] == [("driver", "stdout", "one\n")]
    s3.objects[driver] = gzip.compress(b"one\ntwo\n")
    assert [text for _, text in logs.new()] == ["two\n"]
    assert list(logs.new()) == []
    assert logs.text("driver", "stdout") == "one\ntwo\n"


def test_a_log_that_is_still_written_is_read_as_far_as_it_goes() -> None:
    text = b"".join(b"line %d\n" % (number * number) for number in range(5000))
    assert text.startswith(unpacked(gzip.compress(text)[:-1000])[:20_000])
    assert len(unpacked(gzip.compress(text)[:-1000])) > 20_000
    assert unpacked(b"plain") == b"plain"


DRIVER = """\
OpenJDK 64-Bit Server VM warning: something of the JVM itself
26/11/25 01:28:18 INFO SparkContext: Running Spark version 3.5.6
26/11/25 01:28:18 INFO V2ScanRelationPushDown: 
Output: carrier#54, name#55
         
26/11/25 01:28:20 INFO Client: Application report for application_1_0001 (state: FINISHED)
\t final status: SUCCEEDED
26/11/25 01:28:21 WARN TaskSetManager: Lost task 0.0 in stage 1.0
java.io.IOException: No space left on device
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)
2026-11-25 01:28:22,123 ERROR Executor: Exception in task 0.0
"""  # noqa: W291, W293


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_of_the_jvms_log_only_warnings_and_errors_are_followed_however_it_is_cut(size: int) -> None:
    output = DriverOutput("stderr")
    pieces = [DRIVER[start : start + size] for start in range(0, len(DRIVER), size)]
    assert [line for piece in pieces for line in output.lines(piece)] == [
        "OpenJDK 64-Bit Server VM warning: something of the JVM itself",
        "26/11/25 01:28:21 WARN TaskSetManager: Lost task 0.0 in stage 1.0",
        "2026-11-25 01:28:22,123 ERROR Executor: Exception in task 0.0",
    ]


def test_what_a_job_prints_is_followed_whole() -> None:
    output = DriverOutput("stdout")
    text = "26/11/25 01:28:18 INFO mine: a line of the job's own\n  compute: 1 of 2"
    assert [line for piece in text for line in output.lines(piece)] == ["26/11/25 01:28:18 INFO mine: a line of the job's own"]
    assert list(output.lines("", last=True)) == ["  compute: 1 of 2"]
