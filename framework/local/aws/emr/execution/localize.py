"""Files of a step brought into its working folder, as YARN localises them: from S3, renamed by `#alias`, archives unpacked."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from framework.errors import DatasetNotFound, UserError

LOG_SERVER = "EMRJOBS_LOG_SERVER"
"""Environment variable of an agent: URL of the S3 server that takes its logs."""

_LOG_KEYS = {"EMRJOBS_LOG_KEY_ID": "AWS_ACCESS_KEY_ID", "EMRJOBS_LOG_SECRET": "AWS_SECRET_ACCESS_KEY"}

_S3 = ("s3", "s3a", "s3n")


def is_remote(uri: str) -> bool:
    """Whether it has to be fetched from S3."""
    return urlsplit(uri).scheme in _S3


@dataclass(frozen=True)
class LogServer:
    """Where logs go: to the S3 server itself where it is known, so that they do not wait for the endpoint.

    Attributes:
        keys: id and secret of the endpoint; those of a step's role are for the step. None takes this process's own.
    """

    url: str | None = None
    keys: tuple[str, str] | None = field(default=None, repr=False)

    def client(self) -> Any:
        return _client(self.url, self.keys)

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """What an agent gets of it; the keys are those in `env`, the endpoint's environment."""
        if not self.url:
            return {}
        return {LOG_SERVER: self.url, **{name: env[own] for name, own in _LOG_KEYS.items() if own in env}}

    @classmethod
    def taken(cls, env: MutableMapping[str, str]) -> LogServer:
        """As `environment` said it; takes it out, so that no step has it."""
        url, *keys = (env.pop(name, None) for name in (LOG_SERVER, *_LOG_KEYS))
        return cls(url, (keys[0], keys[1]) if keys[0] and keys[1] else None)


def s3_client() -> Any:
    """S3 as this process's environment says; retries over a restart of the endpoint."""
    return _client(None, None)


def _client(url: str | None, keys: tuple[str, str] | None) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 8, "mode": "standard"}, connect_timeout=5)
    if keys is None:
        return boto3.client("s3", endpoint_url=url, config=config)
    return boto3.Session(*keys).client("s3", endpoint_url=url, config=config)


def fetch(uri: str, folder: Path) -> Path:
    """The file under its own name or `#alias` in `folder`.

    Raises:
        DatasetNotFound: it is not there.
        UserError: a scheme that cannot be fetched.
    """
    address, _, alias = uri.partition("#")
    parts = urlsplit(address)
    name = alias or Path(unquote(parts.path)).name
    if not name or "/" in name:
        raise UserError(f"{uri} does not name a file")
    target = folder / name
    if parts.scheme in _S3:
        _download(parts.netloc, address.partition(f"{parts.netloc}/")[2], target, address)
        return target
    if parts.scheme not in ("", "file"):
        raise UserError(f"{uri}: a local node cannot fetch {parts.scheme}:// files", fix="put it on S3")
    source = Path(address if not parts.scheme else unquote(parts.path)).absolute()
    if not source.exists():
        raise DatasetNotFound(f"File {source} does not exist")
    if source != target.absolute():
        target.unlink(missing_ok=True)
        target.symlink_to(source)
    return target


def _download(bucket: str, key: str, target: Path, uri: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    partial = target.with_name(f".{target.name}.partial")
    try:
        s3_client().download_file(bucket, key, str(partial))
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        if code in ("404", "NoSuchKey", "NoSuchBucket"):
            raise DatasetNotFound(f"{uri} does not exist") from exc
        raise UserError(f"{uri} cannot be read: {exc}") from exc
    except (BotoCoreError, OSError) as exc:
        raise UserError(f"{uri} cannot be read: {exc}") from exc
    partial.replace(target)


def unpack(uri: str, folder: Path) -> Path:
    """Unpack an archive (.zip, .jar, .tar, .tar.gz, .tgz, ...) into `folder/<alias or file name>/`, as YARN does.

    Raises:
        DatasetNotFound: it is not there.
        UserError: it is no archive, or a member of it would land outside.
    """
    address, _, alias = uri.partition("#")
    name = Path(unquote(urlsplit(address).path)).name
    target = folder / (alias or name)
    if target.is_dir():
        return target
    scratch = folder / f".unpack-{alias or name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    archive = fetch(address, scratch)
    content = scratch / "content"
    content.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, content)
        else:
            with tarfile.open(archive) as tar:
                # Links to the build machine's Python are wanted: venv-pack makes them.
                tar.extractall(content, filter="tar")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as exc:
        raise UserError(f"{address} is not an archive that can be unpacked: {exc}") from exc
    content.replace(target)
    shutil.rmtree(scratch, ignore_errors=True)
    return target


def _unzip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            path = file.extract(member, target)
            mode = member.external_attr >> 16
            if mode & 0o111 and not member.is_dir():
                os.chmod(path, mode & 0o777)  # noqa: PTH101
