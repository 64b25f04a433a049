"""What a submit ships: the project's code and its dependencies, as two archives named by what is in them.

An archive is built only when nobody has built it before: its name is the hash of everything that decides its bytes, so an
unchanged submit asks S3 whether the name is there, and uploads nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import framework
from framework.aws import Aws, error_code, explain
from framework.errors import AccessRefused, ConfigError, DatasetNotFound, MissingExtra, UserError
from framework.sources.paths import split_s3

EXTRAS = ("spark", "quality", "trino", "databases", "lineage")
# The cluster brings its own, of its own release.
_ON_THE_CLUSTER = ("pyspark", "py4j")
_MAX_BYTES = 2_000_000_000
_EVERYBODY = ("/global/AllUsers", "/global/AuthenticatedUsers")  # S3 User Guide, Access control list overview
_LAYOUT = "1"  # changes when the way an archive is built does

LAUNCHER = """#!/bin/sh
# The Python of this machine with the packages of this folder. Holds no path of the machine that built it.
here=$(cd "$(dirname "$0")/.." && pwd)
for python in python{version} /usr/bin/python{version} /usr/local/bin/python{version}; do
    if command -v "$python" >/dev/null 2>&1; then
        # Spark's own entries stay first; project/ is the code that the step brought along.
        PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}$here/packages:$(pwd)/project"
        export PYTHONPATH
        exec "$python" "$@"
    fi
done
echo "there is no python{version} on $(hostname 2>/dev/null || echo this node)" >&2
exit 127
"""

ENTRY = """from framework.cli.step import main

main()
"""


@dataclass(frozen=True)
class Machine:
    """What dependencies are resolved for.

    Attributes:
        python: `3.11`.
        architecture: x86_64 or aarch64.
        libc: wheels' platform; Amazon Linux 2023 has glibc 2.34.
    """

    python: str
    architecture: str
    libc: str = "manylinux_2_34"

    @property
    def platform(self) -> str:
        """As uv names it."""
        return f"{self.architecture}-{self.libc}"


@dataclass(frozen=True)
class Artifact:
    """One object of a submit.

    Attributes:
        kind: code, env or entry.
        name: with the hash of its content, or of all that decides it.
        build: makes the file; called only when it is not on S3.
        files: hash by path, of code; for the plan's diff.
    """

    kind: str
    name: str
    build: Callable[[Path], None]
    files: dict[str, str]


@dataclass(frozen=True)
class Stored:
    """An artifact's place, and how many bytes went there (0: it was there)."""

    kind: str
    uri: str
    uploaded: int


def artifacts(root: Path, machine: Machine) -> list[Artifact]:
    """Code, dependencies and entry point of a project.

    Raises:
        ConfigError: there is no uv.lock.
        MissingExtra: uv is not installed.
    """
    files = {name: path.read_bytes() for name, path in _code(root)}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    code = _digest(_LAYOUT, *[f"{name} {hashes[name]}" for name in sorted(hashes)])
    requirements = _requirements(root)
    launcher = LAUNCHER.format(version=machine.python)
    env = _digest(_LAYOUT, requirements, machine.platform, launcher)
    return [
        Artifact("code", f"code-{code}.tar.gz", lambda target: _write_code(files, target), hashes),
        Artifact("env", f"env-{env}.tar.gz", lambda target: _write_env(requirements, launcher, machine, target), {}),
        Artifact("entry", f"step-{_digest(ENTRY)}.py", lambda target: _write_text(ENTRY, target), {}),
    ]


