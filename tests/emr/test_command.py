"""`emrjobs submit`, `attach`, `cancel`, `clusters`, `steps` as a user sees them, on a control plane that is asked over HTTP."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from emr_cloud import Cloud, Command, Done
from emr_endpoint import step, wait

from framework import emr
from framework.config.loader import load
from framework.discovery import discover
from framework.emr.clock import RealClock
from framework.emr.watch import RunEnded

pytestmark = pytest.mark.slow  # two servers are started for all of these

RUN = re.compile(r"\d{8}T\d{9}-\w+-[0-9a-f]{6}")
_dates = iter(f"2013-{month:02}-{day:02}" for month in range(2, 12) for day in range(1, 28))


def date() -> str:
    """A parameter that no other submit has: another run."""
    return f"date={next(_dates)}"


def submitted(emrjobs: Command, *arguments: str, jobs: str = "daily_etl") -> dict[str, Any]:
    done = emrjobs("submit", jobs, "-p", date(), "--no-wait", "--json", *arguments)
    assert done.code == 0, done.err
    record: dict[str, Any] = json.loads(done.out)
    return record


def step_of(record: dict[str, Any]) -> str:
    (found,) = record["steps"].values()
    return str(found)


class TestFollowing:
    def test_a_submit_is_followed_from_its_cluster_to_its_end(self, cloud: Cloud, emrjobs: Command) -> None:
        cloud.emr.executor.otherwise = "ok"
        done = emrjobs("submit", "daily_etl", "-p", date())
        assert (done.code, done.out) == (0, "")
        lines = done.err.splitlines()
        assert lines[0] == "start a cluster"
        assert re.fullmatch(rf"submitted {RUN.pattern}: step s-\w+ of cluster j-\w+", lines[1])
        assert re.search(r"is COMPLETED after \d+ s$", lines[-1])
        assert cloud.active() == []

    def test_a_failed_step_is_explained_and_its_exit_code_is_one(self, cloud: Cloud, emrjobs: Command) -> None:
        cloud.emr.executor.otherwise = "fail"
        done = emrjobs("submit", "daily_etl", "-p", date())
        assert done.code == 1
        assert re.search(rf"^error: {RUN.pattern} failed: it broke$", done.err, re.MULTILINE)

    def test_a_bootstrap_action_that_fails_is_the_reason_and_the_cluster_is_gone(self, cloud: Cloud, emrjobs: Command) -> None:
        preset = cloud.root / "configs" / "clusters" / "booting.yaml"
        preset.write_text("bootstrap: [{name: drivers, path: s3://cloud-state/fail}]\ngroups: {primary: {type: m5.xlarge}}\n")
        done = emrjobs("submit", "daily_etl", "-p", date(), "--preset", "booting")
        preset.unlink()
        assert done.code == 1
        error = next(line for line in done.err.splitlines() if line.startswith("error: "))
        assert re.search(r"cancelled: On the master instance \(i-\w+\), bootstrap action 1 returned a non-zero return code$", error)
        assert "  log: s3://logs/stderr.gz" in done.err.splitlines()
        assert cloud.active() == []

    def test_missing_spot_capacity_becomes_on_demand_as_the_preset_says(self, cloud: Cloud, emrjobs: Command) -> None:
        rule = {"kind": "spot-shortage", "cluster": "emrjobs daily_etl*", "role": "TASK", "units": 2, "seconds": 0.3}
        cloud.emr.faults("PUT", [rule])
        record = submitted(emrjobs)
        cloud.emr.reach(record["cluster"], "RUNNING")
        fleets = cloud.emr.api.list_instance_fleets(ClusterId=record["cluster"])["InstanceFleets"]
        task = next(one for one in fleets if one["InstanceFleetType"] == "TASK")
        assert (task["ProvisionedSpotCapacity"], task["ProvisionedOnDemandCapacity"]) == (2, 6)
        cloud.emr.executor.finish(record["cluster"], cloud.running(record["cluster"], f"daily_etl {record['submit']}"))
        assert emrjobs("attach", record["submit"]).code == 0

    def test_missing_spot_capacity_ends_the_cluster_where_the_preset_says_so(self, cloud: Cloud, emrjobs: Command) -> None:
        preset = cloud.root / "configs" / "clusters" / "strict.yaml"
        text = (cloud.root / "configs" / "clusters" / "transient_spot.yaml").read_text()
        preset.write_text(text.replace("switch_to_on_demand", "terminate_cluster"))
        cloud.emr.faults("PUT", [{"kind": "spot-shortage", "cluster": "emrjobs daily_etl*", "role": "TASK", "seconds": 0.1}])
        done = emrjobs("submit", "daily_etl", "-p", date(), "--preset", "strict")
        preset.unlink()
        assert done.code == 1
        assert "instance fleet timed out while waiting for Spot capacity" in done.err
        assert cloud.active() == []

    def test_what_the_driver_prints_is_shown_and_spark_keeps_its_log_to_itself(self, cloud: Cloud, emrjobs: Command) -> None:
        record = submitted(emrjobs)
        cluster, s3 = record["cluster"], cloud.client("s3")
        running = cloud.running(cluster, f"daily_etl {record['submit']}")
        logs = f"state/emr-logs/{cluster}"
        client = "26/11/25 01:28:06 INFO Client: Submitted application application_1_0001\n"
        s3.put_object(Bucket="cloud-state", Key=f"{logs}/steps/{running}/stderr", Body=client.encode())
        container = f"{logs}/containers/application_1_0001/container_1_0001_01_000001"
        s3.put_object(Bucket="cloud-state", Key=f"{container}/stdout", Body=b"compute daily_etl (11.0 s)\n")
        spark = "26/11/25 01:28:18 INFO Scan: \nOutput: carrier#54\n26/11/25 01:28:19 WARN TaskSetManager: Lost task 0.0\n"
        s3.put_object(Bucket="cloud-state", Key=f"{container}/stderr", Body=spark.encode())
        cloud.emr.executor.finish(cluster, running)
        done = emrjobs("attach", record["submit"])
        assert (done.code, done.out) == (0, "compute daily_etl (11.0 s)\n")
        assert "WARN TaskSetManager: Lost task 0.0" in done.err
        assert "Output: carrier#54" not in done.err
        assert "INFO" not in done.err

    def test_what_the_driver_prints_is_shown_while_the_step_runs(self, cloud: Cloud, emrjobs: Command) -> None:
        record = submitted(emrjobs)
        cluster, s3 = record["cluster"], cloud.client("s3")
        running = cloud.running(cluster, f"daily_etl {record['submit']}")
        logs, application = f"state/emr-logs/{cluster}", "application_1_0001"
        s3.put_object(Bucket="cloud-state", Key=f"{logs}/steps/{running}/stderr", Body=f"Submitted application {application}\n".encode())
        log = f"{logs}/containers/{application}/container_1_0001_01_000001/stdout"
        s3.put_object(Bucket="cloud-state", Key=log, Body=b"start Spark (6.2 s)\n")
        with Terminal([str(Path(sys.executable).with_name("emrjobs")), "attach", record["submit"]]) as terminal:
            terminal.until("start Spark (6.2 s)")
            s3.put_object(Bucket="cloud-state", Key=log, Body=b"start Spark (6.2 s)\ncompute daily_etl (11.0 s)\n")
            terminal.until("compute daily_etl (11.0 s)")
            assert cloud.emr.step_states(cluster) == ["RUNNING"]
            cloud.emr.executor.finish(cluster, running)
            assert terminal.process.wait(timeout=60) == 0
        assert terminal.seen.count("start Spark (6.2 s)") == 1

    def test_logs_prints_all_that_a_step_wrote(self, cloud: Cloud, emrjobs: Command) -> None:
        record = submitted(emrjobs)
        running = cloud.running(record["cluster"], f"daily_etl {record['submit']}")
        key = f"state/emr-logs/{record['cluster']}/steps/{running}/stderr"
        cloud.client("s3").put_object(Bucket="cloud-state", Key=key, Body=b"26/11/25 01:28:06 INFO Client: accepted\n")
        done = emrjobs("logs", record["submit"])
        assert (done.code, done.out) == (0, "--- stderr of the step\n26/11/25 01:28:06 INFO Client: accepted\n")


def test_from_python_it_is_three_calls_that_print_nothing(cloud: Cloud, emrjobs: Command, capfd: pytest.CaptureFixture[str]) -> None:
    cloud.emr.executor.otherwise = "ok"
    with emr.open_platform(load(cloud.root, "cloud")) as platform:
        made = emr.plan(platform, [(discover(cloud.root).get("daily_etl"), {"date": date().removeprefix("date=")})])
        assert cloud.active() == []
        done = emr.submit(platform, made)
        *_, last = emr.attach(platform, done.record).events()
    assert isinstance(last, RunEnded)
    assert (last.run_id, last.state, last.exit_code) == (done.record.submit_id, "COMPLETED", 0)
    assert capfd.readouterr() == ("", "")


class TestAttachAndCancel:
    def test_attach_follows_a_run_that_another_command_submitted(self, cloud: Cloud, emrjobs: Command) -> None:
        record = submitted(emrjobs)
        cloud.emr.executor.finish(record["cluster"], cloud.running(record["cluster"], f"daily_etl {record['submit']}"), 1)
        assert emrjobs("attach", record["submit"]).code == 1
        assert emrjobs("attach").code == 1, "the newest one"

    def test_a_run_that_nobody_submitted_cannot_be_attached_to(self, emrjobs: Command) -> None:
        record = submitted(emrjobs)
        done = emrjobs("attach", record["submit"][:-1] + "x")
        assert done.code == 2
        assert done.err.splitlines() == [
            f"error: no submit has the run '{record['submit'][:-1]}x'",
            f"  fix: did you mean '{record['submit']}'?",
        ]

    def test_cancel_cancels_the_steps_and_leaves_the_cluster_of_others(self, cloud: Cloud, emrjobs: Command) -> None:
        cluster = cloud.shared()
        record = submitted(emrjobs, "--on", cluster)
        cloud.running(cluster, f"daily_etl {record['submit']}")
        done = emrjobs("cancel", record["submit"])
        assert (done.code, done.out) == (0, f"cancel {step_of(record)} ({record['submit']})\n")
        cloud.emr.reach_steps(cluster, "CANCELLED")
        assert [one["Id"] for one in cloud.active()] == [cluster]
        assert emrjobs("cancel", record["submit"]).out == "nothing runs any more\n"
        done = emrjobs("attach", record["submit"])
        assert done.code == 1
        assert "cancelled: Cancelled by user" in done.err

    def test_cancel_with_terminate_ends_only_a_cluster_of_its_own(self, cloud: Cloud, emrjobs: Command) -> None:
        cluster = cloud.shared()
        record = submitted(emrjobs, "--on", cluster)
        done = emrjobs("cancel", record["submit"], "--terminate")
        assert done.code == 2
        assert f"cluster {cluster} was not started by this submit" in done.err
        own = submitted(emrjobs)
        assert emrjobs("cancel", own["submit"], "--terminate").out == f"terminate {own['cluster']}\n"
        cloud.emr.reach(own["cluster"], "TERMINATED")
        assert emrjobs("cancel", own["submit"], "--terminate").out == "nothing runs any more\n"

    def test_clusters_and_steps_are_listed(self, cloud: Cloud, emrjobs: Command) -> None:
        record = submitted(emrjobs)
        cloud.running(record["cluster"], f"daily_etl {record['submit']}")
        (row,) = emrjobs("clusters").out.splitlines()[2:]
        assert row.split()[:3] == [record["cluster"], "RUNNING", "emrjobs"]
        for given in (record["cluster"], record["submit"]):
            (row,) = emrjobs("steps", given).out.splitlines()[2:]
            assert row.split()[:4] == [step_of(record), "RUNNING", "daily_etl", record["submit"]]


Press = Callable[..., None]


@pytest.fixture
def ctrl_c(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Press:
    """Press Ctrl-C once, while the command waits, and type this then; None: there is no terminal. If it goes on, the step succeeds."""

    def press(answer: str | None) -> None:
        slept: list[float] = []
        asleep = time.sleep

        def sleep(self: RealClock, seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 1:
                raise KeyboardInterrupt
            if len(slept) == 2:
                cloud.emr.executor.otherwise = "ok"
                for cluster, work in cloud.emr.executor.running():
                    cloud.emr.executor.finish(cluster, work)
            asleep(seconds)

        monkeypatch.setattr(RealClock, "sleep", sleep)
        typed = io.StringIO("" if answer is None else f"{answer}\n")
        monkeypatch.setattr(typed, "isatty", lambda: answer is not None)
        monkeypatch.setattr(sys, "stdin", typed)

    return press


class TestInterrupted:
    def follow(self, emrjobs: Command, *arguments: str) -> Done:
        return emrjobs("submit", "daily_etl", "-p", date(), *arguments)

    def test_it_asks_and_detaching_leaves_everything_as_it_is(self, cloud: Cloud, emrjobs: Command, ctrl_c: Press) -> None:
        ctrl_c("d")
        done = self.follow(emrjobs)
        assert done.code == 130
        assert "[d]etach, [c]ancel the step, [t]erminate the cluster, or go [o]n watching?" in done.err
        (cluster,) = cloud.active()
        run = RUN.search(done.err)
        assert run
        assert f"{cluster['Id']} goes on; `emrjobs attach {run[0]}` follows it again, `emrjobs cancel {run[0]}` stops it" in done.err

    def test_cancelling_the_step_ends_a_cluster_that_was_there_for_it(self, cloud: Cloud, emrjobs: Command, ctrl_c: Press) -> None:
        ctrl_c("c")
        done = self.follow(emrjobs)
        assert done.code == 130
        assert re.search(rf"^cancel s-\w+ \({RUN.pattern}\)$", done.err, re.MULTILINE)
        wait(lambda: cloud.active() == [])

    def test_terminating_is_offered_for_a_cluster_of_ones_own_only(self, cloud: Cloud, emrjobs: Command, ctrl_c: Press) -> None:
        ctrl_c("t")
        done = self.follow(emrjobs)
        assert done.code == 130
        assert re.search(r"^terminate j-\w+$", done.err, re.MULTILINE)
        wait(lambda: cloud.active() == [])

        cluster = cloud.shared()
        ctrl_c("t")
        done = self.follow(emrjobs, "--on", cluster)
        assert "[d]etach, [c]ancel the step, or go [o]n watching?" in done.err
        assert done.code == 0, "what was not offered changes nothing: it goes on watching"
        assert [one["Id"] for one in cloud.active()] == [cluster]

    def test_going_on_follows_it_to_its_end(self, cloud: Cloud, emrjobs: Command, ctrl_c: Press) -> None:
        ctrl_c("o")
        done = self.follow(emrjobs)
        assert done.code == 0
        assert "is COMPLETED" in done.err.splitlines()[-1]

    def test_without_a_terminal_nobody_is_asked(self, cloud: Cloud, emrjobs: Command, ctrl_c: Press) -> None:
        ctrl_c(None)
        done = self.follow(emrjobs)
        assert done.code == 130
        assert "[d]etach" not in done.err
        assert re.search(r"^interrupted: j-\w+ goes on; `emrjobs attach", done.err, re.MULTILINE)
        assert len(cloud.active()) == 1

    def test_on_a_terminal(self, cloud: Cloud, emrjobs: Command) -> None:
        record = submitted(emrjobs)
        cloud.running(record["cluster"], f"daily_etl {record['submit']}")
        with Terminal([str(Path(sys.executable).with_name("emrjobs")), "attach", record["submit"]]) as terminal:
            terminal.until("is RUNNING")
            terminal.process.send_signal(signal.SIGINT)
            terminal.until("watching?")
            terminal.type("c")
            assert terminal.process.wait(timeout=60) == 130
        wait(lambda: cloud.emr.step_states(record["cluster"]) == ["CANCELLED"])


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, argv: list[str]) -> None:
        self._here, there = pty.openpty()
        variables = {**os.environ, "TERM": "xterm"}
        self.process = subprocess.Popen(argv, stdin=there, stdout=there, stderr=there, env=variables, start_new_session=True)
        os.close(there)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *problem: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._here)

    def until(self, text: str) -> None:
        """Read on until a text appears."""
        end = time.monotonic() + 60
        while text not in self.seen:
            ready, _, _ = select.select([self._here], [], [], max(0.0, end - time.monotonic()))
            assert ready, self.seen
            self.seen += os.read(self._here, 65536).decode()

    def type(self, text: str) -> None:
        os.write(self._here, f"{text}\n".encode())


class TestOnAnExistingCluster:
    def test_by_id_name_or_tag(self, cloud: Cloud, emrjobs: Command) -> None:
        cluster = cloud.shared("warehouse", Tags=[{"Key": "team", "Value": "data"}])
        cloud.shared("other")
        for on in (cluster, "warehouse", "tag:team=data"):
            record = submitted(emrjobs, "--on", on)
            assert record["cluster"] == cluster
        assert len(cloud.emr.steps(cluster)) == 3
        assert len(cloud.active()) == 2

    @pytest.mark.parametrize(
        ("on", "message", "fix"),
        [
            ("warehous", "no active cluster has the name 'warehous'", "did you mean 'warehouse'?"),
            ("tag:team=finance", "no active cluster has the tag team=finance", "`emrjobs clusters` lists them"),
            ("j-ABCDEFGHIJKLM", "could not describe cluster: Cluster id 'j-ABCDEFGHIJKLM' is not valid.", "`emrjobs clusters` lists"),
        ],
    )
    def test_one_that_is_not_there(self, on: str, message: str, fix: str, cloud: Cloud, emrjobs: Command) -> None:
        cloud.shared("warehouse")
        done = emrjobs("submit", "daily_etl", "-p", date(), "--on", on)
        assert done.code == 2
        assert message in done.err
        assert fix in done.err
        assert len(cloud.active()) == 1

    def test_one_that_is_terminating_takes_nothing(self, cloud: Cloud, emrjobs: Command) -> None:
        cluster = cloud.shared()
        cloud.emr.executor.releasing.clear()
        cloud.emr.api.terminate_job_flows(JobFlowIds=[cluster])
        done = emrjobs("submit", "daily_etl", "-p", date(), "--on", cluster)
        assert done.code == 2
        assert done.err.splitlines() == [
            f"error: cluster {cluster} takes no steps: it is TERMINATING (Terminated by user request)",
            "  fix: use another cluster (`emrjobs clusters`), or none: a submit starts its own",
        ]
        assert cloud.emr.steps(cluster) == []

    def test_a_full_one_is_waited_for(self, cloud: Cloud, emrjobs: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        cluster = cloud.shared()
        for _ in range(2):
            cloud.emr.api.add_job_flow_steps(JobFlowId=cluster, Steps=[step("hold") for _ in range(128)])
        asleep: list[float] = []

        def sleep(self: RealClock, seconds: float) -> None:
            if not asleep:
                cloud.emr.executor.finish(cluster, cloud.running(cluster, "hold"))
            asleep.append(seconds)

        monkeypatch.setattr(RealClock, "sleep", sleep)
        done = emrjobs("submit", "daily_etl", "-p", date(), "--on", cluster, "--no-wait")
        assert done.code == 0
        assert f"{cluster} has 256 steps waiting, of 256 that EMR allows: waiting for room" in done.err.splitlines()
        assert asleep
        assert cloud.emr.steps(cluster)[-1]["Status"]["State"] == "PENDING"

    def test_several_jobs_are_steps_of_one_cluster_in_the_order_of_their_dependencies(self, cloud: Cloud, emrjobs: Command) -> None:
        record = submitted(emrjobs, jobs="carrier_scorecard,ingest_weather,daily_etl")
        names = [one["Name"].split()[0] for one in cloud.emr.steps(record["cluster"])]
        assert names == ["daily_etl", "carrier_scorecard", "ingest_weather"]
        arguments = cloud.emr.steps(record["cluster"])[1]["Config"]["Args"]
        runs = {job: run for run, job in record["runs"].items()}
        assert arguments[arguments.index("--after") + 1] == runs["daily_etl"]
