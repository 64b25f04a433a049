"""The one exception tree.

Every error carries what the command line, the watcher and Airflow need to decide the same way: `exit_code` (0 ok, 1 the
job or its data failed, 2 the user's input is wrong) and `retryable`. The message is one clear sentence; `where` is a file
with an optional line, `fix` says what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar


class EmrjobsError(Exception):
    """Base of all errors raised on purpose by this framework.

    Args:
        message: what is wrong, one sentence.
        where: file (and line, as `file:line`) that the user has to open, when there is one.
        details: further lines, each printed indented ("looked in: ...").
        fix: what to do next, one sentence.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, where: str | Path | None = None, details: Sequence[str] = (), fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = str(where) if where is not None else None
        self.details = tuple(details)
        self.fix = fix

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        lines = [head, *(f"  {detail}" for detail in self.details)]
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class UserError(EmrjobsError):
    """The user's input is wrong: nothing was started, nothing is left behind."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration file, environment variable or --set is wrong or incomplete."""


class SecretUnresolved(ConfigError):
    """A secret's reference leads nowhere, or to something that this user may not read."""


class JobDefinitionError(UserError):
    """A file in jobs/ does not define what it should."""


class UnknownJob(UserError):
    """The named job does not exist."""


class ParameterError(UserError):
    """A job's parameter is missing, unknown or not of its type."""


class SuiteError(UserError):
    """A suite of checks in configs/checks/ is wrong."""


class CaseError(UserError):
    """A file of test cases is wrong, or does not fit its job."""


class DatasetNotFound(UserError):
    """A table, path, bucket or connection that a job names is not there."""


class TableNotFound(DatasetNotFound):
    """The catalog has no table of that name.

    Args:
        table: the name that was looked for, `db.name`.
    """

    def __init__(self, table: str, *, where: str | Path | None = None, fix: str | None = None) -> None:
        super().__init__(f"there is no table {table}", where=where, fix=fix)
        self.table = table


class AccessRefused(UserError):
    """A source refused the credentials it was given, or they do not allow the action."""


class SchemaMismatch(EmrjobsError):
    """The job's output does not fit the table that it is published to."""


class MissingExtra(UserError):
    """An optional part of emrjobs is needed and not installed."""


class JobFailed(EmrjobsError):
    """The job's own code or SQL raised."""


class BadData(EmrjobsError):
    """An input holds something that is not what the job declared (malformed record, wrong type)."""


class ChecksFailed(EmrjobsError):
    """Checks of severity error failed on the staged data; nothing was published.

    Attributes:
        report: the `framework.quality.gate.CheckReport`.
    """

    def __init__(self, message: str, *, report: object, details: Sequence[str] = (), fix: str | None = None) -> None:
        super().__init__(message, details=details, fix=fix)
        self.report = report


class PublishConflict(EmrjobsError):
    """Another run published the same partitions meanwhile; the table is untouched by this run."""

    retryable = True


class LeaseHeld(EmrjobsError):
    """Another run is at work on the same output; this one has not begun."""

    retryable = True


class LeaseLost(EmrjobsError):
    """Another run has taken over the output of this one, which was out of touch; nothing was published."""

    retryable = True


class EngineUnavailable(EmrjobsError):
    """An engine (Spark, Trino) did not start or stopped answering."""

    retryable = True


class ServiceUnavailable(EmrjobsError):
    """A server that the run needs (S3, AWS endpoint, database) did not start or stopped answering."""

    retryable = True


class DownloadFailed(EmrjobsError):
    """A file could not be fetched, or is not the one that the lock names."""

    retryable = True


def nearest(name: str, known: Iterable[str], *, what: str = "one") -> str:
    """The end of an error message that helps with a misspelt name.

    Returns `did you mean 'x'?` for a near hit, `known: a, b, c` for a short list, else an empty string.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return f"there is no {what} yet"
    return f"known: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
