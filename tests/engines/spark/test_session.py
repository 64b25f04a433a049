"""Sessions in a warm JVM, and in one of their own."""

from __future__ import annotations

import http.server
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from framework.engines.spark import jvm, session
from framework.engines.spark.jvm import JvmLaunch, OwnJvm, WarmJvm, read_connection
from framework.engines.spark.progress import ProgressPoller, SparkProgress
from framework.errors import EngineUnavailable
from framework.local import artifacts

pytestmark = [
    pytest.mark.spark,
    # pyspark leaves the sockets of collect() to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed.*socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:distutils Version classes:DeprecationWarning"),
]

LOCAL = {"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2"}


def _unseen(text: str, done: int | None, total: int | None) -> None: ...


@pytest.fixture(scope="session")
def java_home() -> Path:
    return artifacts.ensure_jdk(17, _unseen)


@pytest.fixture(scope="session")
def jars() -> list[Path]:
    return artifacts.ensure_jars("spark", _unseen)


@pytest.fixture
def launch(java_home: Path, jars: list[Path], tmp_path: Path) -> JvmLaunch:
    return JvmLaunch(jvm.command(java_home, jars=jars, memory="512m"), cwd=tmp_path / "cwd", log=tmp_path / "jvm.log")


@dataclass(frozen=True)
class Running:
    """A warm JVM as a session sees it, and its process."""

    warm: WarmJvm
    process: psutil.Process

    def workers(self) -> list[psutil.Process]:
        return self.process.children(recursive=True)


@pytest.fixture(scope="session")
def running(java_home: Path, jars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("warm")
    own = OwnJvm(JvmLaunch(jvm.command(java_home, jars=jars, memory="1g"), cwd=folder, log=folder / "jvm.log"))
    own.connection()
    warm = WarmJvm(connection=own.connection_file, lock=folder / "lock", lease=folder / "lease", log=folder / "jvm.log")
    yield Running(warm, psutil.Process(own.process.pid))
    own.close()


@pytest.fixture
def warm(running: Running) -> WarmJvm:
    return running.warm


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.05)


def active_context(warm: WarmJvm) -> bool:
    gateway = session.connect(read_connection(warm.connection))
    try:
        spark = gateway.jvm.org.apache.spark
        return bool(getattr(getattr(spark, "SparkContext$"), "MODULE$").getActive().isDefined())
    finally:
        session.disconnect(gateway)


