"""What a database's refusal means, whatever kind of database it is, as an error of this framework."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from framework.errors import AccessRefused, BadData, DatasetNotFound, EmrjobsError, JobFailed, PublishConflict, ServiceUnavailable
from framework.sources.jdbc import Database


class Refusal(enum.Enum):
    """Why a database did not do what it was asked."""

    LOGIN = "the user or the password"
    GRANT = "a privilege is missing"
    NO_DATABASE = "there is no such database"
    DATA = "a value or a constraint"
    CONFLICT = "somebody else's transaction"
    DOWN = "it does not answer, or has no room"
    OTHER = "anything else"


# Classes of SQLSTATEs, and some of them whole (PostgreSQL, Appendix A). Without one the client did not come through.
_STATES = {
    "28": Refusal.LOGIN,
    "42501": Refusal.GRANT,
    "3D000": Refusal.NO_DATABASE,
    "22": Refusal.DATA,  # data exceptions, constraints, check options
    "23": Refusal.DATA,
    "44": Refusal.DATA,
    "40": Refusal.CONFLICT,
    "55P03": Refusal.CONFLICT,
    "": Refusal.DOWN,  # connection, resources, intervention of an operator, the server itself
    "08": Refusal.DOWN,
    "53": Refusal.DOWN,
    "57": Refusal.DOWN,
    "58": Refusal.DOWN,
}


def of_state(state: str) -> Refusal:
    """The meaning of a SQLSTATE, `""` for none."""
    return _STATES.get(state) or _STATES.get(state[:2], Refusal.OTHER)


def explained(refusal: Refusal, message: str, database: Database, what: str, details: Sequence[str] = ()) -> EmrjobsError:
    """The error of a refusal.

    Args:
        message: the database's own words.
        what: what was being done, `output airline_ops.scores`.
        details: what the database said besides.
    """
    key = f"connections.{database.connection}"
    match refusal:
        case Refusal.LOGIN:
            return AccessRefused(
                f"{what}: database {database.describe()} refused the user or the password",
                fix=f"check {key}.user and {key}.password (`emrjobs config show`)",
            )
        case Refusal.GRANT:
            return AccessRefused(f"{what}: database {database.describe()}: {message}", fix=f"grant it to {key}.user")
        case Refusal.NO_DATABASE:
            return DatasetNotFound(f"{what}: {message}", fix=f"check {key}.database and {key}.user")
        case Refusal.DATA:
            return BadData(f"{what}: database {database.connection} refuses the rows: {message}", details=details)
        case Refusal.CONFLICT:
            return PublishConflict(f"{what}: {message}", details=details, fix="run the job again")
        case Refusal.DOWN:
            return ServiceUnavailable(
                f"{what}: database {database.describe()} does not answer",
                details=[message],
                fix=f"check that it runs, {key}.host, {key}.port and {key}.options",
            )
        case Refusal.OTHER:
            return JobFailed(f"{what}: database {database.connection}: {message}", details=details)
