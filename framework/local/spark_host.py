"""The process of the local service `spark`: keeps a driver JVM up, and clears up after runs that could not do it themselves.

    python -m framework.local.spark_host PLAN.json

The JVM ends with this process, because its standard input does. Beside waiting, it looks every two seconds whether

- a run has died without a goodbye (kill -9): its jobs are cancelled and its Spark context stopped;
- a run's process is gone: the Java objects that it held are released;
- nobody has used the JVM for a long time: everything ends (the next run starts it again);
- there is no class archive yet and the JVM is idle: one is made, at the lowest priority, and given up when a run begins.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from framework.engines.spark.jvm import WarmJvm, read_connection

log = logging.getLogger(__name__)

_LOOK_EVERY = 2.0  # seconds
_IDLE_BEFORE_TRAINING = 10.0  # seconds
_END_TIMEOUT = 5.0  # seconds


class Host:
    """Runs the JVM of one plan.

    Args:
        plan: argv of the JVM; connection, lock, lease, log: see `WarmJvm`; idle_seconds; archive: file to train, or None; train: argv
            that does.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._argv: Sequence[str] = plan["argv"]
        self._warm = WarmJvm(*(Path(plan[key]) for key in ("connection", "lock", "lease", "log")))
        self._idle_seconds = float(plan["idle_seconds"])
        self._archive = Path(plan["archive"]) if plan["archive"] else None
        self._train_argv: Sequence[str] = plan["train"]
        self._trainer: subprocess.Popen[bytes] | None = None
        self._used = False
        self._last_use = time.monotonic()

    def run(self) -> int:
        """Until the JVM ends, or has been idle for long enough; returns the exit code."""
        jvm = subprocess.Popen(self._argv, stdin=subprocess.PIPE)
        try:
            while True:
                try:
                    return jvm.wait(_LOOK_EVERY)
                except subprocess.TimeoutExpired:
                    pass
                self._look()
                if time.monotonic() - self._last_use > self._idle_seconds and self._end_if_free(jvm):
                    return 0
        finally:
            self._stop_training()
            _end(jvm)

    def _look(self) -> None:
        from framework.engines.spark.session import read_lease

        if not self._warm.connection.exists():
            self._last_use = time.monotonic()  # still starting
        lease = read_lease(self._warm)
        if lease:
            self._used = True
            free = self._attend(lease)
            if not free:
                self._last_use = time.monotonic()
        if self._trainer is not None and (self._trainer.poll() is not None or time.monotonic() - self._last_use < _LOOK_EVERY):
            self._stop_training()
        elif self._trainer is None and self._may_train():
            log.info("training the class archive")
            self._trainer = subprocess.Popen(self._train_argv, stdin=subprocess.DEVNULL)

    def _attend(self, lease: dict[str, Any]) -> bool:
        """Clear up after the last user if it is gone; whether the JVM is free."""
        gone = not _alive(lease.get("pid"))
        try:
            with FileLock(self._warm.lock).acquire(timeout=0):
                if gone or not lease.get("clean"):
                    self._clear(lease)
                return True
        except Timeout:
            return False

    def _clear(self, lease: dict[str, Any]) -> None:
        from framework.engines.spark import session
        from framework.errors import EmrjobsError

        try:
            gateway = session.connect(read_connection(self._warm.connection))
        except (OSError, ValueError, EmrjobsError):
            return  # still starting, or about to be found dead
        try:
            if not lease.get("clean"):
                log.warning("the run of process %s ended without stopping Spark; doing it", lease.get("pid"))
                session.clear(gateway)
            count = session.forget_objects(gateway, int(lease.get("first_object", 0)))
            log.info("released %d objects", count)
            self._warm.lease.unlink(missing_ok=True)
        finally:
            session.disconnect(gateway)

    def _may_train(self) -> bool:
        if self._archive is None or not self._used or self._archive.exists():
            return False
        return time.monotonic() - self._last_use > _IDLE_BEFORE_TRAINING

    def _stop_training(self) -> None:
        if self._trainer is not None:
            self._trainer.terminate()
            try:
                self._trainer.wait(_END_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._trainer.kill()
                self._trainer.wait()
            self._trainer = None

    def _end_if_free(self, jvm: subprocess.Popen[bytes]) -> bool:
        try:
            with FileLock(self._warm.lock).acquire(timeout=0):
                log.info("idle for %.0f s: ending", self._idle_seconds)
                self._warm.connection.unlink(missing_ok=True)
                _end(jvm)
                return True
        except Timeout:
            return False


def _end(jvm: subprocess.Popen[bytes]) -> None:
    assert jvm.stdin is not None
    jvm.stdin.close()
    try:
        jvm.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        jvm.kill()
        jvm.wait()


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(plan_file: Path) -> int:
    """Run the plan in that file until told to stop (SIGTERM)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-5s host: %(message)s")
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Host(json.loads(plan_file.read_text(encoding="utf-8"))).run()


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