class FakeS3:
    """Answers 404 to everything and remembers who asked."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                fake.keys.update(re.findall(r"Credential=(\w+)/", self.headers.get("Authorization", "")))
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = answer  # noqa: N815

            def log_message(self, *args: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def conf(self, key: str) -> dict[str, str]:
        s3a = "spark.hadoop.fs.s3a."
        return {
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            f"{s3a}endpoint": f"http://127.0.0.1:{self.server.server_port}",
            f"{s3a}path.style.access": "true",
            f"{s3a}access.key": key,
            f"{s3a}secret.key": "secret",
            f"{s3a}aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        }


@pytest.fixture
def two_s3() -> Iterator[tuple[FakeS3, FakeS3]]:
    both = FakeS3(), FakeS3()
    yield both
    for one in both:
        one.server.shutdown()
        one.server.server_close()


def test_a_run_talks_to_its_own_s3_with_its_own_keys(warm: WarmJvm, two_s3: tuple[FakeS3, FakeS3]) -> None:
    for number, fake in enumerate(two_s3):
        with session.start({**LOCAL, **fake.conf(f"KEY{number}")}, warm=warm) as spark, pytest.raises(Exception, match="PATH_NOT_FOUND"):
            spark.read.parquet("s3://bucket/nothing").count()
    assert [fake.keys for fake in two_s3] == [{"KEY0"}, {"KEY1"}]


def test_a_catalog_of_one_run_is_unknown_to_the_next(warm: WarmJvm, tmp_path: Path) -> None:
    def lake(folder: str) -> dict[str, str]:
        return {
            **LOCAL,
            "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.lake.type": "hadoop",
            "spark.sql.catalog.lake.warehouse": str(tmp_path / folder),
        }

    with session.start(lake("one"), warm=warm) as spark:
        spark.sql("create table lake.db.t as select 1 as one")
        assert spark.table("lake.db.t").collect() == [(1,)]
    with session.start(lake("two"), warm=warm) as spark:
        assert not spark.catalog.tableExists("lake.db.t")
        spark.sql("create table lake.db.t as select 2 as two")
    with session.start(lake("one"), warm=warm) as spark:
        assert spark.table("lake.db.t").collect() == [(1,)]
    with session.start(LOCAL, warm=warm) as spark, pytest.raises(Exception, match="REQUIRES_SINGLE_PART_NAMESPACE"):
        spark.table("lake.db.t")


def test_settings_and_views_of_one_run_are_unknown_to_the_next(warm: WarmJvm) -> None:
    with session.start({**LOCAL, "spark.sql.ansi.enabled": "true", "spark.x": "1"}, warm=warm) as spark:
        spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
        spark.range(1).createOrReplaceGlobalTempView("v")
        spark.range(1).createOrReplaceTempView("v")
        application = spark.sparkContext.applicationId
    with session.start(LOCAL, warm=warm) as spark:
        assert spark.sparkContext.applicationId != application
        assert spark.conf.get("spark.sql.ansi.enabled") == "false"
        assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
        assert spark.sparkContext.getConf().get("spark.x") is None
        assert not spark.catalog.tableExists("v")
        assert not spark.catalog.tableExists("global_temp.v")


def test_python_workers_import_the_projects_modules_and_end_with_the_run(running: Running, tmp_path: Path) -> None:
    for number in (1, 2):
        project = tmp_path / str(number)
        project.mkdir()
        (project / "project_module.py").write_text(f"def plus(value):\n    return value + {number}\n")

        def plus(value: int) -> int:
            import project_module

            return int(project_module.plus(value))

        with session.start(LOCAL, warm=running.warm, python_path=[project]) as spark:
            from pyspark.sql.functions import udf

            assert [row[0] for row in spark.range(3).select(udf(plus, "long")("id")).collect()] == [number, number + 1, number + 2]
            assert spark.range(3).mapInPandas(lambda frames: (frame * 2 for frame in frames), "id long").agg({"id": "sum"}).first()[0] == 6
            python = spark.sparkContext.parallelize([0]).map(lambda _: sys.executable).first()
            assert python == sys.executable
            assert running.workers()
        wait_for(lambda: not running.workers())


def test_a_busy_warm_jvm_is_not_waited_for(warm: WarmJvm, launch: JvmLaunch) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        from filelock import FileLock

        with FileLock(warm.lock):
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        with pytest.raises(session.WarmJvmBusy, match="in use by another run"), session.start(LOCAL, warm=warm, wait=0):
            pass
        told: list[str] = []
        with session.start(LOCAL, warm=warm, launch=launch, wait=0, tell=told.append) as spark:
            assert spark.range(10).count() == 10
        assert told == ["the warm Spark JVM is in use by another run; starting another JVM"]
    finally:
        done.set()
        holder.join()


@pytest.mark.parametrize("content", [None, b"", b"\x00\x00\x00\x09\x00\x00\x00\x01x"])
def test_a_warm_jvm_that_does_not_answer_is_said_so(warm: WarmJvm, tmp_path: Path, content: bytes | None) -> None:
    gone = replace(warm, connection=tmp_path / "connection")
    if content is not None:
        gone.connection.write_bytes(content)
    with pytest.raises(session.WarmJvmBusy, match="does not answer"), session.start(LOCAL, warm=gone):
        pass


def test_the_texts_of_errors_outlive_the_session(warm: WarmJvm) -> None:
    with pytest.raises(Exception, match="no_such_table") as wrong, session.start(LOCAL, warm=warm) as spark:
        spark.sql("select * from no_such_table")
    assert type(wrong.value).__name__ == "AnalysisException"
    with pytest.raises(Exception, match="deliberate") as failed, session.start(LOCAL, warm=warm) as spark:
        spark.sql("select raise_error('deliberate')").collect()
    assert "deliberate" in str(failed.value)


def test_one_process_has_one_session_at_a_time(warm: WarmJvm, launch: JvmLaunch) -> None:
    with session.start(LOCAL, warm=warm) as spark:
        with pytest.raises(EngineUnavailable, match="already has a Spark session"), session.start(LOCAL, warm=warm, launch=launch, wait=0):
            pass
        assert spark.range(5).count() == 5


def client(warm: WarmJvm, body: str) -> subprocess.Popen[bytes]:
    """A process of its own that runs `body` in a session; it has printed `running` when it returns."""
    code = f"""
        import time
        from pathlib import Path, PosixPath
        from framework.engines.spark import session
        from framework.engines.spark.jvm import JvmLaunch, WarmJvm
        with session.start({LOCAL!r}, {"warm" if isinstance(warm, WarmJvm) else "launch"}={warm!r}) as spark:
            sc = spark.sparkContext
            print("running", flush=True)
            {body}
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"running\n"
    return process


