"""The supervisor with small servers written for the purpose; the real ones are in test_services.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from framework.errors import ConfigError, ServiceUnavailable
from framework.local import SERVICES, processes, shell_env
from framework.local.events import Event, Ready, Starting, Stopped, Waiting
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, check_http
from framework.local.state import Layout, Process
from framework.local.supervisor import Supervisor

ANSWERING = """
import http.server, os, signal, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write((os.environ.get("GREETING", "") + str(os.getpid())).encode())
    def log_message(self, *args): pass
if "stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "parent" in sys.argv:
    child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], start_new_session=True)
    print("child", child.pid, flush=True)
if "worker" in sys.argv:
    os.environ["EMRJOBS_SERVICE"] += "-work"
    work = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], start_new_session=True)
    print("work", work.pid, flush=True)
if "reader" in sys.argv:
    import select
    if select.select([0], [], [], 0.3)[0]: os._exit(9)
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

FAILING = "print('reading settings'); print('no such table'); raise SystemExit(3)"
SILENT = "import signal; print('thinking', flush=True); signal.pause()"


@dataclass
class Fake:
    """A service whose server is a few lines of Python."""

    name: str
    needs: tuple[str, ...] = ()
    script: str = ANSWERING
    words: tuple[str, ...] = ()
    settings: str = "1"
    launch_with: Launch = field(default_factory=lambda: Launch((), start_timeout=20, stop_timeout=10))
    prepared: list[str] = field(default_factory=list)

    ports = (PortSpec("http"),)

    def fingerprint(self) -> str:
        return self.settings

    def prepare(self, ctx: Context) -> None:
        self.prepared.append(self.name)

    def launch(self, ctx: Context) -> Launch:
        return replace(self.launch_with, argv=[sys.executable, "-S", "-c", self.script, str(ctx.port("http")), *self.words])

    def probe(self, ctx: Context) -> None:
        check_http(ctx.port("http"), timeout=0.5)

    check = probe

    def endpoint(self, ctx: Context) -> Endpoint:
        return Endpoint(self.name, {"port": str(ctx.port("http")), "key": ctx.secret("key")}, secret=frozenset({"key"}))


class Bench:
    """A project folder, the services in it and what their supervisor told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[Event] = []
        self.used: list[Supervisor] = []

    def supervisor(self, *services: Fake) -> Supervisor:
        loaders = {service.name: (lambda settings, service=service: service) for service in services}
        self.used.append(Supervisor(self.root, on_event=self.events.append, services=loaders))
        return self.used[-1]

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for supervisor in made.used:
        supervisor.down()
    assert left_over(tmp_path) == []


def left_over(root: Path) -> list[psutil.Process]:
    """Processes that carry the mark of the project folder's services."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(processes.MARK, "").startswith(f"{Layout(root).root}:"):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def pid(supervisor: Supervisor, name: str = "web") -> int:
    found = supervisor.status([name])[0].pid
    assert found is not None
    return found


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def kill(supervisor: Supervisor, name: str = "web") -> None:
    """kill -9 the server and wait until that is written down."""
    victim = pid(supervisor, name)
    os.kill(victim, signal.SIGKILL)
    until(lambda: processes.outcome(supervisor.layout.exit_file(name))[1] is not None)


# -- up ------------------------------------------------------------------------------------------------------------------


def test_a_started_service_answers_on_its_endpoint(bench: Bench) -> None:
    endpoint = bench.supervisor(Fake("web")).up(["web"])["web"]
    check_http(int(endpoint["port"]))
    assert [type(event) for event in bench.events] == [Starting, Ready]


def test_a_second_command_finds_the_running_server(bench: Bench) -> None:
    first = bench.supervisor(Fake("web"))
    endpoints = first.up(["web"])
    bench.events.clear()
    second = bench.supervisor(Fake("web"))
    assert second.up(["web"]) == endpoints
    assert second.endpoints() == endpoints
    assert pid(second) == pid(first)
    assert bench.events == []


