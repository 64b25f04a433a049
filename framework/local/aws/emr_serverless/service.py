"""EMR Serverless over rest-json: which operation a request is, and its parameters, as botocore's model says."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from framework.local.aws.answers import ApiError, send_json, send_rest_error
from framework.local.aws.database import Database
from framework.local.aws.emr import shapes
from framework.local.aws.emr.contract import Executor, Roles
from framework.local.aws.emr_serverless import store
from framework.local.aws.emr_serverless.mover import Mover
from framework.local.aws.emr_serverless.operations import OPERATIONS, Serverless
from framework.local.aws.json_service import parse_json, read_body
from framework.local.aws.router import ACCOUNT_ID, Call

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)


class ServerlessService:
    """Handler of the signing name `emr-serverless`.

    Args:
        path: SQLite file of the applications and job runs.
        executor: runs the job runs; closed by its owner.
        roles: gives these the keys of their execution roles.
    """

    def __init__(self, path: Path, executor: Executor, roles: Roles) -> None:
        self._database = Database(path, store.SCHEMA, store.VERSION)
        self._executor = executor
        self._mover = Mover(self._database, executor, roles)
        self._url = ""

    def start(self, runtime: Mapping[str, str]) -> None:
        """Move job runs on. `runtime`: environment variables that every process gets, never logged."""
        self._url = runtime.get("AWS_ENDPOINT_URL", "")
        self._mover.start(runtime)

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            name, request = read(environ)
            operation = OPERATIONS.get(name)
            if operation is None:
                raise ApiError("ValidationException", f"{name} is not supported by the local endpoint.")
            caller = f"arn:aws:iam::{ACCOUNT_ID}:root"
            context = Serverless(self._database, call.region, caller, self._url, self._mover.poke, self._executor.release)
            answer = operation(context, request)
        except ApiError as error:
            return send_rest_error(start_response, error)
        except Exception:
            _log.exception("emr-serverless %s %s failed", environ["REQUEST_METHOD"], environ.get("PATH_INFO"))
            return send_rest_error(start_response, ApiError("InternalServerException", "The call failed; see the log.", 500))
        return send_json(start_response, 200, answer)

    def page(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """What GetDashboardForJobRun leads to: the job run as JSON."""
        query = parse_qs(environ.get("QUERY_STRING", ""))
        with self._database.read() as connection:
            run = store.job_run(connection, query.get("application", [""])[0], query.get("run", [""])[0])
        return send_json(start_response, 200 if run else 404, run.document if run else {"error": "there is no such job run"})

    def close(self) -> None:
        """Stop deciding and close the file."""
        self._mover.close()
        self._database.close()


def read(environ: WSGIEnvironment) -> tuple[str, dict[str, Any]]:
    """Operation and checked parameters of a request.

    Raises:
        ApiError: no operation has this method and path, or the parameters do not fit it.
    """
    # The raw path: an ARN in it has its slashes encoded.
    path = str(environ["REQUEST_URI"]).partition("?")[0]
    for name, method, pattern in _routes():
        match = pattern.fullmatch(path) if method == environ["REQUEST_METHOD"] else None
        if match is not None:
            model = shapes.load("emr-serverless")
            request = parse_json(read_body(environ)) if method in ("POST", "PATCH", "PUT") else {}
            request |= {key: unquote(value) for key, value in match.groupdict().items()}
            request |= _query(model, name, environ.get("QUERY_STRING", ""))
            return name, model.check(name, request)
    raise ApiError("ValidationException", f"There is no operation {environ['REQUEST_METHOD']} {path}", 404)


@cache
def _routes() -> list[tuple[str, str, re.Pattern[str]]]:
    operations = shapes.load("emr-serverless").operations
    return [(name, item["http"]["method"], _pattern(item["http"]["requestUri"])) for name, item in operations.items()]


def _pattern(uri: str) -> re.Pattern[str]:
    return re.compile(
        "".join(f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else re.escape(part) for part in re.split(r"({\w+})", uri))
    )


def _query(model: shapes.Model, operation: str, text: str) -> dict[str, Any]:
    """Parameters of the query in the types that the model gives them."""
    given = parse_qs(text)
    members = model.shapes[model.operations[operation]["input"]["shape"]]["members"]
    found: dict[str, Any] = {}
    for name, member in members.items():
        values = given.get(member.get("locationName", name)) if member.get("location") == "querystring" else None
        if values:
            kind = model.shapes[member["shape"]]["type"]
            found[name] = values if kind == "list" else _typed(kind, values[-1])
    return found


def _typed(kind: str, value: str) -> Any:
    if kind in ("integer", "long"):
        try:
            return int(value)
        except ValueError:
            raise ApiError("ValidationException", f"{value!r} is not a number") from None
    return value == "true" if kind == "boolean" else value
