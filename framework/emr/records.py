"""The submit record: which runs, on which cluster, as which steps; one JSON object on the state prefix, and one claim per wish.

A claim says that somebody is submitting exactly this (same jobs, parameters, environment, cluster). It is made with a conditional
write, so that of two submits of the same one creates and the other attaches; and it stays, so that a submit after a crash finds the
run id that the crashed one had chosen.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from framework.emr.step import JobRun
from framework.errors import DatasetNotFound, nearest
from framework.store import Store

LEASE_SECONDS = 90.0
"""How long a submit may be silent between two calls that create something, before another takes it over."""


@dataclass(frozen=True)
class SubmitRecord:
    """One submit.

    Attributes:
        submit_id: the run id of its last job; tags and names carry it.
        runs: in the order of their steps.
        cluster_id, steps: EMR's ids; steps by run id. None and empty until they are known.
        owned: whether the submit created the cluster (and so may end it).
        request: the RunJobFlow request without its steps, for the next plan's diff; empty on an existing cluster.
        code: hash by path of what was shipped, for the next plan's diff.
        logs: EMR's log URI.
        created: seconds since the epoch.
        refused: EMR refused it, and nothing was created: it counts as never made.
    """

    submit_id: str
    runs: tuple[JobRun, ...]
    env: str
    preset: str
    created: float
    cluster_id: str | None = None
    steps: Mapping[str, str] = field(default_factory=dict)
    owned: bool = True
    request: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    logs: str | None = None
    refused: bool = False

    @property
    def jobs(self) -> list[str]:
        return [run.job for run in self.runs]

    def complete(self) -> bool:
        """Whether cluster and steps are known."""
        return self.cluster_id is not None and all(run.run_id in self.steps for run in self.runs)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> SubmitRecord:
        """What `to_json` wrote; keys of later versions are ignored."""
        raw = {key: value for key, value in json.loads(data).items() if key in cls.__dataclass_fields__}
        raw["runs"] = tuple(JobRun(**{**run, "after": tuple(run["after"])}) for run in raw["runs"])
        raw["artifacts"] = tuple(raw.get("artifacts", ()))
        return cls(**raw)


@dataclass(frozen=True)
class Claim:
    """Who is submitting what.

    Attributes:
        owner: `host:pid:random`.
        until: seconds since the epoch, when the owner counts as gone.
        version: of the stored object; for the next conditional write.
    """

    submit_id: str
    owner: str
    until: float
    version: str = ""

    def gone(self, now: float) -> bool:
        """Whether the owner is dead: silent for too long, or a process of this machine that has ended."""
        if now >= self.until:
            return True
        host, pid, _ = self.owner.split(":")
        if host != socket.gethostname():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Submits:
    """Submit records and claims below `<state>/submits/`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, record: SubmitRecord) -> None:
        """Store the record, replacing the one of the same submit."""
        self._store.put(f"submits/{record.submit_id}.json", record.to_json())

    def find(self, submit_id: str) -> SubmitRecord | None:
        """The record of a submit, None if there is none (yet)."""
        data = self._store.get(f"submits/{submit_id}.json")
        return SubmitRecord.from_json(data) if data else None

    def of_run(self, run_id: str) -> SubmitRecord:
        """The record that a run is part of; `latest` is the newest submit.

        Raises:
            DatasetNotFound: no submit has this run.
        """
        found = self.find(run_id)
        if found:
            return found
        seen = []
        for record in self.newest():
            if run_id == "latest":
                return record
            seen += [run.run_id for run in record.runs]
            if run_id in seen:
                return record
        if run_id == "latest":
            raise DatasetNotFound("nothing was submitted yet", fix="emrjobs submit JOB")
        raise DatasetNotFound(f"no submit has the run {run_id!r}", fix=nearest(run_id, seen, what="submitted run"))

    def newest(self, *, job: str | None = None) -> Iterator[SubmitRecord]:
        """Records, newest first."""
        keys = [key for key in self._store.keys("submits/") if key.endswith(".json") and key.count("/") == 1]
        for key in sorted(keys, reverse=True):
            data = self._store.get(key)
            record = SubmitRecord.from_json(data) if data else None
            if record and not record.refused and job in (None, *record.jobs):
                yield record

    def claim(self, wish: str) -> Claim | None:
        """Who claims a wish, None if nobody ever did."""
        found = self._store.look(f"submits/claims/{wish}")
        return Claim(**json.loads(found.data), version=found.tag) if found else None

    def take(self, wish: str, claim: Claim, over: Claim | None) -> Claim | None:
        """Write a claim over another (None: over none); None when somebody else was faster."""
        data = asdict(claim)
        del data["version"]
        self._store.put_if(f"submits/claims/{wish}", json.dumps(data).encode(), tag=over.version if over else None)
        # What is there decides, not the answer: the HTTP client may have repeated a write that had its effect.
        now = self.claim(wish)
        return now if now and (now.owner, now.until) == (claim.owner, claim.until) else None

    def renew(self, wish: str, mine: Claim, until: float) -> Claim | None:
        """Stay the owner; None when another took over."""
        return self.take(wish, replace(mine, until=until), mine)

    def release(self, wish: str, mine: Claim) -> None:
        """Be its owner no longer: a process that lives on is at work on something else."""
        self.renew(wish, mine, 0.0)


def wish(runs: Mapping[str, Mapping[str, str]], env: str, where: str) -> str:
    """The key of what somebody wants: jobs with parameters, environment, and preset or cluster."""
    text = json.dumps([{job: dict(sorted(params.items())) for job, params in runs.items()}, env, where], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
