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
