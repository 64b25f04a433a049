"""What went wrong in Spark, in one sentence with the user's file and line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from framework import predicates
from framework.aws import Aws
from framework.engines.spark.causes import Cause, causes, more_lines, one_line, worker_error
from framework.engines.spark.read import ResolvedInput, TableRead
from framework.errors import (
    AccessRefused,
    BadData,
    DatasetNotFound,
    EmrjobsError,
    EngineUnavailable,
    JobDefinitionError,
    JobFailed,
    ServiceUnavailable,
    nearest,
)
from framework.jobs import Jdbc, Job, Sql
from framework.sources.hdfs import without_authority
from framework.sources.jdbc import JdbcRead
from framework.sources.paths import PathRead, line_of
from framework.sources.refusals import Refusal, of_state

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_NO_TABLE = ("42P01", "42S02")  # PostgreSQL, MySQL
# MySQL's SQLSTATE for these is the one of any mistake in a statement.
_MYSQL_DENIED = re.compile(r"command denied to user|^Access denied for user")
_UNREACHABLE = ("ConnectException", "NoRouteToHostException", "ConnectTimeoutException", "BlockMissingException", "UnknownHostException")
_NO_ANSWER = ("ConnectException", "SocketException", "SocketTimeoutException", "UnknownHostException", "NoHttpResponseException")  # of Java
_UNWELL = re.compile(r"\(Service: [\w ]+[,;] Status Code: 5\d\d\b")  # in what the AWS SDKs for Java say, when they have tried in vain
_NOT_A_FILE_OF_ITS_FORMAT = ("is not a Parquet file", "Malformed ORC file", "Not an Avro data file", "Not a data file")


def explain_read(exc: Exception, name: str, read: ResolvedInput, where: str, spark: SparkSession) -> EmrjobsError:
    """An input could not be opened (a database is asked for its columns, and files for their schema)."""
    if not _answers(spark):
        return _stopped(where)
    chain = causes(exc, spark._jvm)
    root = chain[-1]
    if isinstance(read, JdbcRead):
        return _in_database(chain, {name: read}, where, spark)
    if any(cause.kind == "ParseException" for cause in chain):
        what, text = ("schema", read.schema) if isinstance(read, PathRead) else ("predicate", read.where)
        return JobDefinitionError(
            f"input {name}: its {what} does not parse: {root.sentence}",
            where=where,
            details=[str(text)],
            fix="use Spark SQL types and syntax",
        )
    if isinstance(read, TableRead):
        if read.where and "AnalysisException" in root.kind:
            return JobDefinitionError(
                f"input {name}: its predicate does not fit {read.info.name}: {root.sentence}",
                where=where,
                details=[read.where],
                fix=root.suggestion,
            )
        return JobFailed(f"input {name} cannot be read: {root.sentence}", where=where)
    if "PATH_NOT_FOUND" in root.message:
        return DatasetNotFound(
            f"input {name}: there are no files at {read.uri}", where=where, fix="check the path and the parameters in it"
        )
    return _in_files(root, {name: read}, where) or BadData(f"input {name} cannot be read: {root.sentence}", where=where)


_NOT_AUTHORIZED = re.compile(r"User: \S+ is not authorized to perform: (?P<action>\S+)(?: on resource: \S+)?")


def explain_run(
    exc: Exception, job: Job, inputs: Mapping[str, ResolvedInput], spark: SparkSession, aws: Aws | None, root: Path
) -> EmrjobsError:
    """The job's own code, its SQL, or its data failed while it was computed.

    Args:
        aws: to find the line of a malformed record; None where no input is a file.
    """
    if not _answers(spark):
        return _stopped(job.where)
    chain = causes(exc, spark._jvm)
    last = chain[-1]
    if refused := _refused(chain, job.where):
        return refused
    if worker := worker_error(chain):
        return JobFailed(f"job {job.name} failed: {worker.error}", where=_own_line(worker.frames, job, root))
    if any("MALFORMED_RECORD_IN_PARSING" in cause.message for cause in chain):
        return _malformed(inputs, spark, aws, last)
    if isinstance(job.output, Jdbc) and any(cause.kind == "BatchUpdateException" for cause in chain):
        message = one_line(last.message).removeprefix("ERROR: ")
        return BadData(f"output {job.output.name}: database {job.output.connection} refuses the rows: {message}", where=job.where)
    if any(cause.sqlstate is not None for cause in chain):
        databases = {name: read for name, read in inputs.items() if isinstance(read, JdbcRead)}
        if databases:
            return _in_database(chain, databases, job.where, spark)
    files = {name: read for name, read in inputs.items() if isinstance(read, PathRead)}
    if problem := _in_files(last, files, job.where):
        return problem
    if last.kind == "OutOfMemoryError":
        return JobFailed(
            f"job {job.name} ran out of memory: {last.message}", where=job.where, fix="raise spark.driver_memory in the configuration"
        )
    if isinstance(job.body, Sql):
        return _in_sql(last, job, job.body)
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(exc.__traceback__)]
    details = more_lines(last.message) if len(chain) == 1 and last.kind == type(exc).__name__ else []
    return JobFailed(f"job {job.name} failed: {last.sentence}", where=_own_line(frames, job, root), details=details, fix=last.suggestion)


def explain_other(exc: Exception, spark: SparkSession, where: str) -> EmrjobsError | None:
    """What failed beside the job's own code (a check, a publish) where that is known; None where it is not."""
    if not _answers(spark):
        return _stopped(where)
    chain = causes(exc, spark._jvm)
    return _refused(chain, where) or _unreachable(chain, where)


