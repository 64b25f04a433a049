"""HDFS as Python sees it, without a server."""

from __future__ import annotations

import pytest
from builders import OneClient, attempt

from framework import jobs
from framework.errors import JobDefinitionError, ServiceUnavailable
from framework.local.ports import is_free
from framework.sources import paths
from framework.sources.hdfs import Hdfs, is_hdfs, without_authority


@pytest.mark.parametrize(("uri", "is_one"), [("hdfs:///x", True), ("HDFS://nn:8020/x", True), ("s3://hdfs/x", False), (None, False)])
def test_what_lies_in_hdfs_is_told_by_its_scheme(uri: str | None, is_one: bool) -> None:
    assert is_hdfs(uri) == is_one


def test_the_name_node_of_a_path_does_not_tell_two_paths_apart() -> None:
    assert without_authority("[hdfs://nn-1.internal:8020/a, hdfs:///b]") == "[hdfs:///a, hdfs:///b]"


@pytest.mark.parametrize(
    ("hdfs", "uri"),
    [
        (None, "hdfs:///data/"),
        (Hdfs("hdfs://nn:8020"), "hdfs:///data/"),
        (Hdfs("hdfs://nn:8020", "http://nn:9870"), "hdfs://another:8020/data/"),
    ],
)
def test_a_file_system_that_nobody_can_be_asked_about_is_left_to_the_engine(hdfs: Hdfs | None, uri: str) -> None:
    read = paths.resolve("rows", jobs.Path(uri), {}, OneClient(None), where="jobs/a.py:1", hdfs=lambda: hdfs)  # type: ignore[arg-type]
    assert (read.uri, read.files, read.size_bytes) == (uri, None, None)


def test_a_name_node_that_does_not_answer_is_worth_a_retry_and_named() -> None:
    port = next(port for port in range(20_900, 21_000) if is_free(port))
    error = attempt(lambda: Hdfs("hdfs://127.0.0.1:1", f"http://127.0.0.1:{port}").files("hdfs:///data/"))
    assert isinstance(error, ServiceUnavailable)
    assert error.retryable
    assert error.message == f"HDFS does not answer at http://127.0.0.1:{port}: ConnectionError"


def test_a_location_takes_names_of_paths_and_is_in_hdfs() -> None:
    output = jobs.Table("db.out", format="orc", location="{scratch}/out/")
    assert paths.output_location(output, {"scratch": "hdfs:///scratch"}, where="jobs/a.py:1") == "hdfs:///scratch/out"
    assert paths.output_location(jobs.Table("db.out"), {}, where="jobs/a.py:1") is None
    error = attempt(lambda: paths.output_location(output, {"scratch": "s3://scratch"}, where="jobs/a.py:1"))
    assert isinstance(error, JobDefinitionError)
    assert str(error).startswith("jobs/a.py:1: output: location s3://scratch/out is not in HDFS")
