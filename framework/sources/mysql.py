"""MySQL and MariaDB over PyMySQL: connections of Python's own, and what their errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from framework.errors import EmrjobsError, MissingExtra
from framework.sources.jdbc import Database
from framework.sources.refusals import Refusal, explained

if TYPE_CHECKING:
    import pymysql

# A value that does not fit is an error whatever the server's own mode is; a zero is a zero, also in a column that counts by itself.
_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"

# MySQL 8.4, Server Error Message Reference, and Client Error Message Reference.
_REFUSALS = {
    Refusal.LOGIN: {1045, 1044, 1698},
    Refusal.GRANT: {1142, 1143, 1227, 1370},
    Refusal.NO_DATABASE: {1049},
    Refusal.DATA: {1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1451, 1452, 1690, 3140, 3819, 4025},
    Refusal.CONFLICT: {1205, 1213},  # lock wait timeout, deadlock
    Refusal.DOWN: {1021, 1040, 1053, 1114, 1203, 1927, 2002, 2003, 2006, 2013, 2055},
}


@contextmanager
def connect(database: Database) -> Iterator[pymysql.Connection[Any]]:
    """A connection as the entry's user, in a transaction, which is committed when the context is left.

    Raises:
        MissingExtra: PyMySQL is not installed.
        pymysql.OperationalError: the server does not answer, or refuses.
    """
    try:
        import pymysql
    except ImportError as exc:
        raise MissingExtra("writing to MySQL needs the package 'pymysql'", fix="pip install 'emrjobs[databases]'") from exc
    connection = pymysql.connect(
        host=database.host,
        port=int(database.port),
        database=database.name,
        user=database.user,
        password=database.password or "",
        connect_timeout=10,
        charset="utf8mb4",
        sql_mode=_MODE,
        # Times as a job's sessions have them; and tables that know transactions, whatever the server makes by default.
        init_command="SET time_zone = '+00:00', default_storage_engine = InnoDB",
        **_tls(database.options.get("sslMode", "").upper()),
    )
    try:
        yield connection
        connection.commit()
    finally:
        if connection.open:
            connection.close()  # what is not committed is undone


def _tls(mode: str) -> dict[str, Any]:
    """Connector/J's `sslMode` in PyMySQL's words."""
    if mode == "DISABLED":
        return {"ssl_disabled": True}
    if mode == "REQUIRED":
        return {"ssl": {"check_hostname": False, "verify_mode": "none"}}
    if mode.startswith("VERIFY_"):
        return {"ssl": {"check_hostname": mode == "VERIFY_IDENTITY", "verify_mode": "required"}}
    return {}


def is_own(exc: BaseException) -> bool:
    """True for an error of the server or of PyMySQL."""
    import pymysql

    return isinstance(exc, pymysql.Error)


def is_passing(exc: BaseException) -> bool:
    """True for an error after which the same statements may succeed."""
    import pymysql

    return isinstance(exc, pymysql.Error) and _refusal(exc) in (Refusal.CONFLICT, Refusal.DOWN)


def explain(exc: pymysql.Error, database: Database, what: str) -> EmrjobsError:
    """What the database said, as an error of this framework.

    Args:
        what: what was being done, `output fleet.scores`.
    """
    message = str(exc.args[1]) if len(exc.args) > 1 else str(exc) or type(exc).__name__
    return explained(_refusal(exc), message, database, what)


def _refusal(exc: pymysql.Error) -> Refusal:
    # Of a connection that broke PyMySQL says nothing but (0, '').
    code = (exc.args[0] or 2013) if exc.args and isinstance(exc.args[0], int) else 0
    return next((refusal for refusal, codes in _REFUSALS.items() if code in codes), Refusal.OTHER)
