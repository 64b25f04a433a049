"""Leases: at most one run at a time publishes one job's output for one set of parameters.

A lease is one small object on the state prefix. It is taken and renewed by conditional writes (S3 `If-None-Match` and
`If-Match`), so of many that try one wins, and a holder that was overtaken learns it at its next renewal: the last one is right
before it publishes. Age is told by the store's clock alone; clocks of the machines that run jobs do not matter.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from framework.errors import AccessRefused, EmrjobsError, LeaseHeld, LeaseLost
from framework.jobs import Job, Params
from framework.store import Store, Versioned

_log = logging.getLogger(__name__)

TTL = 60.0
"""Seconds after which a lease that nobody renews is free."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        since: ISO 8601, UTC, by the holder's clock; for people.
        renewals: how often; so no two writes of one lease are alike, and the tags tell them apart.
        released: it was given back.
    """

    run_id: str
    host: str
    pid: int
    since: str
    renewals: int = 0
    released: bool = False

    def describe(self) -> str:
        return f"run {self.run_id} (process {self.pid} on {self.host}, since {self.since})"

    @property
    def is_gone(self) -> bool:
        """True when its process was on this machine and is not there any more; False when nobody can tell."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


class Leases:
    """The leases of one environment.

    Args:
        store: of the state prefix.
        ttl: seconds; renewed three times in that time.
    """

    def __init__(self, store: Store, ttl: float = TTL) -> None:
        self._store = store
        self._ttl = ttl

    @contextmanager
    def hold(self, job: Job, params: Params, run_id: str) -> Iterator[Lease]:
        """Hold the lease of a job's output while a run computes and publishes it.

        Raises:
            LeaseHeld: another run holds it.
        """
        holder = Holder(run_id, socket.gethostname(), os.getpid(), dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
        lease = Lease(self._store, key_of(job, params), holder, self._ttl, f"{job.where}: {job.output.name}")
        lease.take()
        try:
            yield lease
        finally:
            lease.release()


def key_of(job: Job, params: Params) -> str:
    """What a run needs for itself: the whole table when it replaces it, else the table with these parameters.

    Runs of one job with other parameters write other partitions, or rows that are appended or merged: they go in parallel.
    """
    if job.output.write_mode == "overwrite":
        return f"leases/{job.output.identity}/table.json"
    text = json.dumps({name: str(value) for name, value in sorted(params.items())})
    return f"leases/{job.output.identity}/{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


class Lease:
    """One lease, held from `take` to `release` and renewed in the background."""

    def __init__(self, store: Store, key: str, holder: Holder, ttl: float, what: str) -> None:
        self._store = store
        self._key = key
        self._holder = holder
        self._ttl = ttl
        self._what = what
        self._tag: str | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> None:
        """Take it: when nobody has it, its holder gave it back, has not renewed it in time, or is a dead process of this machine.

        Raises:
            LeaseHeld: another run holds it.
        """
        found = self._find()
        holder = _holder(found)
        if found is not None and holder is not None and not self._is_free(holder, found):
            raise self._held(holder, found)
        if not self._write(found.tag if found else None):  # somebody was faster
            found = self._store.look(self._key)
            raise self._held(_holder(found), found)
        if holder is not None and not holder.released:
            _log.info("took over the lease of %s, which has ended", holder.describe())
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def _find(self) -> Versioned | None:
        try:
            return self._store.look(self._key)
        except AccessRefused:
            # Of an object that is not there S3 says 403 to who may not list the bucket (S3 API, GetObject).
            return None

    def confirm(self) -> None:
        """Renew it now, right before something that only the holder may do.

        Raises:
            LeaseLost: another run has taken it over.
        """
        with self._lock:
            self._holder = replace(self._holder, renewals=self._holder.renewals + 1)
            if self._tag and self._write(self._tag):
                return
            self._tag = None
            other = _holder(self._store.look(self._key))
            raise LeaseLost(
                f"this run was out of touch for more than {self._ttl:.0f} s and another one has taken its place; nothing was published",
                where=self._what,
                details=[f"it is held by {other.describe()}"] if other else (),
                fix="see what that run does; run the job again afterwards",
            )

    def _write(self, tag: str | None) -> bool:
        data = _text(self._holder)
        written = self._store.put_if(self._key, data, tag=tag)
        if written is None:
            # A write whose answer was lost is repeated by the client, and then refused because of itself.
            found = self._store.look(self._key)
            written = found.tag if found and found.data == data else None
        if written is not None:
            self._tag = written
        return written is not None

    def release(self) -> None:
        """Give it back; what cannot be given back expires."""
        self._stopped.set()
        if self._thread:
            self._thread.join()
        try:
            if self._tag:
                self._store.put_if(self._key, _text(replace(self._holder, released=True)), tag=self._tag)
        except EmrjobsError as exc:
            _log.warning("the lease could not be given back and expires in %.0f s: %s", self._ttl, exc)

    def _keep(self) -> None:
        while not self._stopped.wait(self._ttl / 3):
            try:
                self.confirm()
            except LeaseLost as exc:
                _log.warning("%s", exc.message)
                return
            except EmrjobsError as exc:  # the store may be back before the lease ends
                _log.warning("the lease could not be renewed: %s", exc.message)

    def _is_free(self, holder: Holder, found: Versioned) -> bool:
        return holder.released or found.age > self._ttl or holder.is_gone

    def _held(self, holder: Holder | None, found: Versioned | None) -> LeaseHeld:
        who = holder.describe() if holder else "another run"
        left = max(0.0, self._ttl - found.age) if found else self._ttl
        return LeaseHeld(
            f"another run is at work on it: {who}",
            where=self._what,
            details=[f"it renews its claim; without that the claim ends in {left:.0f} s"],
            fix="wait until it has ended, or end it",
        )


def _text(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _holder(found: Versioned | None) -> Holder | None:
    """None for an object that is no lease: it holds nothing up."""
    try:
        return Holder(**json.loads(found.data)) if found else None
    except (ValueError, TypeError):
        return None