def _unreachable(chain: Sequence[Cause], where: str) -> ServiceUnavailable | None:
    """S3 or the catalog is not there, went away in the middle of an answer, or says for too long that it cannot serve (SlowDown)."""
    if chain[-1].kind in _NO_ANSWER:
        return ServiceUnavailable(
            f"S3 or the catalog does not answer: {chain[-1].sentence}",
            where=where,
            fix="check that both can be reached, then run the job again",
        )
    if said := next((cause for cause in chain if _UNWELL.search(cause.message)), None):
        return ServiceUnavailable(f"S3 or the catalog cannot serve: {said.sentence}", where=where, fix="run the job again, later")
    return None


def _refused(chain: Sequence[Cause], where: str) -> AccessRefused | None:
    """AWS's own sentence says who lacks which permission on what."""
    for cause in chain:
        if found := _NOT_AUTHORIZED.search(cause.message):
            return AccessRefused(
                one_line(found[0]), where=where, fix=f"grant {found['action']} to it; `emrjobs iam JOB` prints what a job needs"
            )
    return None


def _answers(spark: SparkSession) -> bool:
    try:
        return not spark.sparkContext._jsc.sc().isStopped()
    except Exception:  # whatever py4j raises when nobody is there
        return False


def _stopped(where: str) -> EngineUnavailable:
    return EngineUnavailable("Spark stopped while the job ran", where=where, fix="run the job again; the run's log says why it stopped")


def _in_database(chain: Sequence[Cause], reads: Mapping[str, JdbcRead], where: str, spark: SparkSession) -> EmrjobsError:
    """What a database or its driver said. With several databases the driver does not say which of them it was."""
    told = next((cause for cause in chain if cause.sqlstate is not None), chain[-1])
    state, read = told.sqlstate or "", next(iter(reads.values()))
    refusal = of_state(state)
    name = f"input {' or '.join(reads)}"
    database = f"{read.connection} ({read.url.removeprefix('jdbc:')})"
    key = f"connections.{read.connection}"
    message = one_line(told.message).removeprefix("ERROR: ").removeprefix("FATAL: ")
    hint = re.search(r"^\s*Hint: (.+)$", told.message, re.MULTILINE)
    if refusal is Refusal.LOGIN:
        return AccessRefused(
            f"{name}: database {database} refused the user or the password",
            where=where,
            fix=f"check {key}.user and {key}.password (`emrjobs config show`)",
        )
    if refusal is Refusal.GRANT or (state == "42000" and _MYSQL_DENIED.search(message)):
        return AccessRefused(f"{name}: database {database}: {message}", where=where, fix=f"grant it to {key}.user")
    if refusal is Refusal.NO_DATABASE or (state == "42000" and message.startswith("Unknown database")):
        return DatasetNotFound(f"{name}: {message} at {database}", where=where, fix=f"check {key}.database")
    if state in _NO_TABLE:
        known = _tables(read, spark)
        return DatasetNotFound(
            f"{name}: {message} in database {database}",
            where=where,
            fix=nearest(read.table, known, what="table that this user may see"),
        )
    if state.startswith("42"):
        return JobDefinitionError(
            f"{name}: database {database} does not understand the predicate: {message}",
            where=where,
            details=[read.described],
            fix=hint[1] if hint else None,
        )
    if refusal is Refusal.DATA:
        told_of = re.sub(r'^invalid input syntax for type integer: "(.*)"$', r"\1", message)
        return BadData(
            f"{name}: database {database}: {told_of}", where=where, fix="read the column as text: Jdbc(..., types={'column': 'string'})"
        )
    if refusal is Refusal.DOWN:
        # The driver's own words can be as little as "The connection attempt failed."
        below = chain[-1]
        more = [below.sentence] if below is not told and "refused" not in message else []
        return ServiceUnavailable(
            f"{name}: cannot connect to database {database}",
            where=where,
            details=[message, *more],
            fix=f"check that it runs, {key}.host, {key}.port and {key}.options",
        )
    return JobFailed(f"{name}: database {database}: {message}", where=where, details=[read.described])