FOREVER = "sc.parallelize([0, 1], 2).map(lambda _: time.sleep(600)).collect()"


def test_a_killed_run_is_cleared_away_by_the_next(running: Running) -> None:
    with client(running.warm, FOREVER) as process:
        wait_for(running.workers)
        process.kill()
    assert active_context(running.warm)
    with session.start(LOCAL, warm=running.warm) as spark:
        assert spark.range(7).count() == 7
        assert len(spark.sparkContext.statusTracker().getActiveJobsIds()) == 0
    assert not active_context(running.warm)
    wait_for(lambda: not running.workers())


def test_ctrl_c_cancels_the_jobs_at_once(running: Running) -> None:
    with client(running.warm, FOREVER) as process:
        wait_for(running.workers)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, error = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert b"KeyboardInterrupt" in error
    assert process.returncode != 0
    assert not active_context(running.warm)
    wait_for(lambda: not running.workers())


def test_the_objects_of_a_process_that_is_gone_can_be_released(warm: WarmJvm) -> None:
    with client(warm, "frames = [spark.range(10) for _ in range(20)]; import os; os._exit(0)") as process:
        process.wait(60)
    gateway = session.connect(read_connection(warm.connection))
    try:
        assert session.forget_objects(gateway, session.read_lease(warm)["first_object"]) > 20
        with session.start(LOCAL, warm=warm) as spark:
            assert spark.range(3).count() == 3
    finally:
        session.disconnect(gateway)


def test_a_jvm_of_its_own_ends_with_the_session(launch: JvmLaunch) -> None:
    before = set(psutil.Process().children())
    with session.start(LOCAL, launch=launch) as spark:
        (java,) = set(psutil.Process().children()) - before
        assert spark.range(3).count() == 3
    assert not java.is_running()
    assert "PYSPARK_PYTHON" not in os.environ


def test_a_jvm_of_its_own_ends_when_its_process_is_killed(launch: JvmLaunch) -> None:
    with client(launch, FOREVER) as process:  # type: ignore[arg-type]
        (java,) = [child for child in psutil.Process(process.pid).children() if "java" in child.name()]
        process.kill()
    psutil.wait_procs([java], 30)
    assert not java.is_running()


def test_a_jvm_that_cannot_start_says_why(launch: JvmLaunch) -> None:
    broken = replace(launch, argv=[launch.argv[0], "-Xmx1k", *launch.argv[2:]])
    with pytest.raises(EngineUnavailable, match="ended with code 1 while it started") as failed, session.start(LOCAL, launch=broken):
        pass
    assert "heap" in str(failed.value)
    missing = replace(launch, argv=["/nowhere/bin/java"])
    with pytest.raises(EngineUnavailable, match="Java cannot be started"), session.start(LOCAL, launch=missing):
        pass


def test_a_broken_class_archive_only_costs_time(java_home: Path, jars: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.jsa").write_bytes(b"nonsense" * 1000)
    command = jvm.command(java_home, jars=jars, memory="512m", archive=tmp_path / "broken.jsa")
    with session.start(LOCAL, launch=JvmLaunch(command, cwd=tmp_path, log=tmp_path / "log")) as spark:
        assert spark.range(3).count() == 3
    assert "WARN" not in (tmp_path / "log").read_text()


def test_progress_counts_tasks_and_names_the_job(warm: WarmJvm) -> None:
    seen: list[SparkProgress] = []
    with session.start(LOCAL, warm=warm) as spark, ProgressPoller(spark.sparkContext, seen.append, interval=0.02):
        spark.sparkContext.setJobDescription("counting  the\nflights")
        spark.sparkContext.parallelize(range(4), 4).map(lambda _: time.sleep(0.2)).count()
        wait_for(lambda: seen and seen[-1] == SparkProgress())
    busy = [progress for progress in seen if progress.total]
    assert {progress.description for progress in busy} == {"counting the flights"}
    assert {progress.total for progress in busy} == {4}
    assert all(0 <= progress.done <= 4 for progress in busy)
    assert not [thread for thread in threading.enumerate() if thread.name == "spark-progress"]


def test_an_error_that_is_its_own_cause_does_not_hold_up_the_end() -> None:
    error = ValueError("again")
    error.__cause__ = error
    session._keep_texts(error)
