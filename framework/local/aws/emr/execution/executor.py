"""The executor on this machine: keeps a folder per cluster, starts an agent per piece of work, and finds both again."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from framework.errors import EmrjobsError
from framework.local import artifacts, processes
from framework.local.aws.answers import ApiError
from framework.local.aws.emr.contract import ClusterSpec, Outcome, Work
from framework.local.aws.emr.execution import daemons, localize, node
from framework.local.aws.emr.execution.logs import LogPusher
from framework.local.aws.emr.execution.workspace import Clusters, Order, WorkFolder, read_json, write_json
from framework.local.state import Process

_log = logging.getLogger(__name__)

JAVA = 17
_RELEASE = 20.0  # seconds that the work of an ending cluster gets
_LOST = "The process that supervised it was killed."
_NEVER_BEGAN = "The endpoint was killed before it began."
_BEGINS_WITHIN = 5.0  # seconds from an agent's start to its first record


class LocalExecutor:
    """Runs work as processes of this machine; see `framework.local.aws.emr.contract.Executor`.

    Args:
        root: folder of its own; kept over restarts. Processes of an earlier one that still run are found there.
        mark: `EMRJOBS_SERVICE` of all it starts, so that a restart of the endpoint leaves them alone and a stop ends them; by
            default derived from that of the endpoint.
        s3: URL of the S3 server, for the logs: they arrive while the endpoint is away. Steps themselves call what their cluster's
            `runtime` says.
    """

    def __init__(self, root: Path, *, mark: str | None = None, s3: str | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clusters = Clusters(root)
        self._mark = mark if mark is not None else _work_mark()
        self._log_server = localize.LogServer(s3)
        self._listeners: list[Callable[[str, str], None]] = []
        self._lock = threading.RLock()
        self._watched: set[tuple[str, str]] = set()
        self._closed = False
        for cluster in self._clusters.all():
            # What was released is history: its work has ended.
            for folder in cluster.all_work() if cluster.alive else ():
                if folder.outcome() is None and (folder.path / "order.json").exists():
                    self._watch(folder, None)

    # -- the contract ------------------------------------------------------------------------------------------------------

    def prepare(self, cluster: ClusterSpec) -> None:
        """Make the cluster's folder; downloads Java and the jars when they are not on this machine yet.

        Raises:
            ApiError: they cannot be had.
        """
        folder = self._clusters.cluster(cluster.id)
        try:
            java_home = artifacts.ensure_jdk(JAVA, _progress)
            jars = artifacts.ensure_jars("spark", _progress)
            node.build(folder, cluster, java_home=java_home, jars=jars)
        except (EmrjobsError, ModuleNotFoundError, OSError) as exc:
            text = exc.message if isinstance(exc, EmrjobsError) else f"{type(exc).__name__}: {exc}"
            raise ApiError("InternalServerException", f"The local node cannot be set up: {text}", 500) from exc

    def start(self, cluster: ClusterSpec, work: Work) -> None:
        """Start the work; nothing when it was started before."""
        folder = self._clusters.cluster(cluster.id).work(work.id)
        with self._lock:
            if folder.outcome() is not None or folder.processes.exists() or (cluster.id, work.id) in self._watched:
                return
            if node.Node.load(folder.cluster) is None:
                try:
                    self.prepare(cluster)
                except ApiError as exc:
                    folder.create(Order.of(cluster, work))
                    self._end(folder, Outcome(None, "Unknown Error.", exc.message, ended=time.time()))
                    return
            found = node.Node.load(folder.cluster)
            assert found is not None
            folder.create(Order.of(cluster, work))
            env = node.environment(found, cluster, mark=self._mark)
            env |= self._log_server.environment(os.environ)
            try:
                agent = folder.start_agent(env)
            except OSError as exc:
                self._end(folder, Outcome(None, "Unknown Error.", f"no process can be started: {exc.strerror}", ended=time.time()))
                return
            self._watch(folder, agent)

    def outcome(self, cluster_id: str, work_id: str) -> Outcome | None:
        """How the work ended; None while it runs.

        Raises:
            KeyError: it was never started.
        """
        folder = self._folder(cluster_id, work_id)
        return folder.outcome()

    def cancel(self, cluster_id: str, work_id: str, *, force: bool = False) -> None:
        """End the work; at once with `force`."""
        folder = self._folder(cluster_id, work_id)
        if folder.outcome() is not None:
            return
        write_json(folder.cancel, {"force": force})
        agent = _process(folder, "agent")
        if agent is not None:
            with contextlib.suppress(psutil.Error):
                agent.send_signal(signal.SIGTERM)

    def release(self, cluster_id: str) -> None:
        """End what still runs on the cluster and delete its files but those of its work's logs and outcomes."""
        cluster = self._clusters.cluster(cluster_id)
        running = [folder for folder in cluster.all_work() if folder.outcome() is None]
        for folder in running:
            with contextlib.suppress(KeyError):
                self.cancel(cluster_id, folder.id)
        agents = [agent for folder in running if (agent := _process(folder, "agent")) is not None]
        _, alive = psutil.wait_procs(agents, timeout=_RELEASE)
        processes.kill(alive)
        processes.kill(_of_cluster(cluster_id, self._mark))
        for name in ("node", "hdfs", "daemons"):
            shutil.rmtree(cluster.path / name, ignore_errors=True)
        (cluster.path / "node.json").unlink(missing_ok=True)
        for folder in cluster.all_work():
            shutil.rmtree(folder.cwd, ignore_errors=True)

    def watch(self, on_end: Callable[[str, str], None]) -> None:
        """Have `on_end(cluster id, work id)` called when work ends."""
        with self._lock:
            self._listeners.append(on_end)

    def close(self) -> None:
        """Stop watching. Agents go on: the next endpoint finds them, and `emrjobs local down` ends them by their mark."""
        self._closed = True

    # -- watching ----------------------------------------------------------------------------------------------------------

    def _folder(self, cluster_id: str, work_id: str) -> WorkFolder:
        folder = self._clusters.cluster(cluster_id).work(work_id)
        if not (folder.path / "order.json").exists():
            raise KeyError(f"{cluster_id}/{work_id}")
        return folder

    def _watch(self, folder: WorkFolder, agent: subprocess.Popen[bytes] | None) -> None:
        key = (folder.cluster.id, folder.id)
        with self._lock:
            if key in self._watched:
                return
            self._watched.add(key)
        threading.Thread(target=self._wait, args=(folder, agent), name=f"watch-{folder.id}", daemon=True).start()

    def _wait(self, folder: WorkFolder, agent: subprocess.Popen[bytes] | None) -> None:
        """Wait for the agent's end, whoever started it."""
        if agent is not None:
            agent.wait()
        else:
            _log.info("%s/%s was running when the endpoint ended: watching it again", folder.cluster.id, folder.id)
            while (found := _agent(folder)) is not None:
                with contextlib.suppress(psutil.Error):
                    found.wait()
        if folder.outcome() is None:
            self._lost(folder)
        elif folder.undelivered.exists():
            self._deliver(folder)
        self._end(folder, None)

    def _lost(self, folder: WorkFolder) -> None:
        """The agent is gone and wrote no outcome: end what it started, and say so."""
        child = _process(folder, "child")
        if child is not None:
            with contextlib.suppress(psutil.Error):
                spared = daemons.spared(folder.cluster)
                tree = [one for one in child.children(recursive=True) if one.pid not in spared]
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                processes.kill(tree)
        message = _LOST if folder.processes.exists() else _NEVER_BEGAN
        with folder.log("controller").open("a", encoding="utf-8") as log:
            log.write(f"WARN local node: {message}\n")
        outcome = Outcome(None, "Unknown Error.", message, ended=time.time())
        folder.write_outcome(Outcome(None, cancelled=True, ended=outcome.ended) if folder.cancel.exists() else outcome)
        self._deliver(folder)

    def _deliver(self, folder: WorkFolder) -> None:
        """Push the logs that the agent could not push."""
        if LogPusher(folder, folder.order(), self._log_server.client).finish(30.0):
            folder.undelivered.unlink(missing_ok=True)

    def _end(self, folder: WorkFolder, outcome: Outcome | None) -> None:
        if outcome is not None:
            folder.write_outcome(outcome)
        with self._lock:
            self._watched.discard((folder.cluster.id, folder.id))
            listeners = [] if self._closed else list(self._listeners)
        for listener in listeners:
            try:
                listener(folder.cluster.id, folder.id)
            except Exception:  # one listener's mistake must not silence the others
                _log.exception("telling the end of %s/%s", folder.cluster.id, folder.id)


def _work_mark() -> str | None:
    """Of a service's own mark; None for an endpoint that no supervisor has started."""
    own = os.environ.get(processes.MARK)
    return own + processes.WORK_SUFFIX if own else None


def _process(folder: WorkFolder, name: str) -> psutil.Process | None:
    """The agent or child of a piece of work, if that very process still runs."""
    found = (read_json(folder.processes) or {}).get(name)
    return processes.find(Process(int(found["pid"]), float(found["started"]))) if found else None


def _agent(folder: WorkFolder) -> psutil.Process | None:
    """The living agent of work that an earlier endpoint started; one that was just started gets the time to say who it is."""
    deadline = time.monotonic() + _BEGINS_WITHIN
    while not folder.processes.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return _process(folder, "agent")


def _of_cluster(cluster_id: str, mark: str | None) -> list[psutil.Process]:
    """Processes of a cluster that are left, such as daemons that a bootstrap action started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            env = process.environ()
            if env.get("EMR_CLUSTER_ID") == cluster_id and (mark is None or env.get(processes.MARK) == mark):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def _progress(text: str, done: int | None, total: int | None) -> None:
    if done in (None, 0, total):
        _log.info("%s %s", text, "" if total is None else f"{total / 1e6:.0f} MB")