def _tables(read: JdbcRead, spark: SparkSession) -> list[str]:
    """Names of the tables that the user may see, with their schema where the job names one."""
    column = "concat(table_schema, '.', table_name)" if "." in read.table else "table_name"
    query = (
        f"(SELECT {column} AS name FROM information_schema.tables WHERE table_schema NOT IN "
        "('information_schema', 'pg_catalog', 'mysql', 'performance_schema', 'sys')) AS known"
    )
    try:
        frame = spark.read.format("jdbc").options(**read.properties, url=read.url, dbtable=query).load()
        return [str(row[0]) for row in frame.limit(1000).collect()]
    except Exception:  # the first error is the one to read
        return []


def _in_files(cause: Cause, reads: Mapping[str, PathRead], where: str) -> EmrjobsError | None:
    text = without_authority(cause.message.replace("s3a://", "s3://"))
    uris = {name: without_authority(read.uri).partition("*")[0].rstrip("/") for name, read in reads.items()}
    name = next((f"input {name}" for name, uri in uris.items() if uri in text), None)
    if cause.kind in _UNREACHABLE and any(read.uri.startswith("hdfs://") for read in reads.values()):
        return ServiceUnavailable(
            f"{name or 'an input'}: HDFS does not answer: {one_line(text)}",
            where=where,
            fix="check that its NameNode and DataNodes run, and hdfs.uri (`emrjobs config show`)",
        )
    if name and cause.kind == "AccessDeniedException":
        return AccessRefused(f"{name}: S3 refused: {one_line(text)}", where=where, fix="check the credentials and what they allow")
    if any(phrase in text for phrase in _NOT_A_FILE_OF_ITS_FORMAT):
        return BadData(f"{name or 'an input'}: {one_line(text)}", where=where, fix="remove the file, or correct the input's format")
    return None


def _in_sql(cause: Cause, job: Job, body: Sql) -> JobFailed:
    where, details = job.where, []
    source = body.text.splitlines()
    if cause.place and 0 < cause.place[0] <= len(source):
        line, column = cause.place
        shown = source[line - 1]
        where = f"{job.file}:{line}"
        details = [shown, _indent(shown[: _as_written(body.text, line, column, where=job.file)]) + "^"]
    return JobFailed(f"job {job.name} failed: {cause.sentence}", where=where, details=details, fix=cause.suggestion)


def _as_written(text: str, line: int, column: int, *, where: str) -> int:
    """The column in the file: Spark has seen `:name` where the file has `{name}`."""
    start = sum(len(one) for one in text.splitlines(keepends=True)[: line - 1])
    for begin, _, _ in predicates.spans(text, where=where):
        if start <= begin < start + column:
            column += 1
    return column


def _indent(text: str) -> str:
    return "".join("\t" if character == "\t" else " " for character in text)


def _malformed(inputs: Mapping[str, ResolvedInput], spark: SparkSession, aws: Aws | None, cause: Cause) -> BadData:
    """Find the first malformed record: Spark says that there is one, not where."""
    from pyspark.sql import functions as F

    reason = re.split(r" \(start marker at| at \[Source", cause.sentence)[0]
    for name, read in inputs.items():
        if not isinstance(read, PathRead) or read.format not in ("json", "csv") or not read.schema:
            continue
        options = {**read.options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_corrupt_record"}
        rows = spark.read.format(read.format).options(**options).schema(f"{read.schema}, _corrupt_record string").load(read.uri)
        # With all columns: what is not selected is not parsed, and Spark refuses to read the corrupt column alone.
        bad = rows.select("*", F.input_file_name().alias("_file")).where("_corrupt_record IS NOT NULL").head()
        if bad:
            try:
                line = line_of(bad["_file"], bad["_corrupt_record"], aws) if aws else None
            except EmrjobsError:
                line = None
            return BadData(
                f"input {name}: malformed {read.format} record",
                where=f"{bad['_file']}:{line}" if line else bad["_file"],
                details=[one_line(bad["_corrupt_record"]), reason],
                fix=f"correct the file, or the declared schema: {read.schema}",
            )
    return BadData(f"an input holds a malformed record: {reason}")


def _own_line(frames: Sequence[tuple[str, int]], job: Job, root: Path) -> str:
    """`file:line` of the innermost frame in the project's jobs/; where the job is declared when there is none."""
    for file, line in reversed(frames):
        path = Path(file)
        if path == root / job.file:
            return f"{job.file}:{line}"
        if path.is_relative_to(root / "jobs"):
            return f"{path.relative_to(root).as_posix()}:{line}"
    return job.where
