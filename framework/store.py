"""Small objects below one prefix, on S3 or in a folder: run records and logs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from framework.aws import Aws, explain
from framework.errors import AccessRefused, ConfigError, DatasetNotFound
from framework.sources.paths import normalise, split_s3


class Store(Protocol):
    """Keys are relative to the prefix, with `/` between parts."""

    def put(self, key: str, data: bytes) -> None:
        """Write one object, whole or not at all."""

    def get(self, key: str) -> bytes | None:
        """The object, or None."""

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys that start with `prefix`, in order."""

    def url(self, key: str) -> str:
        """Where a person finds the object."""


class S3Store:
    """Objects below an s3:// prefix."""

    def __init__(self, prefix: str, aws: Aws) -> None:
        self._bucket, key = split_s3(prefix)
        self._base = f"{key.strip('/')}/" if key.strip("/") else ""
        self._aws = aws

    def put(self, key: str, data: bytes) -> None:
        try:
            self._aws.client("s3").put_object(Bucket=self._bucket, Key=self._base + key, Body=data)
        except Exception as exc:
            raise self._explain(exc, f"write {self.url(key)}") from exc

    def get(self, key: str) -> bytes | None:
        client = self._aws.client("s3")
        try:
            body: bytes = client.get_object(Bucket=self._bucket, Key=self._base + key)["Body"].read()
        except client.exceptions.NoSuchKey:
            return None
        except Exception as exc:
            raise self._explain(exc, f"read {self.url(key)}") from exc
        return body

    def keys(self, prefix: str = "") -> Iterator[str]:
        try:
            for page in self._aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._base + prefix):
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self._base)
        except Exception as exc:
            raise self._explain(exc, f"list {self.url(prefix)}") from exc

    def url(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._base}{key}"

    def _explain(self, exc: Exception, doing: str) -> Exception:
        code = getattr(exc, "response", {}).get("Error", {}).get("Code", "")
        if code in ("NoSuchBucket", "404"):
            return DatasetNotFound(
                f"could not {doing}: there is no bucket {self._bucket!r}", fix="create it, or change `state:` in the configuration"
            )
        return explain(exc, doing)


class FolderStore:
    """Objects below a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, data: bytes) -> None:
        path = self._folder / key
        partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as exc:
            raise AccessRefused(f"could not write {path}: {exc.strerror}", fix="check `state:` in the configuration") from exc

    def get(self, key: str) -> bytes | None:
        try:
            return (self._folder / key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise AccessRefused(f"could not read {self._folder / key}: {exc.strerror}") from exc

    def keys(self, prefix: str = "") -> Iterator[str]:
        found = (
            path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file() and path.suffix != ".partial"
        )
        yield from sorted(key for key in found if key.startswith(prefix))

    def url(self, key: str) -> str:
        return (self._folder / key).as_uri()


def open_store(prefix: str, aws: Aws) -> Store:
    """The store below a prefix.

    Raises:
        ConfigError: the scheme is none that a store can use.
    """
    uri = normalise(prefix)
    if uri.startswith("s3://"):
        return S3Store(uri, aws)
    if uri.startswith("file://"):
        return FolderStore(Path(unquote(urlsplit(uri).path)))
    raise ConfigError(f"state: {prefix} must be s3:// or file://")
