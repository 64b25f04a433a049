"""Applications and job runs in one SQLite file; their documents are what the API shows."""

from __future__ import annotations

import json
import secrets
import sqlite3
import string
import time
from dataclasses import dataclass
from typing import Any

from framework.local.aws.router import ACCOUNT_ID

VERSION = 1
SCHEMA = """
CREATE TABLE applications (id TEXT PRIMARY KEY, region TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, document TEXT NOT NULL);
CREATE TABLE job_runs (
  id TEXT PRIMARY KEY, application TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, document TEXT NOT NULL, work TEXT NOT NULL
);
CREATE INDEX job_runs_of_application ON job_runs (application, created);
CREATE INDEX job_runs_by_state ON job_runs (state);
CREATE TABLE tokens (token TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL)
"""

ENDED = ("SUCCESS", "FAILED", "CANCELLED")

Document = dict[str, Any]


@dataclass
class Application:
    """One application; `document` as in GetApplication."""

    id: str
    region: str
    document: Document

    @property
    def state(self) -> str:
        return str(self.document["state"])

    def enter(self, state: str, details: str | None = None) -> None:
        self.document |= {"state": state, "updatedAt": time.time()}
        self.document["stateDetails"] = details or ""

    def save(self, connection: sqlite3.Connection) -> None:
        values = (self.id, self.region, self.state, self.document["createdAt"], json.dumps(self.document))
        connection.execute("INSERT OR REPLACE INTO applications VALUES (?, ?, ?, ?, ?)", values)


@dataclass
class JobRun:
    """One job run.

    Attributes:
        document: as in GetJobRun.
        work: `attempt`, and `cancelled` once it was asked for.
    """

    id: str
    application: str
    document: Document
    work: Document

    @property
    def state(self) -> str:
        return str(self.document["state"])

    def enter(self, state: str, details: str = "") -> None:
        self.document |= {"state": state, "stateDetails": details, "updatedAt": time.time()}

    def save(self, connection: sqlite3.Connection) -> None:
        values = (self.id, self.application, self.state, self.document["createdAt"], json.dumps(self.document), json.dumps(self.work))
        connection.execute("INSERT OR REPLACE INTO job_runs VALUES (?, ?, ?, ?, ?, ?)", values)


def new_id() -> str:
    """As EMR Serverless makes them: `00` and digits and small letters, sixteen in all."""
    return "00" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(14))


def arn(region: str, path: str) -> str:
    return f"arn:aws:emr-serverless:{region}:{ACCOUNT_ID}:/{path}"


def application(connection: sqlite3.Connection, application_id: str) -> Application | None:
    row = connection.execute("SELECT id, region, document FROM applications WHERE id = ?", (application_id,)).fetchone()
    return Application(row[0], row[1], json.loads(row[2])) if row else None


def applications(connection: sqlite3.Connection, region: str | None = None) -> list[Application]:
    """Newest first; those that were deleted stay for a while on AWS, here for good."""
    query = "SELECT id, region, document FROM applications WHERE ? IS NULL OR region = ? ORDER BY created DESC, id"
    return [Application(row[0], row[1], json.loads(row[2])) for row in connection.execute(query, (region, region))]


def job_run(connection: sqlite3.Connection, application_id: str, run_id: str) -> JobRun | None:
    query = "SELECT id, application, document, work FROM job_runs WHERE application = ? AND id = ?"
    row = connection.execute(query, (application_id, run_id)).fetchone()
    return _run(row) if row else None


def job_runs(connection: sqlite3.Connection, application_id: str) -> list[JobRun]:
    """Newest first."""
    query = "SELECT id, application, document, work FROM job_runs WHERE application = ? ORDER BY created DESC, id"
    return [_run(row) for row in connection.execute(query, (application_id,))]


def active_runs(connection: sqlite3.Connection) -> list[JobRun]:
    """Those that have not ended, oldest first."""
    query = "SELECT id, application, document, work FROM job_runs WHERE state NOT IN (?, ?, ?) ORDER BY created, id"
    return [_run(row) for row in connection.execute(query, ENDED)]


def _run(row: tuple[str, str, str, str]) -> JobRun:
    return JobRun(row[0], row[1], json.loads(row[2]), json.loads(row[3]))


def answered(connection: sqlite3.Connection, token: str, request: str) -> tuple[bool, Document | None]:
    """(whether the token was used for another request, the answer that it had)."""
    row = connection.execute("SELECT request, answer FROM tokens WHERE token = ?", (token,)).fetchone()
    if row is None:
        return False, None
    return row[0] != request, json.loads(row[1])


def remember(connection: sqlite3.Connection, token: str, request: str, answer: Document) -> None:
    connection.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", (token, request, json.dumps(answer)))
