"""Work runs as real processes, and survives what happens to those around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from local.aws.conftest import EndpointProcess, wait_until

from framework.local import processes
from framework.local.aws.answers import ApiError
from framework.local.aws.emr.contract import WorkKind
from framework.local.aws.emr.execution.executor import LocalExecutor

from .builders import step
from .conftest import MARK, Cluster, spec_of

pytestmark = pytest.mark.services

_FOREVER = "echo begun; sleep 1000"


def test_a_command_runs_with_the_clusters_environment_and_its_logs_arrive(cluster: Cluster) -> None:
    script = "echo $EMR_CLUSTER_ID $EMR_STEP_ID; echo careful >&2; command -v spark-submit; python3 -c 'import boto3; print(1 + 1)'"
    outcome = cluster.run(step("bash", "-c", script))
    assert outcome.succeeded
    bin_folder = cluster.root.absolute() / "j-1/node/usr/bin"
    assert cluster.log("s-1", "stdout") == f"j-1 s-1\n{bin_folder}/spark-submit\n2\n"
    assert cluster.log("s-1", "stderr") == "careful\n"
    controller = cluster.log("s-1", "controller")
    assert "INFO startExec 'hadoop jar command-runner.jar bash -c" in controller
    assert "INFO total process run time:" in controller
    assert "local-secret" not in controller


def test_a_failure_names_its_cause_and_the_log_that_says_it(cluster: Cluster) -> None:
    outcome = cluster.run(step("python3", "-c", "raise ValueError('no such carrier')"))
    assert (outcome.exit_code, outcome.reason, outcome.message) == (1, "Unknown Error.", "ValueError: no such carrier")
    assert outcome.log_file == "s3://bucket/logs/j-1/steps/s-1/stderr.gz"


def test_a_command_that_does_not_exist_and_an_exit_code_without_a_word_are_explained(cluster: Cluster) -> None:
    missing = cluster.run(step("no-such-program"))
    assert (missing.exit_code, missing.reason) == (1, "Unknown Error.")
    assert 'Cannot run program "no-such-program"' in str(missing.message)
    silent = cluster.run(step("bash", "-c", "exit 3", work_id="s-2"))
    assert (silent.exit_code, silent.message) == (3, "exit code 3, and nothing in the logs")
    assert "Step failed with exitCode 3" in cluster.log("s-2", "controller")
    in_a_shell = cluster.run(step("bash", "-c", "no-such-program", work_id="s-3"))
    assert in_a_shell.exit_code == 127
    killed = cluster.run(step("bash", "-c", "kill -9 $$", work_id="s-4"))
    assert (killed.exit_code, killed.message) == (-9, "ended by SIGKILL")


def test_an_application_that_is_not_installed_has_no_command(cluster: Cluster) -> None:
    outcome = cluster.run(step("trino-cli", "--execute", "select 1"))
    assert outcome.exit_code == 1
    assert 'Cannot run program "trino-cli"' in str(outcome.message)
    assert 'Cannot run program "trino-cli"' in cluster.log("s-1", "stderr")


def test_hadoop_is_always_there_and_state_is_pushed_nowhere(cluster: Cluster) -> None:
    assert cluster.run(step("state-pusher-script")).succeeded
    assert "there is no debugging service" in cluster.log("s-1", "stderr")


def test_a_script_from_s3_is_run_by_what_its_first_line_names(cluster: Cluster) -> None:
    uri = cluster.put("scripts/a.py", "#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:])\n")
    runner = "s3://us-east-1.elasticmapreduce/libs/script-runner/script-runner.jar"
    assert cluster.run(step(uri, "a", "b c", jar=runner)).succeeded
    assert cluster.log("s-1", "stdout") == "['a', 'b c']\n"


def test_a_missing_script_is_said(cluster: Cluster) -> None:
    outcome = cluster.run(step(jar="s3://bucket/none.sh", kind=WorkKind.BOOTSTRAP))
    assert outcome.exit_code == 1
    assert outcome.message == "s3://bucket/none.sh does not exist"


def test_a_secret_of_a_classification_is_in_the_nodes_file(s3_endpoint: EndpointProcess, cluster: Cluster) -> None:
    made = s3_endpoint.client("secretsmanager").create_secret(Name="of-a-classification", SecretString="swordfish")
    site = {"Classification": "hive-site", "Properties": {"EMR.secret@my.password": made["ARN"]}}
    cluster.executor.prepare(spec_of(s3_endpoint, configurations=[site]))
    assert "<name>my.password</name>\n    <value>swordfish</value>" in (cluster.root / "j-1/node/etc/hive/conf/hive-site.xml").read_text()
    missing = {"Classification": "hive-site", "Properties": {"EMR.secret@my.password": f"{made['ARN']}-none"}}
    with pytest.raises(ApiError, match=r"of the property my\.password cannot be read"):
        cluster.executor.prepare(spec_of(s3_endpoint, configurations=[missing]))


def test_starting_twice_runs_once(cluster: Cluster) -> None:
    work = step("bash", "-c", "echo begun")
    cluster.start(work)
    cluster.start(work)
    cluster.wait("s-1")
    cluster.start(work)
    assert cluster.log("s-1", "stdout") == "begun\n"


def test_a_cancelled_step_ends_with_all_that_it_started(cluster: Cluster) -> None:
    cluster.start(step("bash", "-c", "(setsid sleep 1234 &); echo begun; sleep 1234"))
    cluster.child_runs("s-1")
    cluster.executor.cancel("j-1", "s-1")
    assert cluster.wait("s-1").cancelled
    assert not [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "1234"]]


def test_a_step_that_ignores_sigterm_is_killed_at_once_when_forced(cluster: Cluster) -> None:
    cluster.start(step("bash", "-c", f"trap '' TERM; {_FOREVER}"))
    cluster.child_runs("s-1")
    cluster.executor.cancel("j-1", "s-1", force=True)
    outcome = cluster.wait("s-1", seconds=8)
    assert outcome.cancelled
    assert outcome.exit_code == -signal.SIGKILL


def test_work_that_takes_too_long_is_ended(cluster: Cluster) -> None:
    outcome = cluster.run(step("bash", "-c", _FOREVER, timeout=0.5))
    assert outcome.reason == "Timed out."


def test_a_step_whose_agent_is_killed_fails_with_a_reason_and_leaves_nothing(cluster: Cluster) -> None:
    cluster.start(step("bash", "-c", _FOREVER))
    cluster.child_runs("s-1")
    recorded = json.loads((cluster.root / "j-1/work/s-1/processes.json").read_text())
    os.kill(recorded["agent"]["pid"], signal.SIGKILL)
    outcome = cluster.wait("s-1")
    assert outcome.exit_code is None
    assert outcome.message == "The process that supervised it was killed."
    wait_until(lambda: not psutil.pid_exists(recorded["child"]["pid"]))
    assert cluster.log("s-1", "stdout") == "begun\n"


def test_a_running_step_is_found_again_after_the_endpoint_was_killed(
    s3_endpoint: EndpointProcess, cluster: Cluster, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    work = step("bash", "-c", f"echo begun; until [ -e {go_on} ]; do sleep 0.05; done; exit 5", work_id="s-9")
    # The endpoint that starts it is another process, and is killed while the step runs.
    program = (
        "import json, sys, time\nfrom pathlib import Path\nfrom framework.local.aws.emr.contract import *\n"
        "from framework.local.aws.emr.execution.executor import LocalExecutor\nroot, mark, spec, work = sys.argv[1:]\n"
        "work = json.loads(work)\nwork['kind'] = WorkKind(work['kind'])\n"
        "LocalExecutor(Path(root), mark=mark).start(ClusterSpec(**json.loads(spec)), Work(**work))\ntime.sleep(1000)\n"
    )
    arguments = [str(cluster.root), MARK, json.dumps(asdict(spec_of(s3_endpoint))), json.dumps(asdict(work))]
    first = subprocess.Popen([sys.executable, "-c", program, *arguments])
    cluster.child_runs("s-9")
    first.kill()
    first.wait(timeout=10)
    second = Cluster(LocalExecutor(cluster.root, mark=MARK), cluster.spec, cluster.s3, cluster.root)
    assert second.executor.outcome("j-1", "s-9") is None
    go_on.touch()
    outcome = second.wait("s-9")
    assert outcome.exit_code == 5
    assert second.log("s-9", "stdout") == "begun\n"


def test_a_stop_of_the_service_leaves_no_process(cluster: Cluster) -> None:
    cluster.executor = LocalExecutor(cluster.root, mark=f"{MARK}-down{processes.WORK_SUFFIX}")
    cluster.__post_init__()
    cluster.start(step("bash", "-c", "(setsid sleep 1000 &); " + _FOREVER))
    cluster.child_runs("s-1")
    processes.stop_work(f"{MARK}-down", timeout=15)
    assert not processes.family(None, mark=f"{MARK}-down{processes.WORK_SUFFIX}")
    assert cluster.wait("s-1").message == "The local endpoint was stopped while it ran."


def test_what_is_left_of_a_cluster_ends_with_it(cluster: Cluster) -> None:
    uri = cluster.put("scripts/daemon.sh", "(setsid sleep 4321 >/dev/null 2>&1 &)\necho begun\n")
    assert cluster.run(step(jar=uri, kind=WorkKind.BOOTSTRAP)).succeeded
    wait_until(lambda: any(process.info["cmdline"] == ["sleep", "4321"] for process in psutil.process_iter(["cmdline"])))
    cluster.executor.release("j-1")
    assert not [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "4321"]]