def store(found: Iterable[Artifact], prefix: str, aws: Aws, tell: Callable[[str], None] = lambda text: None) -> list[Stored]:
    """Put what is not there yet below `prefix`; several submits at once are harmless, the bytes are the same.

    Raises:
        DatasetNotFound: there is no such bucket.
        AccessRefused: it may not be written.
        UserError: an archive is too large, or a dependency has no wheel for the cluster.
    """
    bucket, base = split_s3(prefix)
    client = aws.client("s3")
    stored = []
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}
        for one in found:
            key = f"{base.strip('/')}/{one.name}".lstrip("/")
            if not exists(client, bucket, key):
                tell(f"build {one.name}")
                files[key] = Path(folder) / one.name
                one.build(files[key])
            size = _checked_size(files[key]) if key in files else 0
            stored.append(Stored(one.kind, f"s3://{bucket}/{key}", size))
        # Only now: what cannot be built leaves nothing behind.
        for key, file in files.items():
            tell(f"upload {file.name}, {file.stat().st_size / 1e6:.1f} MB")
            try:
                client.upload_file(str(file), bucket, key)
            except Exception as exc:
                raise _about_bucket(exc, bucket, f"write s3://{bucket}/{key}", f"s3:PutObject on arn:aws:s3:::{bucket}/{key}") from exc
    return stored


def exists(client: Any, bucket: str, key: str) -> bool:
    """Whether an object is there.

    Raises:
        DatasetNotFound: there is no such bucket.
        AccessRefused: it may not be asked.
    """
    from botocore.exceptions import ClientError

    needed = f"s3:GetObject on arn:aws:s3:::{bucket}/{key}"
    try:
        client.head_object(Bucket=bucket, Key=key)
    except Exception as exc:
        if isinstance(exc, ClientError) and error_code(exc) in ("404", "NoSuchKey", "NotFound"):
            check_bucket(client, bucket)
            return False
        raise _about_bucket(exc, bucket, f"look at s3://{bucket}/{key}", needed) from exc
    return True


def check_bucket(client: Any, bucket: str) -> None:
    """Whether a bucket is there.

    Raises:
        DatasetNotFound, AccessRefused, ConfigError: it is not, may not be asked, or is in another region.
    """
    # A HEAD has no body: "no such key" and "no such bucket" look the same.
    try:
        client.head_bucket(Bucket=bucket)
    except Exception as exc:
        raise _about_bucket(exc, bucket, f"look at the bucket {bucket}", f"s3:ListBucket on arn:aws:s3:::{bucket}") from exc


def is_public(client: Any, bucket: str) -> bool:
    """Whether everybody can reach a bucket, through its policy or its ACL; False where that cannot be asked."""
    from botocore.exceptions import BotoCoreError, ClientError

    def answer(operation: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = getattr(client, operation)(Bucket=bucket)
        except (ClientError, BotoCoreError):  # no policy, not allowed to ask, or an S3 server without this call
            return {}
        return found

    if answer("get_bucket_policy_status").get("PolicyStatus", {}).get("IsPublic"):
        return True
    grants = answer("get_bucket_acl").get("Grants", [])
    if not any(str(one.get("Grantee", {}).get("URI", "")).endswith(_EVERYBODY) for one in grants):
        return False
    return not answer("get_public_access_block").get("PublicAccessBlockConfiguration", {}).get("IgnorePublicAcls")


def _about_bucket(exc: Exception, bucket: str, doing: str, needed: str) -> Exception:
    code = error_code(exc)
    if code in ("403", "AccessDenied", "Forbidden"):
        # The answer to a HEAD has no body that would say it.
        return AccessRefused(f"could not {doing}: the permission {needed} is missing", fix="allow it to who submits")
    if code in ("404", "NoSuchBucket", "NotFound"):
        return DatasetNotFound(f"could not {doing}: there is no bucket {bucket!r}", fix="create it, or change emr.artifacts (or state)")
    if code in ("301", "PermanentRedirect", "400"):
        return ConfigError(f"could not {doing}: the bucket {bucket} is in another region", fix="set aws.region to the bucket's region")
    return explain(exc, doing)


def _checked_size(file: Path) -> int:
    size = file.stat().st_size
    if size > _MAX_BYTES:
        raise UserError(
            f"{file.name} has {size / 1e9:.1f} GB, more than the {_MAX_BYTES / 1e9:.0f} GB that every node would have to unpack",
            fix="move data files out of jobs/ and configs/, and large models to S3",
        )
    return size


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _code(root: Path) -> Iterator[tuple[str, Path]]:
    """framework/ as it runs here, and the project's jobs/ and configs/."""
    for name, folder in (("framework", Path(framework.__file__).parent), ("jobs", root / "jobs"), ("configs", root / "configs")):
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            hidden = any(part == "__pycache__" or part.startswith(".") for part in parts)
            if path.is_file() and not hidden and path.suffix != ".pyc":
                yield "/".join((name, *parts)), path


def _write_code(files: dict[str, bytes], target: Path) -> None:
    _write_tar(((name, files[name], 0o644) for name in sorted(files)), target)


def _write_text(text: str, target: Path) -> None:
    target.write_text(text, encoding="utf-8")


def _write_env(requirements: str, launcher: str, machine: Machine, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder) / "packages"
        _install(requirements, machine, packages)

        def members() -> Iterator[tuple[str, bytes, int]]:
            yield "bin/python", launcher.encode(), 0o755
            for path in sorted(packages.rglob("*")):
                name = path.relative_to(packages)
                # bin/ holds scripts with the path of this machine's Python in their first line.
                if path.is_file() and name.parts[0] != "bin" and path.suffix != ".pyc" and path.name != ".lock":
                    yield f"packages/{name.as_posix()}", path.read_bytes(), 0o755 if path.suffix == ".so" else 0o644

        _write_tar(members(), target)


def _write_tar(members: Iterable[tuple[str, bytes, int]], target: Path) -> None:
    """The same members give the same bytes: no times, no owners, a fixed order."""
    with target.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=4) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data, mode in members:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), mode
                tar.addfile(entry, io.BytesIO(data))


