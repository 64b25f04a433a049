"""The process beside one piece of work: starts it, keeps its logs and pushes them, ends it when told, writes down how it ended.

It is started by the executor and lives on when the endpoint dies; whoever starts the endpoint again finds it by its process id
and start time. It starts with few imports, so that a step begins within a fraction of a second of its turn.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

from framework.local import processes
from framework.local.aws.emr.contract import TIMED_OUT, Outcome, WorkKind
from framework.local.aws.emr.execution import daemons, localize
from framework.local.aws.emr.execution.causes import explain
from framework.local.aws.emr.execution.controller import Controller
from framework.local.aws.emr.execution.logs import LogPusher, container_uri, log_uri
from framework.local.aws.emr.execution.node import Node
from framework.local.aws.emr.execution.steps import Launch, Refused, plan
from framework.local.aws.emr.execution.workspace import WorkFolder, read_json, write_json

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""

LAST_PUSH = 15.0
"""Seconds that the last logs may take before the outcome is told without them."""

_NODE_STOPPED = "The local endpoint was stopped while it ran."


class Agent:
    """One piece of work from its start to its outcome."""

    def __init__(self, folder: WorkFolder) -> None:
        self._folder = folder
        self._order = folder.order()
        self._controller = Controller(folder.log("controller"), self._order)
        self._pusher = LogPusher(folder, self._order, localize.LogServer.taken(os.environ).client)
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._timed_out = False

    def run(self) -> None:
        """Do the work and write its outcome."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_stop)
        _adopt_orphans()
        self._record()
        started = time.time()
        self._pusher.start()
        launch: Launch | None = None
        outcome: Outcome
        try:
            launch = self._plan()
            if launch is None:
                outcome = Outcome(0)
            elif self._cancelled():
                outcome = Outcome(None, cancelled=True)
            else:
                outcome = self._judge(self._execute(launch))
        except Refused as exc:
            with self._folder.log("stderr").open("a", encoding="utf-8") as err:
                err.write(f"{exc.message}\n")
            outcome = Outcome(exc.exit_code, exc.reason, exc.message, self._where("stderr"))
        except Exception as exc:  # whatever it was: the control plane has to be told an end
            logging.getLogger(__name__).exception("the agent failed")
            outcome = Outcome(None, "Unknown Error.", f"the local executor failed: {type(exc).__name__}: {exc}", self._where("controller"))
        self._controller.ended(outcome.exit_code, time.time() - started)
        if not self._pusher.finish(LAST_PUSH):
            self._folder.undelivered.touch()
        ended = Outcome(**{**vars(outcome), "started": started, "ended": time.time()})
        self._folder.write_outcome(ended)

    def _plan(self) -> Launch | None:
        node = Node.load(self._folder.cluster)
        if node is None:
            raise Refused("Unknown Error.", "the cluster has no node on this machine")
        self._controller.began()
        return plan(self._order.work, node, self._folder.cwd, os.environ["PATH"])

    def _execute(self, launch: Launch) -> int:
        folder, work = self._folder, self._order.work
        env = {
            **os.environ,
            "EMRJOBS_CONTAINERS": str(folder.containers),
            "EMRJOBS_SYSLOG": str(folder.log("syslog")),
            **({"EMR_STEP_ID": work.id} if work.kind is WorkKind.STEP else {}),
            **launch.env,
        }
        self._controller.starting(launch.argv, os.environ["PATH"], folder.cwd)
        with contextlib.ExitStack() as stack:
            out: IO[bytes] = stack.enter_context(folder.log("stdout").open("ab"))
            err: IO[bytes] = stack.enter_context(folder.log("stderr").open("ab"))
            try:
                self._child = subprocess.Popen(
                    launch.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder.cwd, env=env, start_new_session=True
                )
            except OSError as exc:
                text = f'Cannot run program "{launch.argv[0]}": error={exc.errno}, {exc.strerror}'
                raise Refused("Unknown Error.", text, 126) from exc
        self._record()
        self._controller.child(self._child.pid)
        if self._stopping.is_set():  # told between the last look and the start
            self._end_child()
        timer = None
        if work.timeout is not None:
            timer = threading.Timer(work.timeout, self._time_over)
            timer.daemon = True
            timer.start()
        code = self._child.wait()
        if timer is not None:
            timer.cancel()
        if work.kind is not WorkKind.BOOTSTRAP or self._stopping.is_set():
            self._sweep()
        self._controller.child_ended(launch.argv, code, time.time())
        return code

    def _judge(self, code: int) -> Outcome:
        if self._timed_out:
            return Outcome(code, TIMED_OUT, f"It ran longer than {self._order.work.timeout:.0f} seconds.", self._where("controller"))
        if self._cancelled():
            return Outcome(code, cancelled=True)
        if self._stopping.is_set():
            return Outcome(code, "Unknown Error.", _NODE_STOPPED, self._where("controller"))
        if code == 0:
            return Outcome(0)
        containers = sorted(self._folder.containers.glob("application_*/container_*/std*"))
        logs = [path for path in containers if path.suffix != ".gz"]
        logs = [*sorted(logs, key=lambda path: path.name), *(self._folder.log(name) for name in ("stderr", "syslog", "stdout"))]
        cause = explain(logs, code)
        if code < 0 and cause.log is None:
            return Outcome(code, cause.reason, f"ended by {signal.Signals(-code).name}", self._where("controller"))
        return Outcome(code, cause.reason, cause.message, self._uri(cause.log) if cause.log else self._where("controller"))

    def _uri(self, log: Path) -> str:
        if log.is_relative_to(self._folder.containers):
            return container_uri(self._order, log.relative_to(self._folder.containers).as_posix()) or str(log)
        return self._where(log.name)

    def _where(self, name: str) -> str:
        return log_uri(self._order, name) or str(self._folder.log(name))

    # -- the processes -----------------------------------------------------------------------------------------------------

    def _record(self) -> None:
        pids = {"agent": os.getpid(), **({"child": self._child.pid} if self._child is not None else {})}
        write_json(self._folder.processes, {name: {"pid": pid, "started": _started(pid)} for name, pid in pids.items()})

    def _cancelled(self) -> bool:
        return self._folder.cancel.exists()

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()
        if self._child is not None:
            # In a thread: a signal handler must not wait.
            threading.Thread(target=self._end_child, name="end", daemon=True).start()

    def _time_over(self) -> None:
        self._timed_out = True
        self._end_child()

    def _end_child(self) -> None:
        child = self._child
        if child is None:
            return
        how = read_json(self._folder.cancel) or {}
        members = self._family()
        if not how.get("force"):
            _signal_group(child.pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE
            while child.poll() is None and time.monotonic() < deadline:
                if (read_json(self._folder.cancel) or {}).get("force"):
                    break
                time.sleep(0.05)
        _signal_group(child.pid, signal.SIGKILL)
        processes.kill([*{*members, *self._family()}])

    def _sweep(self) -> None:
        """Nothing that a step started outlives it."""
        for _ in range(5):
            members = self._family()
            if not members:
                return
            processes.kill(members)
            psutil.wait_procs(members, timeout=2)

    def _family(self) -> list[psutil.Process]:
        """All that the work started, but what belongs to the cluster."""
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            spared = daemons.spared(self._folder.cluster)
            children = psutil.Process().children(recursive=True)
            found = [child for child in children if child.pid not in spared and child.status() != psutil.STATUS_ZOMBIE]
        return found


def _started(pid: int) -> float:
    try:
        return processes.started(psutil.Process(pid))
    except psutil.Error:
        return -1.0


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _adopt_orphans() -> None:
    """Have what the work leaves behind handed to this process (prctl PR_SET_CHILD_SUBREAPER), so that it can be found; Linux only."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


@contextlib.contextmanager
def _only_one(folder: WorkFolder) -> Iterator[bool]:
    """Whether this is the one agent of the work: no other lives, and none has lived."""
    with folder.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield not folder.processes.exists() and folder.outcome() is None


def main(argv: list[str]) -> int:
    """Run the work in the folder that is named."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.info("agent %d: %s", os.getpid(), shlex.join(argv))
    folder = WorkFolder(Path(argv[0]))
    with _only_one(folder) as alone:
        if alone:
            Agent(folder).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
