"""Small objects below one prefix, on S3 or in a folder: run records and logs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from framework.aws import Aws, error_code, explain
from framework.errors import AccessRefused, ConfigError, DatasetNotFound
from framework.sources.paths import normalise, split_s3

_NOT_THAT_ONE = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


@dataclass(frozen=True)
class Versioned:
    """An object with what it takes to replace exactly it.

    Attributes:
        tag: changes with every write.
        age: seconds since it was written, by the store's own clock.
    """

    data: bytes
    tag: str
    age: float


class Store(Protocol):
    """Keys are relative to the prefix, with `/` between parts."""

    def put(self, key: str, data: bytes) -> None:
        """Write one object, whole or not at all."""

    def get(self, key: str) -> bytes | None:
        """The object, or None."""

    def look(self, key: str) -> Versioned | None:
        """The object with its tag and age, or None."""

    def put_if(self, key: str, data: bytes, *, tag: str | None) -> str | None:
        """Write one object if it is still the one with this tag (None: if there is none); its new tag, or None when it was not."""

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

    def look(self, key: str) -> Versioned | None:
        client = self._aws.client("s3")
        try:
            answer = client.get_object(Bucket=self._bucket, Key=self._base + key)
            data: bytes = answer["Body"].read()
        except client.exceptions.NoSuchKey:
            return None
        except Exception as exc:
            raise self._explain(exc, f"read {self.url(key)}") from exc
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return Versioned(data, answer["ETag"], (now - answer["LastModified"]).total_seconds())

    def put_if(self, key: str, data: bytes, *, tag: str | None) -> str | None:
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        client = self._aws.client("s3")
        try:
            answer = client.put_object(Bucket=self._bucket, Key=self._base + key, Body=data, **condition)
        except Exception as exc:
            # 409: another conditional write was under way (S3 API, PutObject). 404: what was to be replaced is gone.
            if error_code(exc) in (*_NOT_THAT_ONE, *(("NoSuchKey", "404") if tag else ())):
                return None
            raise self._explain(exc, f"write {self.url(key)}") from exc
        return str(answer["ETag"])

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
        code = error_code(exc)
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

    def look(self, key: str) -> Versioned | None:
        data = self.get(key)
        if data is None:
            return None
        try:
            written = (self._folder / key).stat().st_mtime
        except FileNotFoundError:
            return None
        return Versioned(data, hashlib.sha256(data).hexdigest(), time.time() - written)

    def put_if(self, key: str, data: bytes, *, tag: str | None) -> str | None:
        with self._locked(key):
            found = self.look(key)
            if (found.tag if found else None) != tag:
                return None
            self.put(key, data)
        return hashlib.sha256(data).hexdigest()

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """One writer of conditional writes at a time, whichever process it is in."""
        path = self._folder / f"{key}.lock.partial"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as exc:
            raise AccessRefused(f"could not lock {path}: {exc.strerror}", fix="check `state:` in the configuration") from exc

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
