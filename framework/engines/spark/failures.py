"""What went wrong in Spark, in one sentence with the user's file and line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.aws import Aws
from framework.engines.spark.read import ResolvedInput
from framework.errors import (
    AccessRefused,
    BadData,
    DatasetNotFound,
    EmrjobsError,
    EngineUnavailable,
    JobFailed,
    ServiceUnavailable,
)
from framework.jobs import Job, Sql
from framework.sources.jdbc import JdbcRead
from framework.sources.paths import PathRead, line_of, read_text

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# PostgreSQL, Appendix A: error codes. MySQL uses 28000 and 42S02 for the same.
_SQLSTATES = {
    "28P01": "refused",
    "28000": "refused",
    "3D000": "no database",
    "42P01": "no table",
    "42S02": "no table",
    "42703": "no column",
}
_MAX = 300


def explain_read(exc: Exception, name: str, read: ResolvedInput, where: str) -> EmrjobsError:
    """An input could not be opened (the engine asks a database for its columns, and files for their schema)."""
    if isinstance(exc, EmrjobsError):
        return exc
    java = _root_cause(exc)
    message = _message(exc)
    if isinstance(read, JdbcRead):
        return _explain_database(java, message, name, read, where)
    if "ParseException" in type(exc).__name__:
        return DatasetNotFound(
            f"input {name}: its schema or predicate does not parse: {message}", where=where, fix="use Spark SQL types and syntax"
        )
    return JobFailed(f"input {name} cannot be read: {message}", where=where)


def _explain_database(java: Any, message: str, name: str, read: JdbcRead, where: str) -> EmrjobsError:
    state = str(java.getSQLState() or "") if java is not None and hasattr(java, "getSQLState") and _is_sql(java) else ""
    kind = _SQLSTATES.get(state, "")
    database = f"{read.connection} ({read.url.removeprefix('jdbc:')})"
    if kind == "refused":
        return AccessRefused(
            f"input {name}: database {database} refused the user or the password",
            where=where,
            fix=f"check connections.{read.connection}.user and .password (`emrjobs config show`)",
        )
    if kind in ("no table", "no column", "no database"):
        return DatasetNotFound(
            f"input {name}: {_first_line(message)} in database {database}", where=where, fix="check the table and the predicate"
        )
    if state.startswith("42"):
        return DatasetNotFound(f"input {name}: database {database} does not understand the predicate: {_first_line(message)}", where=where)
    if state.startswith("08") or "Connection refused" in message or "Communications link failure" in message:
        return ServiceUnavailable(
            f"input {name}: database {database} does not answer",
            where=where,
            details=[_first_line(message)],
            fix="check that it runs, its host and its port",
        )
    return ServiceUnavailable(f"input {name}: database {database}: {_first_line(message)}", where=where)


def explain_run(exc: Exception, job: Job, inputs: Mapping[str, ResolvedInput], spark: SparkSession, aws: Aws, root: Path) -> EmrjobsError:
    """The job's own code, its SQL, or its data failed while it was computed."""
    if isinstance(exc, EmrjobsError):
        return exc
    message = _message(exc)
    if "MALFORMED_RECORD_IN_PARSING" in message or "Malformed records are detected" in message or "FAILFAST" in message:
        return _malformed(inputs, spark, aws, message)
    if type(exc).__name__ in ("Py4JNetworkError", "Py4JError", "ConnectionRefusedError") and not _java(exc):
        return EngineUnavailable(
            "Spark stopped while the job ran", where=job.where, details=[_first_line(message)], fix="run the job again"
        )
    if isinstance(job.body, Sql):
        return _in_sql(exc, job, message)
    where = _line_of_job(exc, job, root)
    python = (
        re.search(r"^(\w+(?:Error|Exception)): (.*)$", message, re.MULTILINE) if "Traceback (most recent call last)" in message else None
    )
    if python:  # raised in a worker, by a UDF
        frames = re.findall(r'File "([^"]+)", line (\d+)', message)
        own = [(file, line) for file, line in frames if Path(file) == root / job.file]
        where = f"{job.file}:{own[-1][1]}" if own else where
        return JobFailed(f"job {job.name} failed: {python[1]}: {_first_line(python[2])}", where=where)
    for read in inputs.values():
        if isinstance(read, JdbcRead) and (java := _root_cause(exc)) is not None and _is_sql(java):
            return _explain_database(java, str(java.getMessage()), "of " + job.name, read, job.where)
    kind = type(exc).__name__ if not _java(exc) else ""
    return JobFailed(
        f"job {job.name} failed: {kind + ': ' if kind else ''}{_first_line(message)}", where=where, details=_more_lines(message)
    )


