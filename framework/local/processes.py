"""Server processes: start them so that they outlive the command, tell them apart, stop them and all they started.

Each server runs under a keeper, a shell of about 1 MB that waits for it and writes down its exit code: a later command has
no other way to learn why a server died, because only a parent is told.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from framework.errors import ServiceUnavailable
from framework.local.service import Launch
from framework.local.state import Process, Run

MARK = "EMRJOBS_SERVICE"
"""Environment variable that every process of a service inherits; whoever starts something that must survive its service removes it."""

WORK_SUFFIX = "-work"
"""Ends the mark of what a server starts and what must outlive the server: its restart leaves it alone, only a stop ends it."""

# Standard output of the keeper is the exit file; the server's own goes with standard error into the log. The traps keep the
# keeper alive when a signal is sent to the whole group; a trapped signal has its default meaning again in the server.
_KEEPER = """\
trap : HUP INT TERM
/bin/sh -c 'echo $$; exec "$@" 1>&2' sh "$@"
echo $?
"""


def started(process: psutil.Process) -> float:
    """When a process started, in seconds: since boot on Linux (setting the clock moves the epoch based time), else since the epoch."""
    created = process.create_time()
    return round(created - psutil.boot_time() if psutil.LINUX else created, 2)


def find(known: Process | None) -> psutil.Process | None:
    """The process if it still runs: same id, same start, not a zombie."""
    if known is None:
        return None
    try:
        process = psutil.Process(known.pid)
        same = abs(started(process) - known.started) < 0.5
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def spawn(launch: Launch, *, data: Path, log: Path, exit_file: Path, mark: str) -> tuple[Process, Process]:
    """Start the server in a session of its own and return its keeper and itself.

    Raises:
        ServiceUnavailable: the system could not start it.
    """
    environment = {**os.environ, MARK: mark}
    for key, value in launch.env.items():
        if value is None:
            environment.pop(key, None)
        else:
            environment[key] = value
    exit_file.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(exit_file.open("wb"))
        err = stack.enter_context(log.open("ab"))
        stdin: int = subprocess.DEVNULL
        inherited: tuple[int, ...] = ()
        if launch.endless_stdin:
            # The server inherits the writing end too, so that nobody's death ends its input.
            reading, writing = os.pipe()
            stack.callback(os.close, reading)
            stack.callback(os.close, writing)
            stdin, inherited = reading, (writing,)
        try:
            keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "sh", *launch.argv],
                stdin=stdin,
                stdout=out,
                stderr=err,
                cwd=launch.cwd or data,
                env=environment,
                start_new_session=True,
                pass_fds=inherited,
                user=launch.user,
                group=_group(launch.user),
                extra_groups=[] if launch.user else None,
            )
        except OSError as exc:
            raise ServiceUnavailable(f"cannot start {launch.argv[0]}: {exc.strerror}") from exc
    # A command that lives long must not collect zombies; one that ends leaves the keeper to init.
    threading.Thread(target=keeper.wait, name=f"reap-{keeper.pid}", daemon=True).start()
    return _identify(keeper.pid, exit_file)


def _group(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def _identify(keeper_pid: int, exit_file: Path) -> tuple[Process, Process]:
    try:
        keeper = Process(keeper_pid, started(psutil.Process(keeper_pid)))
    except psutil.Error:  # gone within a millisecond: there is nothing to tell apart
        return Process(keeper_pid, -1.0), Process(keeper_pid, -1.0)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pid, code = outcome(exit_file)
        if pid is not None:
            try:
                return keeper, Process(pid, started(psutil.Process(pid)))
            except psutil.Error:
                return keeper, Process(pid, -1.0)
        if code is not None or find(keeper) is None:
            break
        time.sleep(0.002)
    return keeper, Process(keeper_pid, -1.0)


def outcome(exit_file: Path) -> tuple[int | None, int | None]:
    """Process id and exit code of the server as its keeper wrote them; the code is 128 + n after death by signal n."""
    try:
        lines = exit_file.read_text(encoding="ascii").split("\n")[:-1]  # without a line that is being written
        return (int(lines[0]) if lines else None), (int(lines[1]) if len(lines) > 1 else None)
    except (OSError, ValueError):
        return None, None


def exit_code(exit_file: Path, keeper: Process) -> int | None:
    """The code of a server that has just ended: its keeper, which may be slow on a loaded machine, gets two seconds to write it."""
    deadline = time.monotonic() + 2.0
    while (code := outcome(exit_file)[1]) is None and find(keeper) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    return code if code is not None else outcome(exit_file)[1]


def describe_exit(code: int | None) -> str:
    """`crashed (killed by SIGKILL)`, `stopped (exit code 0)`, ..."""
    if code is None:
        return "is gone and left no exit code (machine restarted, or keeper killed too)"
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"crashed (killed by {signal.Signals(code - 128).name})"
    return f"crashed (exit code {code})" if code else "ended by itself (exit code 0)"


def family(run: Run | None, *, mark: str, others: Sequence[int] = ()) -> list[psutil.Process]:
    """All living processes of a service: the tree of its run, what carries its mark, and `others`.

    What belongs to another service is left out, even where it was started from inside this one.
    """
    ours = {mark, run.mark} if run else {mark}
    found: dict[int, psutil.Process] = {}
    for root in (find(run.keeper), find(run.server)) if run else ():
        if root is not None:
            found[root.pid] = root
            with contextlib.suppress(psutil.Error):
                found.update((child.pid, child) for child in root.children(recursive=True))
    marks: dict[int, str | None] = {}
    for process in psutil.process_iter():
        try:
            marks[process.pid] = process.environ().get(MARK)
        except (psutil.Error, OSError):
            continue
        if marks[process.pid] in ours:
            found[process.pid] = process
    for pid in others:
        with contextlib.suppress(psutil.Error):
            found[pid] = psutil.Process(pid)
    found.pop(os.getpid(), None)
    return [process for process in found.values() if marks.get(process.pid) in {None, *ours} and _lives(process)]


def stop(run: Run | None, *, mark: str, others: Sequence[int] = ()) -> bool:
    """Ask the server to stop, wait as long as it may take, then kill what is left of the service.

    Args:
        run: None when it is not known which start the processes are of: then they are killed.

    Returns:
        Whether a server had to be killed.
    """
    server = find(run.server) if run else None
    # Looked up while the server lives: its children are not known as such afterwards.
    members = family(run, mark=mark, others=others)
    killed = bool(members) and run is None
    if run is not None and server is not None:
        with contextlib.suppress(psutil.Error):
            server.send_signal(run.stop_signal)
        killed = not _gone([server], run.stop_timeout)
    # The keeper ends by itself when the server has; its last act is to write the exit code.
    keeper = find(run.keeper) if run else None
    if keeper is not None and not killed:
        _gone([keeper], 1.0)
    for _ in range(5):  # a process may have forked between the look and the kill
        members = [process for process in {*members, *family(run, mark=mark, others=others)} if _lives(process)]
        if not members:
            break
        kill(members)
    return killed


def stop_work(mark: str, timeout: float) -> None:
    """Ask what a server has started to outlive it to end, wait so many seconds, and kill what is left.

    Args:
        mark: of the service itself.
    """
    members = family(None, mark=mark + WORK_SUFFIX)
    for process in members:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _gone(members, timeout)
    for _ in range(5):
        members = family(None, mark=mark + WORK_SUFFIX)
        if not members:
            break
        kill(members)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill(members: Sequence[psutil.Process]) -> None:
    """Kill processes, and wait a few seconds until they are gone."""
    for process in members:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _gone(members, 5.0)


def _gone(members: Sequence[psutil.Process], timeout: float) -> bool:
    """Wait until all have ended. A zombie has: psutil's own wait would go on until init gets round to it."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while any(_lives(process) for process in members):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return True


def memory(run: Run) -> int:
    """Resident bytes of the server and its children; memory that they share is counted for each."""
    server = find(run.server)
    if server is None:
        return 0
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total