def _lock(root: Path) -> Path:
    """The folder of the uv.lock that says which versions run."""
    for folder in (root, Path(framework.__file__).parents[1]):
        if (folder / "uv.lock").is_file():
            return folder
    raise ConfigError("there is no uv.lock: which versions the cluster gets cannot be said", where=str(root), fix="run `uv lock`")


def _requirements(root: Path) -> str:
    """Pinned requirements of a job on a cluster, from uv.lock."""
    command = ["export", "--frozen", "--no-emit-project", "--no-hashes", "--no-header", "--no-annotate", "--format", "requirements-txt"]
    command += [part for extra in EXTRAS for part in ("--extra", extra)]
    command += [part for name in _ON_THE_CLUSTER for part in ("--no-emit-package", name)]
    done = _uv(command, cwd=_lock(root))
    if done.returncode:
        raise ConfigError("uv.lock cannot be read", details=done.stderr.strip().splitlines()[-3:], fix="run `uv lock`")
    return "\n".join(sorted(line for line in done.stdout.splitlines() if line.strip()))


def _install(requirements: str, machine: Machine, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(requirements, encoding="utf-8")
        # Only wheels: a source would be built for this machine.
        command = ["pip", "install", "--no-deps", "--only-binary", ":all:", "--no-progress", "--target", str(target), "-r", str(file)]
        command += ["--python-version", machine.python, "--python-platform", machine.platform]
        done = _uv(command, cwd=Path(folder))
    if done.returncode:
        raise _no_wheel(done.stderr, machine)


def _no_wheel(text: str, machine: Machine) -> UserError:
    lines = [line.strip(" \u00d7\u2570\u2500\u25b6\u251c\u2502") for line in text.splitlines() if line.strip()]
    names = {name for pattern in (r"required for `([\w.-]+)`", r"([\w.-]+)==\S+ has no") for name in re.findall(pattern, text)}
    which = ", ".join(sorted(names)) or "a dependency"
    return UserError(
        f"{which} has no wheel for Python {machine.python} on {machine.platform}",
        details=lines[-4:],
        fix="lock another version of it (`uv lock --upgrade-package NAME`), or install it in a bootstrap action",
    )


def _uv(command: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise MissingExtra("uv is not installed", fix="pip install 'emrjobs[emr]'")
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return subprocess.run([uv, *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
