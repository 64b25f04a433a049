"""PostgreSQL over psycopg: connections of Python's own, and what their errors mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from framework.errors import EmrjobsError, MissingExtra
from framework.sources.jdbc import Database
from framework.sources.refusals import Refusal, explained, of_state

if TYPE_CHECKING:
    import psycopg

# The entry's options are pgjdbc's; these libpq has too (PostgreSQL, Parameter Key Words). The others concern Java alone.
_OPTIONS = {
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "channelBinding": "channel_binding",
    "ApplicationName": "application_name",
    "connectTimeout": "connect_timeout",
    "options": "options",
}


def connect(database: Database) -> psycopg.Connection[Any]:
    """A connection as the entry's user, in a transaction from its first statement on.

    Raises:
        MissingExtra: psycopg is not installed.
        psycopg.OperationalError: the server does not answer, or refuses.
    """
    try:
        import psycopg
    except ImportError as exc:
        raise MissingExtra("writing to PostgreSQL needs the package 'psycopg'", fix="pip install 'emrjobs[databases]'") from exc
    given = {_OPTIONS[key]: value for key, value in database.options.items() if key in _OPTIONS}
    if database.options.get("ssl") == "true":
        given.setdefault("sslmode", "verify-full")  # what pgjdbc makes of it
    if schema := database.options.get("currentSchema"):
        given["options"] = f"{given.get('options', '')} -c search_path={schema}".strip()
    known: dict[str, Any] = {"application_name": "emrjobs", "connect_timeout": 10, **given}
    return psycopg.connect(
        host=database.host, port=database.port, dbname=database.name, user=database.user, password=database.password, **known
    )


def is_own(exc: BaseException) -> bool:
    """True for an error of the server or of psycopg."""
    import psycopg

    return isinstance(exc, psycopg.Error)


def is_passing(exc: BaseException) -> bool:
    """True for an error after which the same statements may succeed."""
    import psycopg

    return isinstance(exc, psycopg.OperationalError)


def explain(exc: psycopg.Error, database: Database, what: str) -> EmrjobsError:
    """What the database said, as an error of this framework.

    Args:
        what: what was being done, `output airline_ops.scores`.
    """
    state = exc.sqlstate or ""
    message = exc.diag.message_primary or (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    details = [exc.diag.message_detail] if exc.diag.message_detail else []
    return explained(_refusal(state, str(exc)), message, database, what, details)


def _refusal(state: str, text: str) -> Refusal:
    """The meaning of a SQLSTATE; libpq gives none while it connects."""
    if "authentication failed" in text:
        return Refusal.LOGIN
    if not state and "does not exist" in text:
        return Refusal.NO_DATABASE
    return of_state(state)
