"""EMR's operations by name: faults, then shapes, then the operation."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.local.aws.answers import ABORT, JSON_1_1, ApiError, send_error, send_json
from framework.local.aws.database import Database
from framework.local.aws.emr import account, clusters, instances, job_flows, labels, scaling, shapes, steps
from framework.local.aws.emr.contract import Executor, Roles
from framework.local.aws.emr.delays import Delays
from framework.local.aws.emr.faults import CALLS, Faults, Kind, Rule
from framework.local.aws.emr.faults import parse as parse_rule
from framework.local.aws.emr.lifecycle import Controller
from framework.local.aws.emr.operation import Emr, EmrOperation
from framework.local.aws.emr.store import SCHEMA, VERSION
from framework.local.aws.json_service import parse_json, read_body, unsupported
from framework.local.aws.router import Call

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_FAULT_HEADER = "HTTP_X_EMRJOBS_FAULT"
# Seconds without an answer: longer than what clients wait by default (60 s in botocore).
_SILENCE = 65.0

_log = logging.getLogger(__name__)

OPERATIONS: Mapping[str, EmrOperation] = {
    **clusters.OPERATIONS,
    **job_flows.OPERATIONS,
    **steps.OPERATIONS,
    **instances.OPERATIONS,
    **scaling.OPERATIONS,
    **account.OPERATIONS,
    **labels.OPERATIONS,
}


class EmrService:
    """Handler of the signing name `elasticmapreduce`.

    Args:
        path: SQLite file of the clusters.
        executor: runs the steps and bootstrap actions; closed by its owner.
        roles: gives these the keys of their roles.
        delays: how long provisioning takes.
    """

    def __init__(self, path: Path, executor: Executor, roles: Roles, delays: Delays) -> None:
        self._database = Database(path, SCHEMA, VERSION)
        self._closing = threading.Event()
        self.faults = Faults()
        self._controller = Controller(self._database, executor, roles, delays)

    def start(self, runtime: Mapping[str, str]) -> None:
        """Move the clusters on. `runtime`: environment variables that every process on a cluster gets, never logged."""
        self._controller.start(runtime)

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            body = read_body(environ)
            fault = self._fault(call, environ, body)
            answer = self._answer(call, body) if fault is None else self._failing(fault, call, environ, body)
        except ApiError as error:
            return send_error(environ, start_response, error)
        except Exception:
            _log.exception("%s.%s failed", call.service, call.operation)
            return send_error(environ, start_response, ApiError("InternalServerException", f"{call.operation} failed; see the log.", 500))
        return send_json(start_response, 200, answer, JSON_1_1)

    def _fault(self, call: Call, environ: WSGIEnvironment, body: bytes) -> Rule | None:
        if header := environ.get(_FAULT_HEADER):
            rule = parse_rule({"kind": header})
            if rule.kind in CALLS:
                return rule
        return self.faults.of_call(call.operation or "", body)

    def _failing(self, fault: Rule, call: Call, environ: WSGIEnvironment, body: bytes) -> dict[str, Any]:
        """Answer a call that something goes wrong with."""
        _log.info("fault %s happens to %s", fault.kind, call.operation)
        if fault.kind is Kind.THROTTLE:
            raise ApiError("ThrottlingException", "Rate exceeded")
        if fault.kind is not Kind.DROP_BEFORE:
            self._answer(call, body)
        if fault.kind is Kind.THROTTLE_AFTER:
            raise ApiError("ThrottlingException", "Rate exceeded")
        if fault.kind is Kind.TIMEOUT_AFTER:
            self._closing.wait(_SILENCE if fault.seconds is None else fault.seconds)
        environ[ABORT]()
        return {}

    def interrupt_spot(self, rule: Rule) -> None:
        """Take one running Spot instance away, as EC2 does; EMR asks for another.

        Raises:
            ApiError: ValidationException, when there is none.
        """
        instances.interrupt_spot(self._database, self._controller, rule)

    def _answer(self, call: Call, body: bytes) -> dict[str, Any]:
        name = call.operation or ""
        operation = OPERATIONS.get(name)
        if operation is None:
            raise unsupported(call)
        request = shapes.load("emr").check(name, parse_json(body))
        return operation(Emr(self._database, call.region, self._controller, self.faults), request)

    def close(self) -> None:
        """Stop deciding and close the file."""
        self._closing.set()
        self._controller.close()
        self._database.close()


class FaultPage:
    """The page `/_emrjobs/faults`: GET shows the rules, PUT replaces and POST adds to them, DELETE removes all."""

    def __init__(self, service: EmrService) -> None:
        self._service = service

    def __call__(self, call: Call, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        faults, method = self._service.faults, environ["REQUEST_METHOD"]
        try:
            if method in ("PUT", "POST"):
                rules = [parse_rule(item) for item in _rules(read_body(environ))]
                lasting = [rule for rule in rules if rule.kind is not Kind.SPOT_INTERRUPTION]
                (faults.set if method == "PUT" else faults.add)(lasting)
                for rule in rules:
                    if rule.kind is Kind.SPOT_INTERRUPTION:
                        self._service.interrupt_spot(rule)
            elif method == "DELETE":
                faults.set([])
            elif method != "GET":
                raise ApiError("MethodNotAllowed", "Use GET, PUT, POST or DELETE.", 405)
        except ApiError as error:
            return send_json(start_response, error.status, {"error": error.message})
        return send_json(start_response, 200, faults.shown())


def _rules(body: bytes) -> list[Any]:
    try:
        value = json.loads(body or b"[]")
    except ValueError as error:
        raise ApiError("ValidationException", f"The faults are not JSON: {error}.") from error
    return value if isinstance(value, list) else [value]
