"""URIs of files, and what is said when nothing lies there."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from builders import OneClient

from framework import jobs
from framework.errors import AccessRefused, DatasetNotFound, EmrjobsError
from framework.sources import paths


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://b/k", "s3://b/k"),
        ("s3a://b/k", "s3://b/k"),
        ("S3N://b/k", "s3://b/k"),
        ("hdfs:///data", "hdfs:///data"),
        ("file:///data/x", "file:///data/x"),
        ("/data/a b", "file:///data/a%20b"),
    ],
)
def test_uris_are_written_one_way(uri: str, expected: str) -> None:
    assert paths.normalise(uri) == expected


@pytest.mark.parametrize("uri", ["gs://b/k", "http://x/y", "://x"])
def test_other_schemes_are_refused(uri: str) -> None:
    with pytest.raises(DatasetNotFound, match="unknown scheme") as caught:
        paths.normalise(uri, where="jobs/a.py:3")
    assert caught.value.where == "jobs/a.py:3"


def test_a_bucket_and_its_key() -> None:
    assert paths.split_s3("s3://b/k/l") == ("b", "k/l")
    assert paths.split_s3("s3://b") == ("b", "")


def resolve(uri: str, *objects: tuple[str, int], error: str | None = None) -> paths.PathRead:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stub = Stubber(client)
    if error:
        stub.add_client_error("list_objects_v2", service_error_code=error)
    else:
        stub.add_response("list_objects_v2", {"Contents": [{"Key": key, "Size": size} for key, size in objects]} if objects else {})
    stub.activate()
    values = {"raw": "s3a://raw", "date": dt.date(2013, 1, 15)}
    aws: Any = OneClient(client)
    return paths.resolve("weather", jobs.Path(uri), values, aws, where="jobs/a.py:3")


def test_what_spark_reads_is_counted_and_nothing_else() -> None:
    found = resolve(
        "{raw}/w/date={date}/",
        ("w/date=2013-01-15/a", 10),
        ("w/date=2013-01-15/_SUCCESS", 1),
        ("w/date=2013-01-15/.x", 1),
        ("w/date=2013-01-15/", 0),
    )
    assert (found.uri, found.files, found.size_bytes) == ("s3://raw/w/date=2013-01-15/", 1, 10)


def test_a_longer_name_is_not_below_a_folder() -> None:
    with pytest.raises(DatasetNotFound):
        resolve("s3://b/2013", ("2013-01/a", 1))
    assert resolve("s3://b/2013", ("2013/a", 1), ("2013-01/a", 1)).files == 1
    assert resolve("s3://b/2013*/", ("2013/a", 1), ("2013-01/a", 1)).files == 2
    assert resolve("s3://b/a.parquet", ("a.parquet", 1)).files == 1


def test_a_path_with_no_files_is_told_with_the_job_s_place() -> None:
    with pytest.raises(DatasetNotFound, match="input weather: there are no files at s3://raw/w/") as caught:
        resolve("{raw}/w/")
    assert caught.value.where == "jobs/a.py:3"
    assert caught.value.exit_code == 2


def test_a_bucket_that_is_not_there_is_told() -> None:
    with pytest.raises(DatasetNotFound, match=r"there is no bucket 'raw' \(s3://raw/w/\)"):
        resolve("{raw}/w/", error="NoSuchBucket")


def test_a_bucket_that_may_not_be_read_is_refused_access() -> None:
    with pytest.raises(AccessRefused, match="could not list s3://raw/w/: AccessDenied"):
        resolve("{raw}/w/", error="AccessDenied")


def test_a_folder_of_this_machine(tmp_path: FilePath) -> None:
    aws: Any = None
    folder = tmp_path / "a b"
    dataset = jobs.Path(str(folder))
    with pytest.raises(DatasetNotFound, match="there are no files"):
        paths.resolve("x", dataset, {}, aws, where="a")
    folder.mkdir()
    with pytest.raises(DatasetNotFound, match="there are no files"):
        paths.resolve("x", dataset, {}, aws, where="a")
    (folder / "part").touch()
    assert paths.resolve("x", dataset, {}, aws, where="a").uri == folder.as_uri()


@pytest.mark.parametrize(("name", "pack"), [("x.json", bytes), ("x.json.gz", gzip.compress), ("x.json.bz2", bz2.compress)])
def test_the_line_of_a_record_is_found(name: str, pack: Callable[[bytes], bytes], tmp_path: FilePath) -> None:
    aws: Any = None
    (tmp_path / name).write_bytes(pack(b'{"a": 1}\r\n{"a": caf\xe9\n{"a": 3}\n'))
    uri = (tmp_path / name).as_uri()
    assert paths.line_of(uri, '{"a": caf\ufffd', aws) == 2
    assert paths.line_of(uri, "nope", aws) is None


def test_the_line_of_a_record_in_s3_is_found() -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    text = b"".join(b'{"number": %d}\n' % number for number in range(2000))
    with Stubber(client) as stub:
        stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(text), len(text))}, {"Bucket": "b", "Key": "a b.json"})
        aws: Any = OneClient(client)
        assert paths.line_of("s3://b/a%20b.json", '{"number": 1234}', aws) == 1235


def test_a_file_that_cannot_be_read_here_is_an_error_of_ours() -> None:
    aws: Any = None
    with pytest.raises(EmrjobsError, match="only be read by the engine"):
        paths.line_of("hdfs:///x", "record", aws)
    with pytest.raises(EmrjobsError, match="could not read file:///not/there"):
        paths.line_of("file:///not/there", "record", aws)