def test_what_a_service_needs_is_started_before_it(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", needs=("store",)), Fake("store"))
    assert set(supervisor.up(["web"])) == {"web", "store"}
    told = [(type(event), event.service) for event in bench.events]
    assert told.index((Ready, "store")) < told.index((Starting, "web"))


def test_a_service_is_restarted_when_its_settings_change(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"))
    supervisor.up(["web"])
    before = pid(supervisor)
    supervisor = bench.supervisor(Fake("web", settings="2"))
    supervisor.up(["web"])
    assert pid(supervisor) != before
    assert not alive(before)
    assert bench.told(Ready)[-1].reason == "its settings changed; restarted"  # type: ignore[union-attr]


def test_a_service_is_restarted_when_what_it_needs_has_moved(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", needs=("store",)), Fake("store"))
    supervisor.up(["web"])
    before = pid(supervisor)
    supervisor.reset(["store"])  # its secret is another one now
    supervisor.up(["web"])
    assert pid(supervisor) != before


def test_the_port_stays_over_a_restart(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"))
    port = supervisor.up(["web"])["web"]["port"]
    supervisor.down()
    assert supervisor.up(["web"])["web"]["port"] == port


def test_a_port_that_was_taken_while_the_service_was_down_is_given_up(bench: Bench) -> None:
    import socket

    supervisor = bench.supervisor(Fake("web"))
    port = int(supervisor.up(["web"])["web"]["port"])
    supervisor.down()
    with socket.create_server((HOST, port)):
        assert int(supervisor.up(["web"])["web"]["port"]) != port


def test_a_port_that_is_taken_between_the_look_and_the_bind_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from framework.local import ports

    with socket.create_server((HOST, 0)) as server:
        taken = int(server.getsockname()[1])
        choose = ports.choose
        answers = iter([{"http": taken}])
        monkeypatch.setattr(ports, "choose", lambda *args: next(answers, None) or choose(*args))
        assert int(bench.supervisor(Fake("web")).up(["web"])["web"]["port"]) != taken


def test_a_server_with_endless_stdin_meets_no_end_of_file(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", words=("reader",), launch_with=Launch((), endless_stdin=True)))
    supervisor.up(["web"])
    supervisor.down()
    with pytest.raises(ServiceUnavailable, match="exit code 9"):
        bench.supervisor(Fake("web", words=("reader",))).up(["web"])


def test_a_server_does_not_hold_the_pipes_of_the_command_that_started_it(bench: Bench) -> None:
    # `communicate` returns at end of file: when the last holder of the pipe has closed it.
    done = another_command(bench.root).communicate(timeout=60)
    assert done[1] == ""
    assert json.loads(done[0])["pid"] == pid(bench.supervisor(Fake("web")))


# -- failures ------------------------------------------------------------------------------------------------------------


def test_a_killed_server_is_named_and_restarted_by_the_next_up(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"))
    supervisor.up(["web"])
    kill(supervisor)
    status = supervisor.status(["web"])[0]
    assert (status.state, status.why) == ("crashed", "crashed (killed by SIGKILL)")
    assert "web crashed (killed by SIGKILL)" in supervisor.diagnose()[0]
    assert "  listening" in supervisor.diagnose()[0]
    supervisor.up(["web"])
    assert bench.told(Starting)[-1] == Starting("web", "crashed (killed by SIGKILL)")
    assert bench.told(Ready)[-1].reason == "crashed (killed by SIGKILL); restarted"  # type: ignore[union-attr]
    assert supervisor.diagnose() == []


def test_a_server_that_ends_while_it_starts_is_reported_with_its_last_lines(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", script=FAILING))
    with pytest.raises(ServiceUnavailable) as failure:
        supervisor.up(["web"])
    assert "the local service web crashed (exit code 3) while it started" in str(failure.value)
    assert "no such table" in str(failure.value)
    assert supervisor.status(["web"])[0].state == "stopped"


def test_a_server_that_is_not_ready_in_time_is_stopped_and_reported(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", script=SILENT, launch_with=Launch((), start_timeout=0.5)))
    with pytest.raises(ServiceUnavailable, match=r"was not ready within 0 s|within 1 s") as failure:
        supervisor.up(["web"])
    assert "thinking" in str(failure.value)
    assert left_over(bench.root) == []


def test_a_program_that_is_not_there_is_reported(bench: Bench) -> None:
    class Absent(Fake):
        def launch(self, ctx: Context) -> Launch:
            return Launch(["/nowhere/server"], start_timeout=20)

    with pytest.raises(ServiceUnavailable, match=r"exit code 12[67]"):
        bench.supervisor(Absent("web")).up(["web"])


def test_one_failure_leaves_the_others_up_and_is_the_one_that_is_shown(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", needs=("store",)), Fake("store", script=FAILING), Fake("other"))
    with pytest.raises(ServiceUnavailable, match="the local service store crashed"):
        supervisor.up(["web", "other"])
    states = {status.name: status.state for status in supervisor.status()}
    assert states == {"web": "stopped", "store": "stopped", "other": "running"}


def test_an_interrupted_start_leaves_no_process(bench: Bench) -> None:
    class Interrupting(Fake):
        def probe(self, ctx: Context) -> None:
            if self.name == "web":
                os.kill(os.getpid(), signal.SIGINT)
            raise OSError("not yet")

    supervisor = bench.supervisor(Interrupting("web", script=SILENT))
    with pytest.raises(KeyboardInterrupt):
        supervisor.up(["web"])
    assert left_over(bench.root) == []
    assert supervisor.status(["web"])[0].state == "stopped"


def test_a_server_whose_command_died_before_it_was_ready_is_taken_over(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"))
    supervisor.up(["web"])
    before = pid(supervisor)
    record = supervisor.layout.read("web")
    assert record.run is not None
    supervisor.layout.write("web", replace(record, run=replace(record.run, ready=False)))
    supervisor.up(["web"])
    assert pid(supervisor) == before


def test_a_server_that_hangs_is_unhealthy(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"))
    supervisor.up(["web"])
    os.kill(pid(supervisor), signal.SIGSTOP)
    try:
        status = supervisor.status(["web"])[0]
        assert status.state == "unhealthy"
        assert "timed out" in str(status.why)
    finally:
        os.kill(pid(supervisor), signal.SIGCONT)


def test_a_reused_process_id_is_neither_taken_for_the_server_nor_killed(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"))
    supervisor.up(["web"])
    supervisor.down()
    stranger = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
    try:
        layout = supervisor.layout
        supervisor.up(["web"])
        kill(supervisor)
        record = layout.read("web")
        assert record.run is not None
        reused = Process(stranger.pid, record.run.keeper.started - 1)
        layout.write("web", replace(record, run=replace(record.run, server=reused, keeper=reused)))
        assert supervisor.status(["web"])[0].state == "crashed"
        supervisor.down()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def alive(number: int) -> bool:
    """A process that ended may wait for its parent to notice."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_damaged_state_file_costs_a_restart_and_no_more(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"))
    supervisor.up(["web"])
    lost = pid(supervisor)
    supervisor.layout.record_file("web").write_text("{half")
    supervisor.up(["web"])
    check_http(int(supervisor.endpoints()["web"]["port"]))
    assert not alive(lost)


@pytest.mark.parametrize("lost", [".local/state", ".local"])
def test_down_finds_servers_whose_state_was_deleted(bench: Bench, lost: str) -> None:
    supervisor = bench.supervisor(Fake("web"))
    supervisor.up(["web"])
    shutil.rmtree(bench.root / lost)
    assert left_over(bench.root) != []
    supervisor.down()
    assert left_over(bench.root) == []


def test_unknown_names_and_circles_are_refused(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", needs=("store",)), Fake("store", needs=("web",)))
    with pytest.raises(ConfigError, match="in a circle: web -> store -> web"):
        supervisor.up(["web"])
    for call in (supervisor.up, supervisor.down, supervisor.reset, supervisor.status):
        with pytest.raises(ConfigError, match=r"no local service 'wbe'\n  fix: did you mean 'web'"):
            call(["wbe"])


# -- two at once ---------------------------------------------------------------------------------------------------------

COMMAND = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_supervisor import Fake
from framework.local.supervisor import Supervisor
supervisor = Supervisor(Path(sys.argv[1]), services={"web": lambda settings: Fake("web")})
supervisor.up(["web"])
print(json.dumps({"pid": supervisor.status(["web"])[0].pid}))
"""


def another_command(root: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", COMMAND, str(root), str(Path(__file__).parent)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_commands_at_once_start_one_server(bench: Bench) -> None:
    both = [another_command(bench.root) for _ in range(2)]
    outputs = [command.communicate(timeout=60) for command in both]
    assert [error for _, error in outputs] == ["", ""]
    pids = {json.loads(output)["pid"] for output, _ in outputs}
    assert pids == {pid(bench.supervisor(Fake("web")))}


def test_a_second_command_waits_for_the_first_and_says_so(bench: Bench) -> None:
    held, go_on = threading.Event(), threading.Event()

    class Slow(Fake):
        def prepare(self, ctx: Context) -> None:
            held.set()
            assert go_on.wait(20)

    first, second = bench.supervisor(Slow("web")), bench.supervisor(Fake("web"))
    starter = threading.Thread(target=first.up, args=(["web"],))
    starter.start()
    assert held.wait(20)
    waiter = threading.Thread(target=second.up, args=(["web"],))
    waiter.start()
    until(lambda: bench.told(Waiting) != [])
    go_on.set()
    starter.join()
    waiter.join()
    assert len(bench.told(Ready)) == 1


def test_two_checkouts_run_side_by_side(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Bench(tmp_path_factory.mktemp("other"))
    here, there = bench.supervisor(Fake("web")), other.supervisor(Fake("web"))
    ports = {one.up(["web"])["web"]["port"] for one in (here, there)}
    assert len(ports) == 2
    there.down()
    assert here.status(["web"])[0].state == "running"


# -- down ----------------------------------------------------------------------------------------------------------------


def test_down_stops_first_what_needs_others(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", needs=("store",)), Fake("store"))
    supervisor.up(["web"])
    supervisor.down()
    assert [event.service for event in bench.told(Stopped)] == ["web", "store"]
    assert supervisor.endpoints() == {}


def test_a_server_that_does_not_stop_is_killed(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web", words=("stubborn",), launch_with=Launch((), stop_timeout=0.2)))
    supervisor.up(["web"])
    supervisor.down()
    assert bench.told(Stopped)[-1].killed  # type: ignore[union-attr]
    assert left_over(bench.root) == []


@pytest.mark.parametrize("crashed", [False, True])
def test_down_leaves_no_child_of_a_server_behind_even_in_a_session_of_its_own(bench: Bench, crashed: bool) -> None:
    supervisor = bench.supervisor(Fake("web", words=("parent",)))
    supervisor.up(["web"])
    child = next(int(line.split()[1]) for line in supervisor.logs("web") if line.startswith("child"))
    if crashed:
        kill(supervisor)
    assert psutil.pid_exists(child)
    supervisor.down()
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


@dataclass
class Employer(Fake):
    """A service whose server starts what outlives it."""

    work_timeout: float = 5.0


def test_work_of_a_service_outlives_a_crash_and_a_restart_and_ends_with_a_stop(bench: Bench) -> None:
    supervisor = bench.supervisor(Employer("web", words=("worker",)))
    supervisor.up(["web"])
    work = next(int(line.split()[1]) for line in supervisor.logs("web") if line.startswith("work"))
    kill(supervisor)
    supervisor.up(["web"])
    assert psutil.pid_exists(work)
    supervisor.down()
    until(lambda: not psutil.pid_exists(work) or psutil.Process(work).status() == psutil.STATUS_ZOMBIE)


def test_a_service_started_from_inside_another_is_not_stopped_with_it(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"), Fake("other"))
    supervisor.up(["web"])
    supervisor.up(["other"])
    inner = supervisor.layout.read("other").run
    outer = supervisor.layout.read("web").run
    assert inner is not None
    assert outer is not None
    # As if `other` had been started by a step that the server of `web` executes.
    outer_with_inner = replace(outer, keeper=inner.keeper)
    family = processes.family(outer_with_inner, mark=supervisor.layout.mark("web"))
    assert inner.server is not None
    assert inner.server.pid not in {process.pid for process in family}
    assert outer.server is not None
    assert outer.server.pid in {process.pid for process in family}


def test_reset_deletes_the_data_of_the_named_service_only(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"), Fake("store"))
    supervisor.up(["web", "store"])
    for name in ("web", "store"):
        (supervisor.layout.data(name) / "file").write_text("x")
    supervisor.reset(["web"])
    assert not supervisor.layout.data("web").exists()
    assert (supervisor.layout.data("store") / "file").exists()
    assert [status.state for status in supervisor.status()] == ["stopped", "running"]


def test_down_and_status_before_anything_was_started_do_nothing(bench: Bench) -> None:
    supervisor = bench.supervisor(Fake("web"))
    supervisor.down()
    supervisor.reset()
    assert [status.state for status in supervisor.status()] == ["stopped"]
    assert supervisor.endpoints() == {}
    assert list(supervisor.logs("web")) == []
    assert not (bench.root / ".local").exists()


# -- endpoints -----------------------------------------------------------------------------------------------------------


def test_the_secrets_of_an_endpoint_are_not_shown() -> None:
    endpoint = Endpoint("s3", {"url": "http://127.0.0.1:1", "secret_key": "hush"}, secret=frozenset({"secret_key"}))
    assert "hush" not in repr(endpoint)
    assert endpoint["secret_key"] == "hush"


def test_the_shell_environment_points_aws_clients_at_the_local_endpoint() -> None:
    values = {"url": "http://127.0.0.1:9", "region": "us-east-1", "access_key": "a", "secret_key": "b"}
    assert shell_env({}) == {}
    assert shell_env({"aws": Endpoint("aws", values)}) == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_every_registered_service_is_known_by_its_name() -> None:
    names: Sequence[str] = [SERVICES[name]({}).name for name in SERVICES]
    assert names == list(SERVICES)
