"""The real servers under the supervisor: SeaweedFS, PostgreSQL and the AWS endpoint."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from framework.errors import AccessRefused, ServiceUnavailable
from framework.local import postgres, processes, seaweedfs, shell_env
from framework.local.events import Event, Ready, Starting
from framework.local.service import Endpoint
from framework.local.supervisor import Supervisor

pytestmark = pytest.mark.services

NAMES = ("s3", "aws", "postgres")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    yield folder
    Supervisor(folder).down()
    assert [one for name in NAMES for one in processes.family(None, mark=Supervisor(folder).layout.mark(name))] == []


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def supervisor(root: Path, events: list[Event]) -> Supervisor:
    return Supervisor(root, on_event=events.append)


@pytest.fixture
def endpoints(supervisor: Supervisor, events: list[Event]) -> Mapping[str, Endpoint]:
    running = supervisor.up(NAMES)
    events.clear()
    return running


def pids(supervisor: Supervisor) -> dict[str, int]:
    return {status.name: status.pid for status in supervisor.status(NAMES) if status.pid}


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_services_answer_and_listen_on_this_machine_only(supervisor: Supervisor, endpoints: Mapping[str, Endpoint]) -> None:
    states = {status.name: status.state for status in supervisor.status(NAMES)}
    assert states == dict.fromkeys(NAMES, "running")
    for pid in pids(supervisor).values():
        connections = psutil.Process(pid).net_connections(kind="inet")
        assert {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_a_warm_up_starts_nothing(root: Path, endpoints: Mapping[str, Endpoint], events: list[Event], supervisor: Supervisor) -> None:
    before = pids(supervisor)
    assert Supervisor(root, on_event=events.append).up(NAMES) == endpoints
    assert events == []
    assert pids(supervisor) == before


def test_killed_servers_are_named_and_restarted_with_their_data(
    supervisor: Supervisor, endpoints: Mapping[str, Endpoint], events: list[Event]
) -> None:
    assert seaweedfs.buckets(endpoints["s3"], ["raw", "marts"]) == ["marts", "raw"]
    assert seaweedfs.buckets(endpoints["s3"], ["raw", "marts"]) == []
    client = seaweedfs.s3_client(endpoints["s3"])
    client.put_object(Bucket="raw", Key="a/b", Body=b"kept")
    with postgres.connect(endpoints["postgres"]) as connection:
        connection.execute("create table kept as select 7 as number")
    victims = pids(supervisor)
    for name in ("s3", "postgres"):
        os.kill(victims[name], signal.SIGKILL)
        until_gone(victims[name])

    assert {text.split(" (")[0] for text in supervisor.diagnose()} == {"s3 crashed", "postgres crashed"}
    assert supervisor.up(NAMES) == endpoints

    reasons = {event.service: event.reason for event in events if isinstance(event, Starting)}
    assert reasons == dict.fromkeys(("s3", "postgres"), "crashed (killed by SIGKILL)")
    assert client.get_object(Bucket="raw", Key="a/b")["Body"].read() == b"kept"
    with postgres.connect(endpoints["postgres"]) as connection:
        assert connection.execute("select number from kept").fetchall() == [(7,)]
    assert pids(supervisor)["aws"] == victims["aws"]


def test_data_survive_when_every_port_changes(supervisor: Supervisor, endpoints: Mapping[str, Endpoint]) -> None:
    seaweedfs.buckets(endpoints["s3"], ["moved"])
    seaweedfs.s3_client(endpoints["s3"]).put_object(Bucket="moved", Key="k", Body=b"still here")
    supervisor.down()
    for name in NAMES:
        supervisor.layout.write(name, replace(supervisor.layout.read(name), ports={}))
    moved = supervisor.up(NAMES)
    assert moved["s3"]["url"] != endpoints["s3"]["url"]
    client = seaweedfs.s3_client(moved["s3"])
    assert client.get_object(Bucket="moved", Key="k")["Body"].read() == b"still here"
    client.put_object(Bucket="moved", Key="k", Body=b"and writable")
    assert seaweedfs.s3_client(moved["s3"]).get_object(Bucket="moved", Key="k")["Body"].read() == b"and writable"


def test_any_aws_client_works_with_the_shell_environment(endpoints: Mapping[str, Endpoint]) -> None:
    seaweedfs.buckets(endpoints["s3"], ["seen"])
    script = "import boto3; print([b['Name'] for b in boto3.client('s3').list_buckets()['Buckets']]); boto3.client('glue').get_databases()"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**clean, **shell_env(endpoints)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'seen'" in done.stdout


def test_s3_refuses_other_keys(endpoints: Mapping[str, Endpoint]) -> None:
    from botocore.exceptions import ClientError

    wrong = replace(endpoints["s3"], values={**endpoints["s3"].values, "secret_key": "x" * 32})
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        seaweedfs.buckets(wrong, ["raw"])


def test_the_database_takes_no_one_without_the_password(endpoints: Mapping[str, Endpoint]) -> None:
    wrong = replace(endpoints["postgres"], values={**endpoints["postgres"].values, "password": "guess"})
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres.connect(wrong)


def test_a_database_and_its_role_are_made_once(endpoints: Mapping[str, Endpoint]) -> None:
    server = endpoints["postgres"]
    assert postgres.ensure_database(server, "ops", role="ops_reader", password="it's")
    assert not postgres.ensure_database(server, "ops", role="ops_reader", password="new one")
    as_role = replace(server, values={**server.values, "user": "ops_reader", "password": "new one"})
    with postgres.connect(as_role, database="ops") as connection:
        connection.execute("create table flights (number integer)")


def test_no_secret_is_on_a_command_line_or_in_a_log(supervisor: Supervisor, endpoints: Mapping[str, Endpoint]) -> None:
    secrets = [endpoint[key] for endpoint in endpoints.values() for key in endpoint.secret]
    assert len(secrets) == 3
    seen = "".join(supervisor.layout.log(name).read_text(errors="replace") for name in NAMES)
    seen += "".join(" ".join(psutil.Process(pid).cmdline()) for pid in pids(supervisor).values())
    assert [secret for secret in secrets if secret in seen] == []
    private = [path for path in supervisor.layout.states.rglob("*") if path.is_file() and path.suffix not in (".lock", ".exit")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_a_lost_password_is_said_at_once(root: Path, supervisor: Supervisor, endpoints: Mapping[str, Endpoint]) -> None:
    secret = supervisor.layout.private("postgres") / "password"
    kept = secret.read_text()
    supervisor.down(["postgres"])
    secret.unlink()
    with pytest.raises(AccessRefused, match="does not take the password"):
        supervisor.up(["postgres"])
    assert supervisor.status(["postgres"])[0].state == "stopped"
    secret.write_text(kept)
    supervisor.up(["postgres"])


def test_data_of_another_postgresql_are_not_touched(supervisor: Supervisor, endpoints: Mapping[str, Endpoint]) -> None:
    supervisor.down(["postgres"])
    version = supervisor.layout.data("postgres") / "cluster" / "PG_VERSION"
    version.write_text("15\n")
    try:
        with pytest.raises(ServiceUnavailable, match=r"made by PostgreSQL 15, installed is 18"):
            supervisor.up(["postgres"])
    finally:
        version.write_text("18\n")


def test_down_leaves_no_process_and_the_data(root: Path, supervisor: Supervisor, endpoints: Mapping[str, Endpoint]) -> None:
    running = {one for name in NAMES for one in processes.family(supervisor.layout.read(name).run, mark=supervisor.layout.mark(name))}
    assert len(running) >= 2 * len(NAMES)
    supervisor.down()
    assert [process for process in running if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert [status.state for status in supervisor.status(NAMES)] == ["stopped"] * 3
    seaweedfs.buckets(supervisor.up(["s3"])["s3"], ["after"])  # its port may have been taken meanwhile


def test_down_after_a_killed_database_leaves_no_backend(supervisor: Supervisor, endpoints: Mapping[str, Endpoint]) -> None:
    pid = pids(supervisor)["postgres"]
    backends = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    supervisor.down(["postgres"])
    assert [process for process in backends if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


def test_reset_deletes_the_data_and_a_new_start_is_empty(
    supervisor: Supervisor, endpoints: Mapping[str, Endpoint], events: list[Event]
) -> None:
    endpoints = supervisor.up(NAMES)
    seaweedfs.buckets(endpoints["s3"], ["doomed"])
    supervisor.reset(["s3", "postgres"])
    fresh = supervisor.up(NAMES)
    assert fresh["s3"]["secret_key"] != endpoints["s3"]["secret_key"]
    assert fresh["aws"]["secret_key"] == fresh["s3"]["secret_key"]
    assert seaweedfs.s3_client(fresh["s3"]).list_buckets()["Buckets"] == []
    with postgres.connect(fresh["postgres"]) as connection:
        assert connection.execute("select count(*) from pg_tables where tablename = 'kept'").fetchone() == (0,)
    # The endpoint has to learn the new keys.
    assert any(isinstance(event, Ready) and event.service == "aws" for event in events)
