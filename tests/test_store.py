"""Small objects below a prefix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from builders import OneClient

from framework.errors import AccessRefused, ConfigError, DatasetNotFound
from framework.store import FolderStore, S3Store, open_store

NOBODY: Any = None


def test_what_is_put_is_got_and_listed_in_order(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "not" / "there" / "yet")
    store.put("runs/b.json", b"1")
    store.put("runs/a.json", b"2")
    store.put("runs/b.json", b"3")
    assert store.get("runs/b.json") == b"3"
    assert store.get("runs/c.json") is None
    assert list(store.keys("runs/")) == ["runs/a.json", "runs/b.json"]
    assert list(store.keys("runs/b")) == ["runs/b.json"]


def test_a_write_that_was_cut_short_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "a.json.1-2.partial").write_bytes(b"half")
    assert list(FolderStore(tmp_path).keys()) == []


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(FolderStore(tmp_path / "no").keys()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AccessRefused, match="could not write") as caught:
        FolderStore(tmp_path / "file").put("a", b"")
    assert "state:" in str(caught.value.fix)


@pytest.mark.parametrize("prefix", ["{folder}", "file://{folder}"])
def test_a_prefix_may_be_a_folder(tmp_path: Path, prefix: str) -> None:
    store = open_store(prefix.format(folder=tmp_path), NOBODY)
    store.put("a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert store.url("a") == f"file://{tmp_path}{os.sep}a"


def test_other_schemes_cannot_hold_the_state() -> None:
    with pytest.raises(ConfigError, match="must be s3:// or file://"):
        open_store("hdfs:///state", NOBODY)


def s3(prefix: str, *answers: tuple[str, Any, dict[str, Any]]) -> S3Store:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stub = Stubber(client)
    for operation, answer, expected in answers:
        if isinstance(answer, str):
            stub.add_client_error(operation, service_error_code=answer, expected_params=expected)
        else:
            stub.add_response(operation, answer, expected)
    stub.activate()
    aws: Any = OneClient(client)
    return S3Store(prefix, aws)


def test_keys_on_s3_lie_below_the_prefix() -> None:
    store = s3(
        "s3://b/state/",
        ("put_object", {}, {"Bucket": "b", "Key": "state/a", "Body": b"1"}),
        ("list_objects_v2", {"Contents": [{"Key": "state/runs/x"}]}, {"Bucket": "b", "Prefix": "state/runs/"}),
    )
    store.put("a", b"1")
    assert list(store.keys("runs/")) == ["runs/x"]
    assert store.url("a") == "s3://b/state/a"


def test_a_bucket_without_a_prefix() -> None:
    assert s3("s3://b").url("a") == "s3://b/a"


def test_an_object_that_is_not_there_is_none() -> None:
    assert s3("s3://b", ("get_object", "NoSuchKey", {"Bucket": "b", "Key": "a"})).get("a") is None


def test_a_bucket_that_is_not_there_is_told() -> None:
    store = s3("s3://b", ("put_object", "NoSuchBucket", {"Bucket": "b", "Key": "a", "Body": b""}))
    with pytest.raises(DatasetNotFound, match="there is no bucket 'b'"):
        store.put("a", b"")


def test_a_refused_write_is_told() -> None:
    store = s3("s3://b", ("put_object", "AccessDenied", {"Bucket": "b", "Key": "a", "Body": b""}))
    with pytest.raises(AccessRefused, match="could not write s3://b/a: AccessDenied"):
        store.put("a", b"")
