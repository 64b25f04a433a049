"""s3-dist-cp on a local node: EMR's options over S3, hdfs:// and file://, copied by threads of one process in the place of MapReduce.

Source of the options: Release Guide, "S3DistCp (s3-dist-cp)". What is not done here is refused with a reason, never ignored.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from framework.errors import DatasetNotFound, UserError
from framework.local.aws.emr.execution import localize
from framework.local.aws.emr.execution.node import Node

_THREADS = 8
_PIECE = 4 * 1024 * 1024
_MIB = 1024 * 1024
# Codecs of pyarrow, by EMR's name; the extension is added to the file's name.
_CODECS = {"gzip": "gzip", "gz": "gzip", "snappy": "snappy", "none": None}
_EXTENSIONS = {"gzip": ".gz", "snappy": ".snappy"}
_KNOWN_EXTENSIONS = {".gz": "gzip", ".bz2": "bz2", ".snappy": "snappy"}
_REFUSED = {
    "lzo": "the LZO codec",
    "storageClass": "storage classes",
    "s3ServerSideEncryption": "server-side encryption",
    "srcPrefixesFile": "--srcPrefixesFile",
    "numberFiles": "--numberFiles",
    "startingIndex": "--startingIndex",
}


@dataclass(frozen=True)
class Source:
    """One file to copy.

    Attributes:
        uri: as it is named in manifests and matched by patterns.
        relative: below --src.
    """

    uri: str
    relative: str
    size: int


@dataclass(frozen=True)
class Target:
    """One file to write: the sources in their order, one after the other."""

    relative: str
    sources: tuple[Source, ...]


def options(args: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; every documented option is known.

    Raises:
        UserError: an unknown option, a missing one, or one that the local node does not do.
    """
    parser = argparse.ArgumentParser(prog="s3-dist-cp", add_help=False, exit_on_error=False, allow_abbrev=False)
    for name in ("src", "dest", "srcPattern", "groupBy", "targetSize", "outputCodec", "outputManifest", "previousManifest"):
        parser.add_argument(f"--{name}")
    # Of no effect here: one process needs no temporary folder, and pyarrow decides how it uploads.
    for name in ("s3Endpoint", "tmpDir", "multipartUploadChunkSize"):
        parser.add_argument(f"--{name}")
    for name in ("storageClass", "srcPrefixesFile", "numberFiles", "startingIndex"):
        parser.add_argument(f"--{name}")
    for name in ("appendToLastFile", "requirePreviousManifest", "copyFromManifest", "deleteOnSuccess", "disableMultipartUpload"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--s3ServerSideEncryption", action="store_true")
    try:
        found, unknown = parser.parse_known_args(list(_joined(args)))
    except argparse.ArgumentError as exc:
        raise UserError(str(exc)) from exc
    if unknown:
        raise UserError(f"Unknown option {unknown[0]}")
    if not found.dest or not (found.src or found.copyFromManifest):
        raise UserError("--src and --dest are required")
    for name, what in _REFUSED.items():
        if name == found.outputCodec or getattr(found, name, None):
            raise UserError(f"the local node's s3-dist-cp does not support {what}")
    if found.outputCodec is not None and found.outputCodec not in _CODECS:
        raise UserError(f"--outputCodec {found.outputCodec} is not one of {', '.join(_CODECS)}, lzo")
    if found.groupBy is not None and re.compile(found.groupBy).groups == 0:
        raise UserError("--groupBy must have a group: put parentheses around what the files to join have in common")
    if found.copyFromManifest and not found.previousManifest:
        raise UserError("--copyFromManifest needs --previousManifest")
    return found


_FLAGS = {"--requirePreviousManifest", "--appendToLastFile"}


def _joined(args: Sequence[str]) -> Iterator[str]:
    """Options as the shell gave them; EMR's documentation quotes patterns once more (`--groupBy='.*(x).*'`)."""
    for arg in args:
        name, equals, value = arg.partition("=")
        if name in _FLAGS and equals:
            if value.lower() != "false":
                yield name
        elif equals and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            yield f"{name}={value[1:-1]}"
        else:
            yield arg


def plan(
    sources: Iterable[Source], *, pattern: str | None, group_by: str | None, target_size: int | None, codec: str | None
) -> list[Target]:
    """Which files to write, from which sources. Pure.

    Args:
        pattern: the whole URI must match it.
        group_by: as `pattern`; what its groups match names the file that the sources are joined in.
        target_size: MiB after which a joined file is full.
        codec: EMR's name; None leaves files as they are.
    """
    chosen = [source for source in sources if pattern is None or re.fullmatch(pattern, source.uri)]
    if group_by is None:
        return [Target(renamed(source.relative, codec), (source,)) for source in chosen]
    groups: dict[str, list[Source]] = defaultdict(list)
    for source in chosen:
        match = re.fullmatch(group_by, source.uri)
        if match is not None:
            groups["".join(part or "" for part in match.groups())].append(source)
    targets: list[Target] = []
    for name, members in sorted(groups.items()):
        parts = _parts(members, target_size)
        for number, part in enumerate(parts):
            numbered = f"{name}{number}" if target_size is not None else name
            extension = _EXTENSIONS.get(str(_CODECS.get(codec)), "") if codec else _common_extension(part)
            targets.append(Target(f"{numbered}{'' if numbered.endswith(extension) else extension}", tuple(part)))
    return targets


def _parts(members: Sequence[Source], target_size: int | None) -> list[list[Source]]:
    if target_size is None:
        return [list(members)]
    parts: list[list[Source]] = [[]]
    size = 0
    for source in members:
        if parts[-1] and size + source.size > target_size * _MIB:
            parts.append([])
            size = 0
        parts[-1].append(source)
        size += source.size
    return parts


def _common_extension(sources: Sequence[Source]) -> str:
    extensions = {PurePosixPath(source.relative).suffix for source in sources}
    return extensions.pop() if len(extensions) == 1 and extensions <= _KNOWN_EXTENSIONS.keys() else ""


def renamed(relative: str, codec: str | None) -> str:
    """A file's name under an output codec: its compression's extension goes, the new one comes."""
    if codec is None:
        return relative
    stem = relative.removesuffix(PurePosixPath(relative).suffix) if PurePosixPath(relative).suffix in _KNOWN_EXTENSIONS else relative
    return stem + _EXTENSIONS.get(str(_CODECS[codec]), "")


class Files:
    """S3, hdfs:// and file:// behind one interface: pyarrow's file systems."""

    def __init__(self, node: Node) -> None:
        from pyarrow import fs

        self._node = node
        self._boto: Any = None
        self._local = fs.LocalFileSystem()
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        override = {"endpoint_override": endpoint, "scheme": urlsplit(endpoint).scheme} if endpoint else {}
        self._s3 = fs.S3FileSystem(region=node.region, allow_bucket_creation=False, **override)

    def at(self, uri: str) -> tuple[Any, str]:
        """File system and path in it."""
        parts = urlsplit(uri)
        if parts.scheme in ("s3", "s3a", "s3n"):
            return self._s3, uri.partition("://")[2].rstrip("/")
        path = unquote(parts.path)
        if parts.scheme == "file":
            return self._local, self._node.path(path)
        if parts.scheme in ("hdfs", ""):
            return self._local, str(self._node.hdfs / path.lstrip("/"))
        raise UserError(f"{uri}: s3-dist-cp copies between s3://, hdfs:// and file://")

    def listed(self, uri: str) -> list[Source]:
        """All files below a URI, or the file itself.

        Raises:
            DatasetNotFound: there is nothing.
        """
        from pyarrow import fs

        system, path = self.at(uri)
        found = system.get_file_info(path)
        if found.type == fs.FileType.File:
            return [Source(uri, PurePosixPath(path).name, found.size)]
        if found.type == fs.FileType.NotFound:
            raise DatasetNotFound(f"Input path does not exist: {uri}")
        below = system.get_file_info(fs.FileSelector(path, recursive=True))
        base = uri.rstrip("/")
        return [
            Source(f"{base}/{(relative := info.path[len(path) :].lstrip('/'))}", relative, info.size)
            for info in sorted(below, key=lambda info: info.path)
            if info.is_file
        ]

    def pieces(self, uri: str, *, unpack: bool) -> Iterator[bytes]:
        """Content of a file, uncompressed by its extension where asked."""
        system, path = self.at(uri)
        codec = _KNOWN_EXTENSIONS.get(PurePosixPath(path).suffix) if unpack else None
        with system.open_input_stream(path, compression=codec) as stream:
            while piece := stream.read(_PIECE):
                yield piece

    def write(self, uri: str, pieces: Iterable[bytes], codec: str | None) -> int:
        """Write a file; returns its size as written."""
        system, path = self.at(uri)
        if system is self._local:
            system.create_dir(str(PurePosixPath(path).parent), recursive=True)
        with system.open_output_stream(path, compression=codec) as stream:
            for piece in pieces:
                stream.write(piece)
        return int(system.get_file_info(path).size)

    def delete(self, uri: str) -> None:
        system, path = self.at(uri)
        if system is self._local:
            system.delete_file(path)
        else:  # pyarrow would leave an empty object in the place of the folder
            bucket, _, key = path.partition("/")
            self._client().delete_object(Bucket=bucket, Key=key)

    def _client(self) -> Any:
        if self._boto is None:
            self._boto = localize.s3_client()
        return self._boto


def run(node: Node, args: Sequence[str]) -> int:
    """s3-dist-cp. Files that were copied stay when another fails, as on EMR."""
    chosen = options(args)
    files = Files(node)
    previous = _manifest(files, chosen.previousManifest, required=chosen.requirePreviousManifest)
    sources = _from_manifest(files, previous.values()) if chosen.copyFromManifest else files.listed(chosen.src)
    if not chosen.copyFromManifest:
        sources = [source for source in sources if source.uri not in previous]
    size = int(chosen.targetSize) if chosen.targetSize else None
    targets = plan(sources, pattern=chosen.srcPattern, group_by=chosen.groupBy, target_size=size, codec=chosen.outputCodec)
    _say(f"{len(sources)} files below {chosen.src or chosen.previousManifest}; writing {len(targets)} files to {chosen.dest}")
    with ThreadPoolExecutor(_THREADS) as pool:
        written = list(pool.map(lambda target: _copy(files, target, chosen, size), targets))
    if chosen.outputManifest:
        entries = [entry for part in written for entry in part]
        _write_manifest(files, f"{chosen.dest.rstrip('/')}/{chosen.outputManifest}", [*previous.values(), *entries])
    if chosen.deleteOnSuccess:
        for target in targets:
            for source in target.sources:
                files.delete(source.uri)
    _say(f"copied {sum(len(target.sources) for target in targets)} files, {sum(entry['size'] for part in written for entry in part)} bytes")
    return 0


def _copy(files: Files, target: Target, chosen: argparse.Namespace, size: int | None) -> list[dict[str, Any]]:
    uri = f"{chosen.dest.rstrip('/')}/{target.relative}"
    recode = chosen.outputCodec is not None
    codec = _CODECS[chosen.outputCodec] if recode else None
    parts: list[Iterable[bytes]] = []
    if chosen.appendToLastFile and chosen.groupBy:
        before = _present(files, uri)
        if before is not None and (size is None or before.size < size * _MIB):
            # The old content has to be read before the file is written anew.
            parts.append(list(files.pieces(uri, unpack=recode)))
    parts += [files.pieces(source.uri, unpack=recode) for source in target.sources]
    count = files.write(uri, (piece for part in parts for piece in part), codec)
    share = {"path": uri, "baseName": target.relative, "srcDir": chosen.src or ""}
    return [{**share, "size": count if index == 0 else 0, "source": source.uri} for index, source in enumerate(target.sources)]


def _present(files: Files, uri: str) -> Source | None:
    try:
        found = files.listed(uri)
    except DatasetNotFound:
        return None
    return found[0] if len(found) == 1 and found[0].uri == uri else None


def _manifest(files: Files, uri: str | None, *, required: bool) -> Mapping[str, dict[str, Any]]:
    """Entries of a manifest by their source; one JSON object per line, gzip by extension."""
    if uri is None:
        if required:
            raise UserError("--requirePreviousManifest needs --previousManifest")
        return {}
    try:
        content = b"".join(files.pieces(uri, unpack=True))
    except (OSError, DatasetNotFound) as exc:
        if required:
            raise DatasetNotFound(f"the previous manifest {uri} cannot be read") from exc
        return {}
    entries = [json.loads(line) for line in content.splitlines() if line.strip()]
    return {str(entry.get("source", entry["path"])): entry for entry in entries}


def _from_manifest(files: Files, entries: Iterable[Mapping[str, Any]]) -> list[Source]:
    seen: dict[str, Source] = {}
    for entry in entries:
        for source in files.listed(entry["path"]):
            seen[source.uri] = Source(source.uri, entry["baseName"], source.size)
    return list(seen.values())


def _write_manifest(files: Files, uri: str, entries: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    files.write(uri, [gzip.compress(text)] if uri.endswith(".gz") else [text], None)


def _say(text: str) -> None:
    sys.stderr.write(f"s3-dist-cp: {text}\n")
    sys.stderr.flush()
