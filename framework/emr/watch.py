"""Follow a submit: states as they change, output as it appears, and how it ended. Decides nothing about what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from framework.emr.api import ENDED, STEP_OPEN, EmrApi
from framework.emr.logs import LogFile, StepLogs, root_cause
from framework.emr.records import SubmitRecord
from framework.errors import AccessRefused, EmrjobsError, ServiceUnavailable
from framework.ledger import RunRecord

SHORTEST, LONGEST = 0.5, 3.0
"""Seconds between two looks: short after a change, longer while nothing changes; a finished step is noticed within the longest."""
_REGULAR = (None, "", "ALL_STEPS_COMPLETED")
_LOGS_AFTER_END = 60.0  # EMR pushes the last logs of a step some time after its end


@dataclass(frozen=True)
class ClusterChanged:
    """A cluster's state; `seconds` since the submit."""

    cluster_id: str
    state: str
    reason: str | None
    seconds: float


@dataclass(frozen=True)
class StepChanged:
    """A step's state; `seconds` since the submit."""

    run_id: str
    step_id: str
    state: str
    reason: str | None
    seconds: float


@dataclass(frozen=True)
class Output:
    """Text that a step or its driver wrote."""

    run_id: str
    file: LogFile
    text: str


@dataclass(frozen=True)
class RunEnded:
    """How one run ended.

    Attributes:
        state: EMR's: COMPLETED, FAILED, CANCELLED, INTERRUPTED.
        cause: the lines that explain a failure, the first is the sentence.
        exit_code: 0 succeeded; 1 the job failed; 2 its input is wrong, as the job itself said.
        record: of the run, when it got so far.
    """

    run_id: str
    state: str
    cause: tuple[str, ...]
    exit_code: int
    record: RunRecord | None


Event: TypeAlias = ClusterChanged | StepChanged | Output | RunEnded


@dataclass
class Watch:
    """One submit under observation.

    Attributes:
        logs: opens the logs of a step; None where the cluster keeps none.
        find_run: the run's record, None while there is none.
    """

    record: SubmitRecord
    api: EmrApi
    logs: Callable[[str], StepLogs] | None
    find_run: Callable[[str], RunRecord | None]
    _states: dict[str, str] = field(default_factory=dict)
    _opened: dict[str, StepLogs] = field(default_factory=dict)

    def events(self) -> Iterator[Event]:
        """What happens until all runs have ended. Leaving the loop leaves the cluster as it is.

        Raises:
            EmrjobsError: EMR does not answer, or refuses.
        """
        waiting = {run.run_id: self.record.steps[run.run_id] for run in self.record.runs}
        pause = SHORTEST
        while waiting:
            changed = False
            cluster = self._cluster()
            if moved := self._cluster_event(cluster):
                changed = True
                yield moved
            for run_id, step_id in list(waiting.items()):
                step = self.api.step(str(self.record.cluster_id), step_id)
                if event := self._step_event(run_id, step):
                    changed = True
                    yield event
                state = step["Status"]["State"]
                if state == "RUNNING" or state not in STEP_OPEN:
                    for output in self._output(run_id, step_id):
                        changed = True
                        yield output
                if state not in STEP_OPEN:
                    del waiting[run_id]
                    yield from self._end(run_id, step_id, step)
                elif cluster["Status"]["State"] in ENDED:
                    del waiting[run_id]
                    yield from self._end(run_id, step_id, {"Status": {**step["Status"], "State": "CANCELLED"}})
            if waiting:
                pause = SHORTEST if changed else min(LONGEST, pause * 1.5)
                self.api.clock.sleep(pause)

    def _cluster(self) -> dict[str, Any]:
        return self.api.cluster(str(self.record.cluster_id))

    def _since(self) -> float:
        return max(0.0, self.api.clock.now() - self.record.created)

    def _cluster_event(self, cluster: dict[str, Any]) -> ClusterChanged | None:
        state = cluster["Status"]["State"]
        if self._states.get("cluster") == state:
            return None
        self._states["cluster"] = state
        return ClusterChanged(cluster["Id"], state, _reason(cluster), self._since())

    def _step_event(self, run_id: str, step: dict[str, Any]) -> StepChanged | None:
        state = step["Status"]["State"]
        if self._states.get(run_id) == state:
            return None
        self._states[run_id] = state
        return StepChanged(run_id, step["Id"], state, _reason(step), self._since())

    def _output(self, run_id: str, step_id: str) -> Iterator[Output]:
        if self.logs is None:
            return
        if step_id not in self._opened:
            self._opened[step_id] = self.logs(step_id)
        try:
            for file, text in self._opened[step_id].new():
                yield Output(run_id, file, text)
        except (AccessRefused, ServiceUnavailable):
            return  # logs are a comfort: the run's end is what counts

    def _end(self, run_id: str, step_id: str, step: dict[str, Any]) -> Iterator[Event]:
        state = step["Status"]["State"]
        record = self._record_of(run_id)
        if state == "COMPLETED":
            yield from self._output(run_id, step_id)
            yield RunEnded(run_id, state, (), 0, record)
            return
        cause: list[str] = []
        if record and record.error:
            cause = str(record.error["message"]).splitlines()
        ran = step["Status"].get("Timeline", {}).get("StartDateTime") is not None
        if not cause and ran and self.logs is not None:
            end = self.api.clock.now() + _LOGS_AFTER_END
            while True:
                yield from self._output(run_id, step_id)
                logs = self._opened.get(step_id)
                cause = root_cause(*(logs.text(source, "stderr") for source in ("driver", "step"))) if logs else []
                if cause or self.api.clock.now() >= end:
                    break
                self.api.clock.sleep(LONGEST)
        else:
            yield from self._output(run_id, step_id)
        cause = cause or self._told(step)
        code = int(record.error.get("exit_code", 1)) if record and record.error else 1
        yield RunEnded(run_id, state, tuple(cause), code or 1, record)

    def _told(self, step: dict[str, Any]) -> list[str]:
        """What EMR itself says of a step that did not succeed: the step's own reasons, or those of the cluster that it ended with."""
        own = [step["Status"].get("FailureDetails", {}).get("Message"), _reason(step)]
        status = self._cluster()["Status"]  # asked now: the step may have ended after the last look
        ended = status["State"] in (*ENDED, "TERMINATING") and status.get("StateChangeReason", {}).get("Code") not in _REGULAR
        if step["Status"]["State"] == "FAILED" or not ended:
            return [text for text in own if text]
        # The step's own "Job terminated" says nothing about why.
        details = [one for detail in status.get("ErrorDetails", []) for one in _error_details(detail)]
        return list(dict.fromkeys(text for text in (status["StateChangeReason"].get("Message"), *details) if text)) or ["the cluster ended"]

    def _record_of(self, run_id: str) -> RunRecord | None:
        try:
            return self.find_run(run_id)
        except EmrjobsError:
            return None


def _error_details(detail: dict[str, Any]) -> Iterator[str]:
    """Management Guide, ErrorDetail: a message, and data such as where the log of a bootstrap action is."""
    yield detail.get("ErrorMessage") or detail.get("ErrorCode") or ""
    for data in detail.get("ErrorData", []):
        if log := data.get("amazon-s3-path") or data.get("logfile-path"):
            yield f"log: {log}"


def _reason(described: dict[str, Any]) -> str | None:
    reason = described["Status"].get("StateChangeReason", {})
    return reason.get("Message") or reason.get("Code") or None
