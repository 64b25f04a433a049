"""The Java class behind hdfs:// of a node, compiled once per user by the Janino that is among pyspark's jars: no JDK is needed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from framework.local import artifacts

CLASS = "emrjobs.NodeFileSystem"
FOLDER = "node-classes"

_SOURCE = Path(__file__).with_name("NodeFileSystem.java")
_JANINO = ("janino", "commons-compiler")
_NEEDED = ("hadoop-client-", "slf4j-api", "commons-logging")
_SECONDS = 120  # it takes one


def ensure_classes(java_home: Path, spark_home: Path) -> Path:
    """The folder of classes, for class paths.

    Raises:
        ServiceUnavailable: it cannot be made.
    """
    jars = sorted((spark_home / "jars").glob("*.jar"))
    key = hashlib.sha256(_SOURCE.read_bytes() + "".join(jar.name for jar in jars if jar.name.startswith(_NEEDED)).encode())
    home = artifacts.cache_dir() / FOLDER / f"{FOLDER}-{key.hexdigest()[:12]}"

    def compiled(source: Path, scratch: Path) -> Path:
        def path(starts: tuple[str, ...]) -> str:
            return os.pathsep.join(str(jar) for jar in jars if jar.name.startswith(starts))

        # What Janino has in the place of javac is called a demo.
        compiler = [str(java_home / "bin/java"), "-cp", path(_JANINO), "org.codehaus.commons.compiler.samples.CompilerDemo"]
        classes = scratch / FOLDER
        classes.mkdir()
        argv = [*compiler, "-d", str(classes), "-classpath", path(_NEEDED), str(source)]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as exc:
            raise OSError(f"the compiler did not end within {_SECONDS} seconds") from exc
        if not list(classes.glob("**/*.class")):
            raise OSError((done.stderr or done.stdout).strip()[:500] or f"the compiler ended with {done.returncode}")
        return classes

    return artifacts.unpacked(home, lambda: _SOURCE, compiled, what=f"the class {CLASS}")
