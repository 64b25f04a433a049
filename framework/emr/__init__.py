"""EMR: plan, package, submit, watch. What operators of a scheduler and the command line stand on; nothing here prints or exits.

with open_platform(loaded) as platform:          # or framework.local.target.open_platform for the local endpoint
    made = emr.plan(platform, [(job, {"date": "2013-03-08"})])
    done = emr.submit(platform, made)
    for event in emr.attach(platform, done.record).events(): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from framework.emr.api import EmrApi
from framework.emr.plans import SubmitPlan, artifacts_prefix, is_local, order, plan, with_trino
from framework.emr.records import SubmitRecord, Submits
from framework.emr.submission import Submitted
from framework.emr.watch import Watch
from framework.errors import UserError

if TYPE_CHECKING:
    from framework.config.loader import Loaded
    from framework.ledger import RunRecord
    from framework.platform import Platform

__all__ = [
    "SubmitPlan",
    "SubmitRecord",
    "Submits",
    "Submitted",
    "attach",
    "cancel",
    "is_local",
    "open_platform",
    "plan",
    "step_log",
    "submit",
    "submits",
]


@contextmanager
def open_platform(loaded: Loaded) -> Iterator[Platform]:
    """The platform of an environment on AWS: clients, catalog and ledger; jobs run on clusters only."""
    from framework.platform import Platform

    def refuse(conf: Mapping[str, str]) -> AbstractContextManager[Any]:
        raise UserError(
            f"environment {loaded.env} runs its jobs on EMR, not on this machine",
            where=f"configs/env/{loaded.env}.yaml",
            fix="use `emrjobs submit`, or an environment with target: embedded",
        )

    yield Platform(loaded, refuse)


def submits(platform: Platform) -> Submits:
    """The submit records of an environment."""
    from framework.store import open_store

    return Submits(open_store(platform.settings.state, platform.aws))


def submit(platform: Platform, made: SubmitPlan, tell: Callable[[str], None] = lambda text: None) -> Submitted:
    """Upload what is missing, and bring the plan's runs onto a cluster, exactly once.

    Raises:
        UserError: refused; nothing was created.
        ServiceUnavailable: no answer for long; the same submit goes on where this one stopped.
    """
    from framework.emr import package, submission

    made = with_trino(platform, made)
    stored = package.store([one for one, _, _ in made.artifacts], artifacts_prefix(platform.loaded), platform.aws, tell)
    return submission.start(order(made, stored), EmrApi.of(platform.aws), submits(platform), tell)


def attach(platform: Platform, record: SubmitRecord) -> Watch:
    """Watch a submit, from wherever it is.

    Raises:
        UserError: it was cut off before it had a cluster.
    """
    from framework.emr.logs import StepLogs

    if not record.complete():
        raise UserError(f"the submit {record.submit_id} was cut off before it had a cluster", fix="submit the same again: it goes on")
    log_uri, cluster_id = record.logs, str(record.cluster_id)

    def logs(step_id: str) -> StepLogs:
        return StepLogs(platform.aws, str(log_uri), cluster_id, step_id)

    def find_run(run_id: str) -> RunRecord | None:
        try:
            return platform.ledger.get(run_id)
        except UserError:
            return None

    return Watch(record, EmrApi.of(platform.aws), logs if log_uri else None, find_run)


def step_log(platform: Platform, record: SubmitRecord, run_id: str) -> str | None:
    """What the step of a run and its driver wrote, as far as EMR has put it on S3; None where the cluster keeps no logs."""
    watch = attach(platform, record)
    if watch.logs is None:
        return None
    logs = watch.logs(record.steps[run_id])
    for _ in range(2):  # the step's own log names the driver's
        list(logs.new())
    parts = [(source, stream, logs.text(source, stream)) for source in ("step", "driver") for stream in ("controller", "stderr", "stdout")]
    return "".join(f"--- {stream} of the {source}\n{text}" for source, stream, text in parts if text) or None


def cancel(platform: Platform, record: SubmitRecord, *, terminate: bool = False) -> list[str]:
    """Cancel a submit's steps, or terminate the cluster that it started; what has ended stays as it is.

    Returns:
        What was asked for, a line each.

    Raises:
        UserError: the cluster was not started by this submit and must not be terminated.
    """
    from framework.emr.api import ENDED, STEP_OPEN

    if record.cluster_id is None:
        return []
    api = EmrApi.of(platform.aws)
    if terminate:
        if not record.owned:
            raise UserError(f"cluster {record.cluster_id} was not started by this submit", fix="cancel the step instead")
        if api.cluster(record.cluster_id)["Status"]["State"] in ENDED:
            return []
        api.terminate(record.cluster_id)
        return [f"terminate {record.cluster_id}"]
    asked = []
    for run_id, step_id in record.steps.items():
        if api.step(record.cluster_id, step_id)["Status"]["State"] in STEP_OPEN:
            api.cancel_step(record.cluster_id, step_id)
            asked.append(f"cancel {step_id} ({run_id})")
    return asked
