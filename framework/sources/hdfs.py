"""HDFS as Python sees it: over WebHDFS, where the configuration says where that is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from framework.errors import ServiceUnavailable


def is_hdfs(uri: str | None) -> bool:
    """True for `hdfs://...`."""
    return bool(uri) and str(uri).lower().startswith("hdfs://")


def without_authority(text: str) -> str:
    """A text with every `hdfs://host:port/` as `hdfs:///`: engines name the NameNode, jobs do not."""
    return re.sub(r"hdfs://[\w.:-]+/", "hdfs:///", text)


@dataclass(frozen=True)
class Hdfs:
    """The file system that `hdfs:///path` is a path of; see `framework.config.model.Hdfs`."""

    uri: str
    web: str | None = None
    core_site: str | None = None

    def files(self, uri: str) -> dict[str, int] | None:
        """Bytes by path of the files at or below a URI without wildcards; None where nobody can be asked.

        Raises:
            ServiceUnavailable: the NameNode does not answer.
        """
        if not self._asks(uri):
            return None
        found: dict[str, int] = {}
        with self._web() as files, suppress(FileNotFoundError):
            path = urlsplit(uri).path or "/"
            files.info(path)  # `find` takes a folder that is not there, and a server that does not answer, for an empty folder
            found = {str(name): int(info["size"]) for name, info in files.find(path, detail=True).items()}
        return found

    def delete(self, uri: str) -> bool:
        """Delete a folder with all that is in it, or nothing where there is none; whether somebody could be asked to.

        Raises:
            ServiceUnavailable: the NameNode does not answer.
        """
        if not self._asks(uri):
            return False
        with self._web() as files, suppress(FileNotFoundError):
            files.rm(urlsplit(uri).path, recursive=True)
        return True

    def _asks(self, uri: str) -> bool:
        return self.web is not None and urlsplit(uri).netloc in ("", urlsplit(self.uri).netloc)

    @contextmanager
    def _web(self) -> Iterator[Any]:
        import getpass

        import fsspec
        import requests

        place = urlsplit(self.web or "")
        try:
            yield fsspec.filesystem(
                "webhdfs",
                host=place.hostname,
                port=place.port,
                user=getpass.getuser(),
                use_https=place.scheme == "https",
                skip_instance_cache=True,
            )
        except requests.RequestException as exc:
            raise ServiceUnavailable(
                f"HDFS does not answer at {self.web}: {type(exc).__name__}",
                fix="`emrjobs local status` shows the local servers; elsewhere check hdfs.web (`emrjobs config show`)",
            ) from exc
