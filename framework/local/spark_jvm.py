"""Spark's driver JVM on this machine: as a local service that stays warm, or as one run's own; and its class archive."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Self

from framework.engines.spark import jvm
from framework.engines.spark.jvm import JvmLaunch, WarmJvm
from framework.errors import EngineUnavailable
from framework.local import artifacts
from framework.local.service import Context, Endpoint, Launch, PortSpec, Settings, check_tcp

if TYPE_CHECKING:
    from framework.local.artifacts import Progress

JAVA = 17
"""What EMR 7 runs Spark with."""

_KEPT_ARCHIVES = 2


class SparkJvm:
    """The warm driver JVM as a local service; `framework.local.spark_host` is its process.

    Args:
        settings: `driver_memory` (heap as Java writes it, default 2g), `idle_minutes` (ends after so long without a run, default
            60), `train` (make the class archive after the first run when there is none, default true).
    """

    name = "spark"
    needs: tuple[str, ...] = ()
    # The JVM chooses its own free port and writes it down together with its secret.
    ports: tuple[PortSpec, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self._memory = str(settings.get("driver_memory", "2g"))
        self._idle_minutes = float(settings.get("idle_minutes", 60))
        self._train = bool(settings.get("train", True))

    def fingerprint(self) -> str:
        parts = [self._memory, self._idle_minutes, self._train, JAVA, sys.executable, importlib.metadata.version("pyspark")]
        return hashlib.sha256(repr(parts).encode() + artifacts.LOCK_FILE.read_bytes()).hexdigest()

    def prepare(self, ctx: Context) -> None:
        _Parts.ensure(ctx.progress)

    def launch(self, ctx: Context) -> Launch:
        warm = _warm(ctx)
        warm.connection.unlink(missing_ok=True)
        warm.lease.unlink(missing_ok=True)
        plan = {
            "argv": _command(self._memory, ctx.progress),
            "connection": str(warm.connection),
            "lock": str(warm.lock),
            "lease": str(warm.lease),
            "log": str(warm.log),
            "idle_seconds": self._idle_minutes * 60,
            "archive": str(archive_path()) if self._train else None,
            "train": [sys.executable, "-m", "framework.local.spark_jvm"],
        }
        file = ctx.private / "host.json"
        file.write_text(json.dumps(plan), encoding="utf-8")
        return Launch(
            argv=[sys.executable, "-m", "framework.local.spark_host", str(file)],
            env=jvm.environment(warm.connection),
            start_timeout=90.0,
        )

    def probe(self, ctx: Context) -> None:
        from framework.engines.spark import session

        try:
            session.disconnect(session.connect(jvm.read_connection(_warm(ctx).connection)))
        except EngineUnavailable as exc:
            raise OSError(exc.message) from exc  # to a supervisor one of our errors would mean: never

    def check(self, ctx: Context) -> None:
        check_tcp(jvm.read_connection(_warm(ctx).connection).port)

    def endpoint(self, ctx: Context) -> Endpoint:
        warm = _warm(ctx)
        return Endpoint(
            self.name, {"connection": str(warm.connection), "lock": str(warm.lock), "lease": str(warm.lease), "log": str(warm.log)}
        )


def warm_jvm(endpoint: Endpoint) -> WarmJvm:
    """What a session needs to know of the running service."""
    return WarmJvm(*(Path(endpoint[key]) for key in ("connection", "lock", "lease", "log")))


def own_jvm(root: Path, *, memory: str = "2g", on_progress: Progress) -> JvmLaunch:
    """A JVM for one run of the project in `root`; its log is `.local/logs/spark-own.log`.

    Raises:
        DownloadFailed: Java or a jar is missing and cannot be fetched.
    """
    local = root / ".local"
    return JvmLaunch(_command(memory, on_progress), cwd=local / "data" / "spark", log=local / "logs" / "spark-own.log")


def _warm(ctx: Context) -> WarmJvm:
    return WarmJvm(
        connection=ctx.private / "connection",
        lock=ctx.private / "in-use.lock",
        lease=ctx.private / "lease.json",
        log=ctx.root / ".local" / "logs" / "spark.log",
    )


def _command(memory: str, on_progress: Progress, *, train: Path | None = None) -> list[str]:
    parts = _Parts.ensure(on_progress)
    archive = None if train else parts.archive()
    return jvm.command(parts.java_home, jars=parts.jars, patches=parts.patches, memory=memory, archive=archive, train=train)


@dataclass(frozen=True)
class _Parts:
    """What a driver JVM is made of, on this machine."""

    java_home: Path
    jars: Sequence[Path]
    patches: Sequence[Path]

    @classmethod
    def ensure(cls, on_progress: Progress) -> Self:
        home = artifacts.ensure_jdk(JAVA, on_progress)
        newer = (artifacts.java_major(home) or JAVA) >= 21
        patches = artifacts.ensure_jars("spark-java21", on_progress) if newer else []
        return cls(home, artifacts.ensure_jars("spark", on_progress), patches)

    def archive(self) -> Path:
        """The class archive for exactly this. Java refuses one when a jar has another path, size or time than when it was made."""
        key = hashlib.sha256(f"{self.java_home} {(self.java_home / 'release').read_text(errors='replace')}".encode())
        for entry in jvm.classpath(self.jars, self.patches):
            stat = Path(entry).stat()
            key.update(f"{entry} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return artifacts.cache_dir() / "cds" / f"spark-{key.hexdigest()[:20]}.jsa"


def _unseen(text: str, done: int | None, total: int | None) -> None:
    """Progress in the background, or where nothing should be left to fetch."""


# ------------------------------------------------------------------------------------------------------- the class archive


def archive_path() -> Path:
    """The class archive for the Java, pyspark and jars of now; it may not be there yet."""
    return _Parts.ensure(_unseen).archive()


def train_archive() -> Path:
    """Make the class archive (about a minute of CPU, 230 MB) unless it is there; later JVMs start from it.

    Raises:
        EngineUnavailable: the training JVM could not be started.
        DownloadFailed: Java or a jar is missing and cannot be fetched.
    """
    from filelock import FileLock

    from framework.engines.spark import training

    archive = archive_path()
    archive.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(archive.parent / "training.lock"):
        if archive.is_file():
            return archive
        for broken in archive.parent.glob(".new-*"):  # of a training that was killed
            shutil.rmtree(broken, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".new-") as scratch:
            folder = Path(scratch)
            new = folder / archive.name
            argv = _command("1g", _unseen, train=new)
            training.train(JvmLaunch(argv, cwd=folder, log=archive.with_suffix(".log")), folder)
            if new.is_file():  # a Java without an archive of its own classes makes none; then starts stay as slow as they are
                new.rename(archive)
        _prune(archive)
    return archive


def _prune(newest: Path) -> None:
    """Archives of other checkouts and older versions, beyond the last few."""
    others = sorted((path for path in newest.parent.glob("*.jsa") if path != newest), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in others[_KEPT_ARCHIVES - 1 :]:
        for path in (old, old.with_suffix(".log")):
            with contextlib.suppress(OSError):
                path.unlink()


def _give_up(number: int, frame: FrameType | None) -> None:
    raise SystemExit(1)


def _main() -> None:
    signal.signal(signal.SIGTERM, _give_up)
    # In the background of somebody's work: last in line for the CPU.
    with contextlib.suppress(OSError):
        os.nice(19)
    train_archive()


if __name__ == "__main__":
    _main()
