"""EMRFS-compatible URIs: normalised, and looked at before Spark is asked to read them."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from framework import jobs
from framework.aws import Aws, explain
from framework.errors import DatasetNotFound, EmrjobsError, JobDefinitionError
from framework.sources.hdfs import Hdfs, is_hdfs

_S3_ALIASES = ("s3a", "s3n")
_SCHEMES = ("s3", "hdfs", "file")


@dataclass(frozen=True)
class PathRead:
    """Files to read.

    Attributes:
        uri: normalised, placeholders filled in.
        format: parquet, orc, avro, json or csv.
        schema: Spark SQL DDL, or None where the files carry their own.
        options: reader options.
        size_bytes: what the listing said, None where it was not listed.
        files: number of files found, None where it was not listed.
        quarantine: folder for records that do not parse; None when they end the job.
        max_malformed: share of the records that may be set aside.
        dedupe: which of several records of one key is read.
    """

    uri: str
    format: str
    schema: str | None
    options: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    files: int | None = None
    quarantine: str | None = None
    max_malformed: float = 0.0
    dedupe: jobs.Newest | None = None


def normalise(uri: str, *, where: str | None = None) -> str:
    """The URI with `s3a://` and `s3n://` written as `s3://`; a plain path becomes `file://`.

    Raises:
        DatasetNotFound: the scheme is none that a job can read.
    """
    scheme, found, rest = uri.partition("://")
    if not found:
        return FilePath(uri).absolute().as_uri()
    scheme = scheme.lower()
    if scheme in _S3_ALIASES:
        scheme = "s3"
    if scheme not in _SCHEMES:
        raise DatasetNotFound(f"{uri}: unknown scheme {scheme}://", where=where, fix=f"use one of {', '.join(s + '://' for s in _SCHEMES)}")
    return f"{scheme}://{rest}"


def output_location(output: jobs.Table, names: Mapping[str, object], *, where: str) -> str | None:
    """Where a job wants its new table, normalised, names of `paths:` filled in; None for its database's folder.

    Raises:
        ParameterError: a placeholder is no such name.
        JobDefinitionError: it is not in HDFS. On S3 a table has one place, which policies and clean-ups know.
    """
    if output.location is None:
        return None
    uri = normalise(jobs.fill(output.location, names, what="output: location", where=where), where=where).rstrip("/")
    if not is_hdfs(uri):
        raise JobDefinitionError(
            f"output: location {uri} is not in HDFS",
            where=where,
            fix="remove it: a table on S3 lies in its database's folder below catalog.warehouse",
        )
    return uri


def split_s3(uri: str) -> tuple[str, str]:
    """(bucket, key) of an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def resolve(
    name: str,
    dataset: jobs.Path,
    values: Mapping[str, object],
    aws: Aws,
    *,
    where: str,
    quarantine: str | None = None,
    hdfs: Callable[[], Hdfs | None] = lambda: None,
) -> PathRead:
    """Fill in a Path input and make sure that there is something to read.

    Args:
        name: the input's name, for messages.
        values: parameters and `paths:` entries by name.
        quarantine: folder of the run for records that do not parse.
        hdfs: asked when the path is one of HDFS; None leaves the looking to the engine.

    Raises:
        DatasetNotFound: the bucket is not there, or no file lies below the path.
    """
    uri = normalise(jobs.fill(dataset.uri, values, what=f"input {name}", where=where), where=where)
    size, files = None, None
    if uri.startswith("s3://"):
        size, files = _look_at_s3(name, uri, aws, where)
    elif uri.startswith("hdfs://"):
        size, files = _look_at_hdfs(name, uri, hdfs(), where)
    elif uri.startswith("file://") and "*" not in uri:
        path = FilePath(unquote(urlsplit(uri).path))
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            raise DatasetNotFound(f"input {name}: there are no files at {uri}", where=where, fix="check the path and the parameters in it")
    aside = f"{quarantine}/{name}" if quarantine and dataset.malformed == "quarantine" else None
    options = dict(dataset.options)
    return PathRead(uri, dataset.format, dataset.schema, options, size, files, aside, dataset.max_malformed, dataset.dedupe)


def _look_at_s3(name: str, uri: str, aws: Aws, where: str) -> tuple[int, int]:
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = split_s3(uri)
    # A wildcard is Spark's business from there on; up to it the path must exist.
    prefix = key.partition("*")[0]
    size = files = 0
    try:
        for page in aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                leaf = item["Key"].rsplit("/", 1)[-1]
                inside = prefix.endswith("/") or "*" in key or item["Key"] == prefix or item["Key"].startswith(prefix + "/")
                # Spark does not read names that start with _ or . either.
                if leaf and inside and not leaf.startswith(("_", ".")):
                    files += 1
                    size += item["Size"]
    except ClientError as exc:
        if exc.response.get("Error", {}).get("Code") in ("NoSuchBucket", "404"):
            raise DatasetNotFound(
                f"input {name}: there is no bucket {bucket!r} ({uri})",
                where=where,
                fix="check `paths:` in the configuration (`emrjobs config show`)",
            ) from exc
        raise explain(exc, f"list {uri}") from exc
    except BotoCoreError as exc:
        raise explain(exc, f"list {uri}") from exc
    if not files:
        raise DatasetNotFound(f"input {name}: there are no files at {uri}", where=where, fix="check the path and the parameters in it")
    return size, files


def _look_at_hdfs(name: str, uri: str, hdfs: Hdfs | None, where: str) -> tuple[int | None, int | None]:
    fixed, wildcard, _ = uri.partition("*")
    found = hdfs.files(fixed.rpartition("/")[0] if wildcard else uri) if hdfs else None
    if found is None:
        return None, None
    sizes = [size for path, size in found.items() if not path.rpartition("/")[2].startswith(("_", "."))]
    if not sizes:
        raise DatasetNotFound(f"input {name}: there are no files at {uri}", where=where, fix="check the path and the parameters in it")
    return (None, None) if wildcard else (sum(sizes), len(sizes))


def line_of(uri: str, record: str, aws: Aws) -> int | None:
    """1-based line of a record in a file of one record a line; None when no line is exactly the record.

    Raises:
        EmrjobsError: the file cannot be read.
    """
    wanted = record.strip()
    try:
        with _lines(normalise(uri), aws) as lines:
            texts = (line.decode("utf-8", errors="replace").strip() for line in lines)  # as Spark decodes them
            return next((number for number, text in enumerate(texts, start=1) if text == wanted), None)
    except EmrjobsError:
        raise
    except Exception as exc:
        raise explain(exc, f"read {uri}") from exc


@contextmanager
def _lines(uri: str, aws: Aws) -> Iterator[Iterable[bytes]]:
    """The lines of one file, unpacked as Spark does it: by the name's end."""
    with _open(uri, aws) as file:
        if uri.endswith(".gz"):
            yield gzip.GzipFile(fileobj=file)
        elif uri.endswith(".bz2"):
            yield bz2.BZ2File(file)
        else:
            yield file


def _open(uri: str, aws: Aws) -> BinaryIO:
    if uri.startswith("s3://"):
        bucket, key = split_s3(uri)
        body = aws.client("s3").get_object(Bucket=bucket, Key=unquote(key))["Body"]
        return io.BufferedReader(body)  # the body itself gives blocks, not lines
    if uri.startswith("file:"):
        return FilePath(unquote(urlsplit(uri).path)).open("rb")
    raise EmrjobsError(f"{uri} can only be read by the engine")
