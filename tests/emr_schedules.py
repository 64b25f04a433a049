"""Random lives of submits against the local EMR control plane, served over HTTP by a process of its own.

Every attempt of a submit is a process. Its calls are throttled or cut off by the endpoint (the header `x-emrjobs-fault`), before
their effect or after it; they time out, answer 500, or the process is killed with SIGKILL at one of them; new clusters and steps
may show up late in the lists. Whoever comes next submits the same again. Everything is drawn from the schedule's seed.

    python tests/emr_schedules.py --seeds 1000            # a report as JSON; exit code 1 when a promise was broken
    python tests/emr_schedules.py --first 17 --seeds 1    # one schedule again, with its faults on standard error
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from emr_faults import client_error

from framework.config.loader import load
from framework.discovery import Jobs, discover
from framework.emr import plans, spec, submission
from framework.emr.api import ACTIVE, EmrApi
from framework.emr.clock import Clock, RealClock
from framework.emr.cluster import Cluster, design
from framework.emr.package import Artifact, Stored
from framework.emr.plans import Planned, SubmitPlan
from framework.emr.records import Submits
from framework.emr.request import run_job_flow
from framework.emr.step import step_name
from framework.emr.submission import Order
from framework.errors import EmrjobsError
from framework.store import FolderStore

PROJECT = Path(__file__).parents[1]
LIVES = 30  # of one schedule; nothing fails in the last one
WORKERS = 2
# A schedule lists the clusters of the last ten minutes: regions keep those of others out of its way.
REGIONS = [
    "us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1",
    "ap-south-1", "ap-northeast-1", "ap-northeast-2", "ap-southeast-1", "ap-southeast-2", "sa-east-1", "ca-central-1", "me-south-1",
]  # fmt: skip
STORED = [Stored(kind, f"s3://emrjobs-state/artifacts/{kind}", 0) for kind in ("code", "env", "entry")]
# What goes wrong, and what the endpoint is asked for: before the effect, after it.
FAULTS = {
    "throttled": ("throttle", "throttle-after-acting"),
    "cut off": ("drop-before-acting", "drop-after-acting"),
    "timed out": None,
    "broken": None,
    "killed": None,
}
ENDED, REFUSED, BROKEN = 0, 3, 4  # exit codes of a life


class SkippingClock:
    """The machine's clock in which sleeping takes no time: it is ahead by all that was slept."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        return time.time() + self._ahead

    def sleep(self, seconds: float) -> None:
        self._ahead += seconds


class Client:
    """boto3's client of one region; `fault` of the next call goes to the endpoint as a header."""

    def __init__(self, url: str, region: str) -> None:
        import boto3
        from botocore.config import Config

        session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="secret", region_name=region)
        # One attempt: how often a call is repeated is what is tried here.
        self._client = session.client("emr", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))
        self._client.meta.events.register("before-sign.emr.*", self._sign)
        self.fault: str | None = None

    def _sign(self, request: Any, **_: Any) -> None:
        if self.fault:
            request.headers.add_header("x-emrjobs-fault", self.fault)

    def call(self, operation: str, arguments: Any, fault: str | None = None) -> Any:
        self.fault = fault
        try:
            return getattr(self._client, operation)(**arguments)
        finally:
            self.fault = None

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return lambda **arguments: self.call(operation, arguments)


@dataclass
class Faulty:
    """What one process has in its hands: EMR's API as `client` or the store as `inner`, failing now and then.

    Attributes:
        rate: of the calls that fail.
        kinds: of FAULTS.
        lag: seconds until a new cluster or step is in the lists.
        log: a line a fault; written before it happens, because the process may be gone then.
    """

    rng: random.Random
    rate: float
    kinds: Sequence[str]
    log: int
    client: Client | None = None
    inner: Any = None
    clock: Clock = field(default_factory=RealClock)
    lag: float = 0.0

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(*args: Any, **arguments: Any) -> Any:
            fails, kind, after = self.rng.random() < self.rate, self.rng.choice(self.kinds), self.rng.random() < 0.5
            if fails:
                os.write(self.log, f"{kind} {'after' if after else 'before'} {operation}\n".encode())
            if fails and not after:
                return self._before(kind, operation, arguments)
            answer = self._act(operation, args, arguments, FAULTS[kind] if fails else None)
            if fails:
                self._after(kind)
            return self._late(answer)

        return call

    def _act(self, operation: str, args: Any, arguments: Any, fault: tuple[str, str] | None) -> Any:
        if self.client is None:
            return getattr(self.inner, operation)(*args, **arguments)
        return self.client.call(operation, arguments, fault[1] if fault else None)

    def _before(self, kind: str, operation: str, arguments: Any) -> Any:
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "timed out":
            raise ConnectTimeoutError(endpoint_url="https://emr")
        if kind == "broken":
            raise client_error("InternalServerException", "", 500)
        assert self.client is not None
        asked = FAULTS[kind]
        return self.client.call(operation, arguments, asked[0] if asked else None)

    def _after(self, kind: str) -> None:
        """The endpoint has acted; where it was to answer with a fault, that was raised already."""
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "timed out":
            raise ReadTimeoutError(endpoint_url="https://emr")
        raise client_error("InternalServerException", "", 500)

    def _late(self, answer: Any) -> Any:
        if self.lag and isinstance(answer, dict):
            shown = dt.datetime.fromtimestamp(self.clock.now() - self.lag, dt.UTC)
            for name in ("Clusters", "Steps"):
                if name in answer:
                    answer[name] = [one for one in answer[name] if one["Status"]["Timeline"]["CreationDateTime"] <= shown]
        return answer


