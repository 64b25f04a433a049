"""The warm Spark JVM as a local service."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from framework.engines.spark import session
from framework.engines.spark.jvm import read_connection
from framework.local import artifacts, spark_jvm
from framework.local.supervisor import Supervisor

pytestmark = [
    pytest.mark.spark,
    # pyspark leaves the sockets of collect() to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed.*socket:ResourceWarning"),
]


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.1)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, {"spark": {"driver_memory": "512m", "train": False}})
    yield supervisor
    supervisor.down()


def test_a_killed_run_is_cleared_away_while_nobody_waits_and_down_leaves_nothing(supervisor: Supervisor) -> None:
    warm = spark_jvm.warm_jvm(supervisor.up(["spark"])["spark"])
    (status,) = supervisor.status(["spark"])
    assert status.state == "running"
    assert status.pid is not None
    family = [psutil.Process(status.pid), *psutil.Process(status.pid).children(recursive=True)]
    code = f"""
        import os, signal
        from pathlib import PosixPath
        from framework.engines.spark import session
        from framework.engines.spark.jvm import WarmJvm
        with session.start({{"spark.master": "local[1]"}}, warm={warm!r}) as spark:
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: not warm.lease.exists())
    gateway = session.connect(read_connection(warm.connection))
    try:
        companion = getattr(gateway.jvm.org.apache.spark, "SparkContext$")
        assert not getattr(companion, "MODULE$").getActive().isDefined()
    finally:
        session.disconnect(gateway)
    with session.start({"spark.master": "local[1]"}, warm=warm) as spark:
        assert spark.range(5).count() == 5
    supervisor.down()
    assert not [process for process in family if process.is_running()]


def test_a_killed_jvm_is_noticed_and_started_again(supervisor: Supervisor) -> None:
    endpoint = supervisor.up(["spark"])["spark"]
    (status,) = supervisor.status(["spark"])
    assert status.pid is not None
    (java,) = [child for child in psutil.Process(status.pid).children() if "java" in child.name()]
    java.kill()
    wait_for(lambda: supervisor.status(["spark"])[0].state == "crashed")
    first = read_connection(spark_jvm.warm_jvm(endpoint).connection)
    again = supervisor.up(["spark"])["spark"]
    assert read_connection(spark_jvm.warm_jvm(again).connection) != first


def test_an_idle_jvm_ends_by_itself(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, {"spark": {"driver_memory": "512m", "train": False, "idle_minutes": 0.05}})
    supervisor.up(["spark"])
    try:
        wait_for(lambda: supervisor.status(["spark"])[0].why == "ended by itself (exit code 0)")
    finally:
        supervisor.down()


def test_other_settings_are_another_jvm() -> None:
    prints = {spark_jvm.SparkJvm(settings).fingerprint() for settings in ({}, {"driver_memory": "3g"}, {"driver_memory": "2g"})}
    assert len(prints) == 2


@pytest.mark.slow
def test_the_class_archive_is_made_once_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars = artifacts.cache_dir() / "jars"
    artifacts.ensure_jars("spark", lambda *what: None)
    monkeypatch.setenv("EMRJOBS_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "jars").symlink_to(jars)
    archive = spark_jvm.train_archive()
    made = archive.stat().st_mtime_ns
    assert spark_jvm.train_archive().stat().st_mtime_ns == made
    assert [path.name for path in archive.parent.iterdir() if path.name.startswith(".new-")] == []
    launch = spark_jvm.own_jvm(tmp_path, memory="512m", on_progress=lambda *what: None)
    # `on` instead of `auto`: a JVM that could not use the archive would end at once.
    argv = ["-Xshare:on" if argument == "-Xshare:auto" else argument for argument in launch.argv]
    assert subprocess.run([*argv[:-1], "-version"], capture_output=True, check=False).returncode == 0