def _in_sql(exc: Exception, job: Job, message: str) -> EmrjobsError:
    place = re.search(r"(?:line|\(line) (\d+),? ?(?:pos(?:ition)?)? ?(\d+)", message)
    where = job.file
    details: list[str] = []
    if place:
        line, position = int(place[1]), int(place[2])
        where = f"{job.file}:{line}"
        assert isinstance(job.body, Sql)
        source = job.body.text.splitlines()
        if 0 < line <= len(source):
            details = [source[line - 1], " " * position + "^"]
    text = _first_line(message.split("; line", maxsplit=1)[0])
    return JobFailed(f"job {job.name} failed: {text}", where=where, details=details)


def _malformed(inputs: Mapping[str, ResolvedInput], spark: SparkSession, aws: Aws, message: str) -> BadData:
    """Find the first malformed record: Spark says that there is one, not where."""
    from pyspark.sql import functions as F  # noqa: N812

    for name, read in inputs.items():
        if not isinstance(read, PathRead) or read.format not in ("json", "csv") or not read.schema:
            continue
        options = {**read.options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_corrupt_record"}
        rows = spark.read.format(read.format).options(**options).schema(f"{read.schema}, _corrupt_record string").load(read.uri)
        # Spark refuses to read the corrupt column alone, and prunes the others: a cached plan keeps them.
        found = rows.select("*", F.input_file_name().alias("_file")).cache()
        try:
            bad = found.where("_corrupt_record IS NOT NULL").select("_file", "_corrupt_record").head()
        finally:
            found.unpersist()
        if bad:
            try:
                line = line_of(read_text(bad["_file"], aws), bad["_corrupt_record"])
            except EmrjobsError:
                line = None
            record = bad["_corrupt_record"].strip()
            return BadData(
                f"input {name}: malformed {read.format} record",
                where=f"{bad['_file']}:{line}" if line else bad["_file"],
                details=[record[:200] + (" ..." if len(record) > 200 else "")],
                fix=f"correct the file, or the declared schema: {read.schema}",
            )
    return BadData(f"an input holds a malformed record: {_first_line(message)}")


def _line_of_job(exc: Exception, job: Job, root: Path) -> str:
    own = [frame for frame in traceback.extract_tb(exc.__traceback__) if Path(frame.filename) == root / job.file]
    return f"{job.file}:{own[-1].lineno}" if own else job.where


def _java(exc: Exception) -> Any:
    return getattr(exc, "java_exception", None) or getattr(exc, "_origin", None)


def _root_cause(exc: Exception) -> Any:
    java = _java(exc)
    while java is not None and java.getCause() is not None:
        if _is_sql(java):
            return java
        java = java.getCause()
    return java


def _is_sql(java: Any) -> bool:
    name = str(java.getClass().getName())
    return name.endswith("SQLException") or ".sql." in name.lower().replace("apache.spark.sql", "")


def _message(exc: Exception) -> str:
    java = _root_cause(exc)
    if java is not None:
        return str(java.getMessage() or java.getClass().getName())
    return str(exc) or type(exc).__name__


def _first_line(message: str) -> str:
    line = next((line.strip() for line in message.splitlines() if line.strip()), "no message")
    return line[:_MAX]


def _more_lines(message: str) -> list[str]:
    return [line.strip()[:_MAX] for line in message.splitlines()[1:6] if line.strip() and not line.strip().startswith("at ")]
