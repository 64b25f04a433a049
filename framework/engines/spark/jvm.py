"""The JVM that a Spark driver lives in: how it is started, found and spoken to.

PySpark starts its JVM through `spark-submit`, which is a shell script, a first JVM that works out the command line, and a
second one that does the work. Here the second one is started directly, while Python still imports pyspark, with a class
archive (AppCDS) that halves its start. It runs py4j's gateway, and may outlive the Python process (`WarmJvm`).
"""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from framework.errors import EngineUnavailable, MissingExtra

_MAIN = "org.apache.spark.api.python.PythonGatewayServer"
_LOG_CONFIG = Path(__file__).with_name("log4j2.properties")

# What Spark itself opens for JDK 17 (org.apache.spark.launcher.JavaModuleOptions of 3.5.6), and one more.
_OPENED = (
    *(f"java.base/java.{name}" for name in ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "util", "util.concurrent")),
    "java.base/java.util.concurrent.atomic",
    "java.base/java.util.stream",  # for session.clear
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.cs",
    "java.base/sun.security.action",
    "java.base/sun.util.calendar",
    "java.security.jgss/sun.security.krb5",
)


@dataclass(frozen=True)
class JvmLaunch:
    """A driver JVM to start for one session.

    Attributes:
        argv: from `command`.
        cwd: working directory of the JVM and of the Python workers; `spark-warehouse` may appear there.
        log: file that takes what the JVM says; appended to.
        env: added to (None: removed from) the environment.
    """

    argv: Sequence[str]
    cwd: Path
    log: Path
    env: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class WarmJvm:
    """A driver JVM that somebody else keeps running, for one session at a time.

    Attributes:
        connection: file that holds its port and secret; not there or not answering: it is down.
        lock: file whose lock the user of the JVM holds.
        lease: file in which the user of the JVM says who it is, so that what it leaves behind can be cleared away.
        log: file that takes what the JVM says.
    """

    connection: Path
    lock: Path
    lease: Path
    log: Path


@dataclass(frozen=True)
class Connection:
    """Where a JVM's py4j gateway listens, and what it wants to hear first."""

    port: int
    secret: str = field(repr=False)


def spark_home() -> Path:
    """The folder of the installed pyspark, found without importing it.

    Raises:
        MissingExtra: pyspark is not installed.
    """
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise MissingExtra("Spark jobs need the package 'pyspark', which is not installed", fix="pip install 'emrjobs[spark]'")
    return Path(found.origin).parent


def classpath(jars: Sequence[Path], patches: Sequence[Path] = ()) -> list[str]:
    """`patches`, pyspark's own jars and `jars`, each part sorted: the class archive is only valid for one order."""
    return [str(jar) for part in (patches, (spark_home() / "jars").glob("*.jar"), jars) for jar in sorted(part)]


def command(
    java_home: Path,
    *,
    jars: Sequence[Path],
    patches: Sequence[Path] = (),
    memory: str = "2g",
    archive: Path | None = None,
    train: Path | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """Program and arguments of a driver JVM.

    Args:
        jars: beside those of pyspark; on the class path, so nothing is copied at a session's start.
        patches: jars that win over pyspark's own.
        memory: heap, as Java writes it.
        archive: class archive to start from; a missing, stale or broken one is ignored by the JVM.
        train: write a class archive here when the JVM ends.
        options: further JVM options.
    """
    share = [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"] if archive else []
    dump = [f"-XX:ArchiveClassesAtExit={train}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"] if train else []
    return [
        str(java_home / "bin" / "java"),
        f"-Xmx{memory}",
        *share,
        *dump,
        # Heap that a finished run no longer needs goes back to the machine.
        "-XX:G1PeriodicGCInterval=60000",
        # A cluster's machines run in UTC and UTF-8.
        "-Duser.timezone=UTC",
        "-Dfile.encoding=UTF-8",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}",
        "-XX:+IgnoreUnrecognizedVMOptions",
        *(f"--add-opens={module}=ALL-UNNAMED" for module in _OPENED),
        "-Djdk.reflect.useDirectMethodHandle=false",
        *options,
        "-cp",
        os.pathsep.join(classpath(jars, patches)),
        _MAIN,
    ]


def environment(connection: Path) -> dict[str, str | None]:
    """Environment of a driver JVM (None: to be removed); `connection` is where it will say how it is reached."""
    return {
        "_PYSPARK_DRIVER_CONN_INFO_PATH": str(connection),
        "SPARK_HOME": str(spark_home()),
        "SPARK_LOCAL_IP": "127.0.0.1",
        # Credentials and endpoints come with each session's conf; those of the shell that happened to start the JVM must not win.
        **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL")),
        "AWS_EC2_METADATA_DISABLED": "true",
        # Settings of another Spark, or of another Java program, on this machine.
        **dict.fromkeys(("SPARK_CONF_DIR", "HADOOP_CONF_DIR", "CLASSPATH", "JDK_JAVA_OPTIONS", "PYSPARK_GATEWAY_PORT")),
    }


def read_connection(path: Path) -> Connection:
    """The port and secret that a JVM wrote: 4 bytes port, 4 bytes length, the secret (PythonGatewayServer).

    Raises:
        OSError: not there (yet).
        ValueError: not complete.
    """
    data = path.read_bytes()
    if len(data) < 8:
        raise ValueError(f"{path} is not complete")
    port, length = struct.unpack("!ii", data[:8])
    if length <= 0 or len(data) != 8 + length:
        raise ValueError(f"{path} is not complete")
    return Connection(port, data[8:].decode())


class OwnJvm:
    """A driver JVM of this process: started at once, ends with it, whatever way it ends."""

    def __init__(self, launch: JvmLaunch) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="emrjobs-spark-")
        self.connection_file = Path(self._folder.name) / "connection"
        self._log = launch.log
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        launch.cwd.mkdir(parents=True, exist_ok=True)
        changes = {**environment(self.connection_file), **launch.env}
        env = {key: value for key, value in {**os.environ, **changes}.items() if value is not None}
        with launch.log.open("ab") as log:
            try:
                # The gateway stops at the end of its standard input: when this process dies, so does the JVM. A process group of its
                # own keeps the terminal's Ctrl-C away from it: the session cancels its jobs and stops it in order.
                self.process = subprocess.Popen(
                    launch.argv, stdin=subprocess.PIPE, stdout=log, stderr=log, env=env, cwd=launch.cwd, process_group=0
                )
            except OSError as exc:
                self._folder.cleanup()
                raise EngineUnavailable(f"Java cannot be started: {exc}", where=launch.argv[0]) from exc

    def connection(self, timeout: float = 60.0) -> Connection:
        """Wait until the JVM can be spoken to.

        Args:
            timeout: seconds.

        Raises:
            EngineUnavailable: it ended, or said nothing in time; with the last lines of its log.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                return read_connection(self.connection_file)
            except (OSError, ValueError):
                pass
            try:
                code = self.process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            raise EngineUnavailable(f"Spark's JVM ended with code {code} while it started", where=self._log, details=tail(self._log))
        raise EngineUnavailable(f"Spark's JVM did not start within {timeout:.0f} s", where=self._log, details=tail(self._log))

    def close(self, timeout: float = 20.0) -> int:
        """Stop the JVM and return its exit code; a class archive in training is written now."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._folder.cleanup()

    def kill(self) -> None:
        """End the JVM without ado."""
        self.process.kill()
        self.close()


def tail(log: Path, lines: int = 12) -> list[str]:
    """The last lines of a JVM's log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