@cache
def _cluster(preset: str) -> Cluster:
    return design(spec.load(PROJECT, preset), ["spark"], load(PROJECT, "local_emr", variables={}))


@cache
def _jobs() -> Jobs:
    return discover(PROJECT)


def order(jobs: Sequence[str], params: dict[str, str], existing: dict[str, Any] | None) -> Order:
    """The order of a submit of the project's own jobs with its own preset, as `emrjobs submit` makes it."""
    cluster = _cluster("transient_spot")
    planned = tuple(Planned(_jobs().get(name), params, tuple(jobs[:index][-1:])) for index, name in enumerate(jobs))
    shipped = (Artifact("code", "code", lambda path: None, {}), STORED[0].uri, True)
    made = SubmitPlan(planned, cluster, existing, (shipped,), {}, None, None, None, (), (), (), ())
    return plans.order(made, STORED)


@dataclass
class Broken(Exception):
    """A promise was not kept."""

    seed: int
    what: str
    log: str


@dataclass
class Worker:
    """Lives of submits in its own regions, one after the other.

    Attributes:
        folder: of the submit records, one a schedule.
        counts: schedules, lives, and faults by kind.
    """

    url: str
    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    _clients: dict[str, tuple[Client, Client]] = field(default_factory=dict)

    def clients(self, region: str) -> tuple[Client, Client]:
        """One for this process, and one that it never uses: a fork must not share its connections."""
        if region not in self._clients:
            self._clients[region] = (Client(self.url, region), Client(self.url, region))
        return self._clients[region]

    def schedule(self, seed: int) -> None:
        """Submit, fail, submit again, until it is through; then look at what is there.

        Raises:
            Broken: not exactly one cluster, or not exactly one step per run, or something is left.
        """
        rng = random.Random(seed)
        own, unused = self.clients(REGIONS[seed % len(REGIONS)])
        api = EmrApi(own, own, clock=SkippingClock())
        jobs = ["ingest_weather", "daily_etl"][: rng.choice([1, 2])]
        existing = self._shared_cluster(own, seed) if rng.random() < 0.4 else None
        lag = rng.choice([0.0, 0.0, 2.0, 10.0])
        what = order(jobs, {"seed": str(seed)}, existing)
        store = FolderStore(self.folder / str(seed))
        log = self.folder / f"{seed}.log"
        for life in range(LIVES):
            rate = rng.choice([0.1, 0.3, 0.5]) if life < LIVES - 1 else 0.0
            code = self._live(seed, life, rate, lag, what, unused, store, log)
            self.counts["lives"] += 1
            if code == -signal.SIGKILL:
                self.counts["processes killed"] += 1
            if code == ENDED:
                break
            if code not in (-signal.SIGKILL, REFUSED):
                raise Broken(seed, f"the submit ended with {code}", log.read_text())
        else:
            raise Broken(seed, "the submit did not get through", log.read_text())
        lines = log.read_text().splitlines() if log.exists() else []
        self.counts.update(line.partition(" after")[0].partition(" before")[0] for line in lines)
        problem = self._problem(api, what, Submits(store), existing)
        if problem:
            raise Broken(seed, problem, "\n".join(lines))
        self.counts["schedules"] += 1

    def clean(self, region: str) -> None:
        """Terminate what a broken schedule has left."""
        own, _ = self.clients(region)
        api = EmrApi(own, own)
        for one in list(api.clusters(since=0, states=ACTIVE)):
            api.terminate(one["Id"])

    def _shared_cluster(self, client: Client, seed: int) -> dict[str, Any]:
        asked = run_job_flow(_cluster("long_running"), jobs=["shared"], submit_id=f"shared-{seed}")
        made = client.run_job_flow(**asked)["JobFlowId"]
        return dict(client.describe_cluster(ClusterId=made)["Cluster"])

    def _live(self, seed: int, life: int, rate: float, lag: float, what: Order, client: Client, store: FolderStore, log: Path) -> int:
        """One process; its exit code, or the negative of the signal that ended it."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        code = BROKEN
        try:
            lines = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            rng, clock = random.Random(seed * LIVES + life), SkippingClock()
            calls: Any = Faulty(rng, rate, sorted(FAULTS), lines, client=client, clock=clock, lag=lag)
            records: Any = Faulty(rng, rate / 4, ["killed"], lines, inner=store)
            submission.start(what, EmrApi(calls, calls, clock=clock), Submits(records))
            code = ENDED
        except EmrjobsError:
            code = REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _problem(self, api: EmrApi, what: Order, submits: Submits, existing: dict[str, Any] | None) -> str | None:
        record = submits.of_run("latest")
        cluster = str(record.cluster_id)
        active = [one["Id"] for one in api.clusters(since=0, states=ACTIVE)]
        if active != [cluster]:
            return f"the clusters {active} are there, and {cluster} was meant"
        live = sorted(one["Name"] for one in api.steps(cluster) if one["Status"]["State"] != "CANCELLED")
        if live != sorted(map(step_name, record.runs)):
            return f"{cluster} has the steps {live}"
        if {api.step(cluster, step)["Name"] for step in record.steps.values()} != set(live):
            return f"the record names other steps: {record.steps}"
        if not submission.start(what, api, submits).attached:
            return "the same submit did not attach"
        api.terminate(cluster)
        left = [one["Id"] for one in api.clusters(since=0, states=ACTIVE)]
        return f"{left} still run" if left else None

    def at_once(self, seed: int, processes: int) -> None:
        """The same submit by several processes at the same moment, with the machine's own clock.

        Raises:
            Broken: not exactly one cluster.
        """
        own, unused = self.clients(REGIONS[seed % len(REGIONS)])
        what = order(["daily_etl"], {"at once": str(seed)}, None)
        store = FolderStore(self.folder / f"at-once-{seed}")
        children = []
        for _ in range(processes):
            child = os.fork()
            if not child:
                code = BROKEN
                try:
                    submission.start(what, EmrApi(unused, unused), Submits(store))
                    code = ENDED
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        problem = self._problem(EmrApi(own, own, clock=SkippingClock()), what, Submits(store), None)
        if problem or set(codes) != {ENDED}:
            raise Broken(seed, problem or f"the submits ended with {codes}", "")
        self.counts["at once"] += 1


@contextmanager
def endpoint(folder: Path) -> Iterator[str]:
    """The local AWS endpoint in a process of its own. Its clusters stay STARTING, so that no step is executed."""
    log = folder / "endpoint.log"
    argv = [sys.executable, "-m", "framework.local.aws", "--port", "0", "--state", str(folder / "state"), "--s3", "http://127.0.0.1:9"]
    with log.open("wb") as out:
        process = subprocess.Popen([*argv, "--emr-provisioning", "86400"], stderr=out, cwd=PROJECT)
    try:
        end = time.monotonic() + 120
        while "serving on " not in log.read_text():
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError(f"the endpoint did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield "http://127.0.0.1:" + log.read_text().split("serving on http://127.0.0.1:", 1)[1].split(" ", 1)[0]
    finally:
        process.terminate()
        process.wait(timeout=60)


def _work(url: str, folder: Path, number: int, seeds: Sequence[int], at_once: int, out: Path) -> int:
    worker = Worker(url, folder)
    _jobs(), _cluster("transient_spot"), _cluster("long_running")  # once, before the forks
    broken = []
    for seed in [seed for seed in seeds if seed % len(REGIONS) % WORKERS == number]:
        try:
            worker.schedule(seed)
        except Broken as exc:
            broken.append(f"seed {exc.seed}: {exc.what}\n{exc.log}")
            worker.clean(REGIONS[seed % len(REGIONS)])
    for round_ in range(at_once if number == 0 else 0):
        try:
            worker.at_once(round_ * WORKERS, 4)
        except Broken as exc:
            broken.append(f"at once, round {round_}: {exc.what}")
    out.write_text(json.dumps({"counts": worker.counts, "broken": broken}))
    return 1 if broken else 0


def run(seeds: Sequence[int], at_once: int) -> dict[str, Any]:
    """All schedules, on both cores. Returns `counts` and `broken`, a text for each broken promise."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="emrjobs-schedules-") as name, endpoint(Path(name)) as url:
        folder = Path(name)
        children = {}
        for number in range(WORKERS):
            child = os.fork()
            if not child:
                code = BROKEN
                try:
                    code = _work(url, folder, number, seeds, at_once, folder / f"worker-{number}.json")
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children[child] = folder / f"worker-{number}.json"
        for child, out in children.items():
            os.waitpid(child, 0)
            if not out.exists():
                broken.append("a worker broke; see standard error")
                continue
            found = json.loads(out.read_text())
            counts.update(found["counts"])
            broken += found["broken"]
    return {"counts": dict(sorted(counts.items())), "broken": broken}


def main() -> int:
    """Parse the command line, run, print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="first seed (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=100, help="how many schedules (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=0, help="rounds of four processes that submit the same at once")
    options = parser.parse_args()
    report = run(range(options.first, options.first + options.seeds), options.at_once)
    print(json.dumps(report, indent=1))
    return 1 if report["broken"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
