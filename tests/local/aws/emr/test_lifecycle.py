"""Clusters and steps move through EMR's states."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError, WaiterError

from .conftest import Emr, group, step, wait


def test_a_cluster_without_steps_waits_when_it_is_kept_alive(emr: Emr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emr.delays, "provisioning", 1.0)
    emr.api.list_clusters()
    cluster = emr.run()
    first = emr.cluster(cluster)["Status"]
    assert first["State"] == "STARTING"
    assert first["StateChangeReason"] == {"Message": "Provisioning Amazon EC2 capacity"}
    emr.api.get_waiter("cluster_running").wait(ClusterId=cluster, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})
    status = emr.reach(cluster, "WAITING")
    assert status["StateChangeReason"] == {"Message": "Cluster ready to run steps."}
    assert status["Timeline"]["ReadyDateTime"] > status["Timeline"]["CreationDateTime"]


def test_a_transient_cluster_runs_its_steps_in_order_and_ends(emr: Emr) -> None:
    cluster = emr.run("ok", "ok", keep_alive=False)
    emr.api.get_waiter("cluster_terminated").wait(ClusterId=cluster, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})
    status = emr.cluster(cluster)["Status"]
    assert status["StateChangeReason"] == {"Code": "ALL_STEPS_COMPLETED", "Message": "Steps completed"}
    assert status["Timeline"]["EndDateTime"] >= status["Timeline"]["ReadyDateTime"]
    first, second = emr.steps(cluster)
    assert first["Status"]["Timeline"]["EndDateTime"] <= second["Status"]["Timeline"]["StartDateTime"]
    assert cluster in emr.executor.released


def test_a_step_that_is_added_to_a_waiting_cluster_runs_and_the_cluster_waits_again(emr: Emr) -> None:
    cluster = emr.run()
    emr.reach(cluster, "WAITING")
    (step_id,) = emr.add(cluster, "hold")
    assert emr.reach(cluster, "RUNNING")["StateChangeReason"] == {"Message": "Running step"}
    wait(lambda: emr.step_states(cluster) == ["RUNNING"])
    emr.executor.finish(cluster, step_id)
    emr.api.get_waiter("step_complete").wait(ClusterId=cluster, StepId=step_id, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})
    assert emr.reach(cluster, "WAITING")["StateChangeReason"] == {"Message": "Cluster ready after last step completed."}


def test_the_executor_is_told_everything_of_the_cluster_and_the_step(emr: Emr) -> None:
    cluster = emr.run(
        instances={
            "InstanceGroups": [group("MASTER", Configurations=[{"Classification": "spark-defaults", "Properties": {"b": "3"}}])],
            "KeepJobFlowAliveWhenNoSteps": True,
        },
        Steps=[
            {
                "Name": "count",
                "HadoopJarStep": {"Jar": "s3://code/ok", "MainClass": "Main", "Args": ["x"], "Properties": [{"Key": "k", "Value": "v"}]},
            }
        ],
        LogUri="s3://logs/emr",
        Applications=[{"Name": "spark"}, {"Name": "TRINO"}],
        Configurations=[{"Classification": "spark-defaults", "Properties": {"a": "1", "b": "2"}}],
        Tags=[{"Key": "run", "Value": "r-1"}],
    )
    emr.reach_steps(cluster, "COMPLETED")
    spec = next(one for one in emr.executor.prepared if one.id == cluster)
    assert (spec.release, spec.applications, spec.log_uri) == ("emr-7.12.0", ["Spark", "Trino"], "s3://logs/emr/")
    assert spec.configurations == [{"Classification": "spark-defaults", "Properties": {"a": "1", "b": "3"}, "Configurations": []}]
    assert spec.tags == {"run": "r-1"}
    assert spec.runtime["AWS_ENDPOINT_URL"] == emr.url
    (described,) = emr.steps(cluster)
    work = next(one for one in emr.executor.started if one.id == described["Id"])
    assert (work.jar, work.main_class, list(work.args), work.properties) == ("s3://code/ok", "Main", ["x"], {"k": "v"})
    assert work.log_key == f"{cluster}/steps/{work.id}"


def test_steps_run_at_the_same_time_up_to_the_concurrency_level(emr: Emr) -> None:
    cluster = emr.run("hold", "hold", "hold", StepConcurrencyLevel=2)
    emr.reach_steps(cluster, "RUNNING", "RUNNING", "PENDING")
    emr.executor.finish(cluster, emr.steps(cluster)[1]["Id"])
    emr.reach_steps(cluster, "RUNNING", "COMPLETED", "RUNNING")
    emr.add(cluster, "hold")
    assert emr.api.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=3)["StepConcurrencyLevel"] == 3
    emr.reach_steps(cluster, "RUNNING", "COMPLETED", "RUNNING", "RUNNING")


@pytest.mark.parametrize(
    ("action", "states", "cluster_state", "reason"),
    [
        ("CONTINUE", ["FAILED", "COMPLETED"], "WAITING", {"Message": "Cluster ready after last step completed."}),
        ("CANCEL_AND_WAIT", ["FAILED", "CANCELLED"], "WAITING", {"Message": "Cluster ready after last step failed."}),
        ("TERMINATE_CLUSTER", ["FAILED", "CANCELLED"], "TERMINATED_WITH_ERRORS", {"Code": "STEP_FAILURE"}),
        ("TERMINATE_JOB_FLOW", ["FAILED", "CANCELLED"], "TERMINATED_WITH_ERRORS", {"Code": "STEP_FAILURE"}),
    ],
)
def test_action_on_failure(emr: Emr, action: str, states: list[str], cluster_state: str, reason: dict[str, str]) -> None:
    cluster = emr.run(Steps=[step("fail", action), step("ok")])
    status = emr.reach(cluster, cluster_state)
    assert emr.step_states(cluster) == states
    assert reason.items() <= status["StateChangeReason"].items()
    failed = emr.steps(cluster)[0]["Status"]
    assert failed["FailureDetails"] == {"Reason": "Unknown Error.", "Message": "it broke", "LogFile": "s3://logs/stderr.gz"}


def test_a_protected_long_running_cluster_stays_after_a_step_that_would_terminate_it(emr: Emr) -> None:
    instances = {"InstanceGroups": [group("MASTER")], "KeepJobFlowAliveWhenNoSteps": True, "TerminationProtected": True}
    cluster = emr.run(instances=instances, Steps=[step("fail", "TERMINATE_CLUSTER"), step("ok")])
    emr.reach(cluster, "WAITING")
    assert emr.step_states(cluster) == ["FAILED", "CANCELLED"]


def test_a_transient_cluster_ends_with_errors_in_its_message_after_a_step_failed(emr: Emr) -> None:
    cluster = emr.run("fail", "ok", keep_alive=False)
    assert emr.reach(cluster, "TERMINATED")["StateChangeReason"] == {"Message": "Steps completed with errors"}


def test_terminating_cancels_what_waits_and_interrupts_what_runs(emr: Emr) -> None:
    cluster = emr.run("hold", "ok")
    emr.reach_steps(cluster, "RUNNING", "PENDING")
    emr.api.terminate_job_flows(JobFlowIds=[cluster])
    assert emr.reach(cluster, "TERMINATED")["StateChangeReason"] == {"Code": "USER_REQUEST", "Message": "Terminated by user request"}
    assert emr.step_states(cluster) == ["INTERRUPTED", "CANCELLED"]
    assert {item["Status"]["State"] for item in emr.api.list_instances(ClusterId=cluster)["Instances"]} == {"TERMINATED"}
    emr.api.terminate_job_flows(JobFlowIds=[cluster])


def test_termination_protection_refuses_the_protected_cluster_only(emr: Emr) -> None:
    safe, other = emr.run(), emr.run()
    emr.api.set_termination_protection(JobFlowIds=[safe], TerminationProtected=True)
    with pytest.raises(ClientError, match="Could not shut down one or more job flows since they are termination protected"):
        emr.api.terminate_job_flows(JobFlowIds=[safe, other])
    emr.reach(other, "TERMINATED")
    assert emr.state_of(safe) != "TERMINATED"
    emr.api.set_termination_protection(JobFlowIds=[safe], TerminationProtected=False)
    emr.api.terminate_job_flows(JobFlowIds=[safe])
    emr.reach(safe, "TERMINATED")


@pytest.mark.parametrize(("option", "force"), [("SEND_INTERRUPT", False), ("TERMINATE_PROCESS", True)])
def test_a_running_step_is_cancelled_and_the_next_one_runs(emr: Emr, option: str, force: bool) -> None:
    cluster = emr.run("hold", "hold", "ok")
    emr.reach_steps(cluster, "RUNNING", "PENDING", "PENDING")
    running, waiting, last = [item["Id"] for item in emr.steps(cluster)]
    ids = [running, waiting, "s-NONE"]
    infos = emr.api.cancel_steps(ClusterId=cluster, StepIds=ids, StepCancellationOption=option)["CancelStepsInfoList"]
    assert [info["Status"] for info in infos] == ["SUBMITTED", "SUBMITTED", "FAILED"]
    emr.reach_steps(cluster, "CANCELLED", "CANCELLED", "COMPLETED")
    assert (running, force) in emr.executor.cancelled
    again = emr.api.cancel_steps(ClusterId=cluster, StepIds=[last])["CancelStepsInfoList"]
    assert again[0]["Status"] == "FAILED"
    with pytest.raises(WaiterError, match="terminal failure state"):
        emr.api.get_waiter("step_complete").wait(ClusterId=cluster, StepId=running)


def test_a_step_that_does_not_heed_the_interrupt_is_killed_by_a_second_cancellation(emr: Emr) -> None:
    cluster = emr.run("hold")
    emr.reach_steps(cluster, "RUNNING")
    (step_id,) = [item["Id"] for item in emr.steps(cluster)]
    emr.executor.deaf = True
    try:
        emr.api.cancel_steps(ClusterId=cluster, StepIds=[step_id])
        emr.reach_steps(cluster, "CANCEL_PENDING")
        emr.api.cancel_steps(ClusterId=cluster, StepIds=[step_id], StepCancellationOption="TERMINATE_PROCESS")
        emr.reach_steps(cluster, "CANCELLED")
    finally:
        emr.executor.deaf = False


def test_bootstrap_actions_run_one_after_the_other_before_any_step(emr: Emr) -> None:
    actions = [{"Name": f"b{number}", "ScriptBootstrapAction": {"Path": "s3://code/hold", "Args": ["x"]}} for number in (1, 2)]
    cluster = emr.run("ok", BootstrapActions=actions)
    for number in ("1", "2"):
        wait(lambda number=number: any(work.id == number and cluster in work.log_key for work in emr.executor.started))
        assert emr.reach(cluster, "BOOTSTRAPPING")["StateChangeReason"] == {"Message": "Running bootstrap actions"}
        assert emr.step_states(cluster) == ["PENDING"]
        emr.executor.finish(cluster, number)
    emr.reach_steps(cluster, "COMPLETED")
    listed = emr.api.list_bootstrap_actions(ClusterId=cluster)["BootstrapActions"]
    assert listed == [{"Name": name, "ScriptPath": "s3://code/hold", "Args": ["x"]} for name in ("b1", "b2")]


def test_a_failing_bootstrap_action_ends_the_cluster_with_its_number(emr: Emr) -> None:
    cluster = emr.run("ok", BootstrapActions=[{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://code/fail"}}])
    status = emr.reach(cluster, "TERMINATED_WITH_ERRORS")
    assert status["StateChangeReason"]["Code"] == "BOOTSTRAP_FAILURE"
    assert status["StateChangeReason"]["Message"].endswith("bootstrap action 1 returned a non-zero return code")
    assert status["ErrorDetails"][0]["ErrorData"][0]["return-code"] == "1"
    assert emr.step_states(cluster) == ["CANCELLED"]


def test_a_cluster_that_the_executor_cannot_prepare_ends_with_its_reason(emr: Emr) -> None:
    emr.executor.refuse = "Pig is not available on this machine."
    try:
        cluster = emr.run("ok")
        reason = emr.reach(cluster, "TERMINATED_WITH_ERRORS")["StateChangeReason"]
    finally:
        emr.executor.refuse = None
    assert reason == {"Code": "VALIDATION_ERROR", "Message": "Pig is not available on this machine."}


def test_a_cluster_that_is_no_longer_kept_alive_ends_when_idle(emr: Emr) -> None:
    cluster = emr.run()
    emr.reach(cluster, "WAITING")
    emr.api.set_keep_job_flow_alive_when_no_steps(JobFlowIds=[cluster], KeepJobFlowAliveWhenNoSteps=False)
    emr.reach(cluster, "TERMINATED")


def test_an_idle_cluster_is_auto_terminated(emr: Emr, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = emr.run()
    emr.reach(cluster, "WAITING")
    monkeypatch.setattr("framework.local.aws.emr.rules.auto_termination", lambda policy: None)
    emr.api.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy={"IdleTimeout": 1})
    assert emr.api.get_auto_termination_policy(ClusterId=cluster)["AutoTerminationPolicy"] == {"IdleTimeout": 1}
    assert emr.reach(cluster, "TERMINATED")["StateChangeReason"]["Code"] == "ALL_STEPS_COMPLETED"


def test_nothing_is_lost_when_the_endpoint_is_started_again(tmp_path: Path) -> None:
    emr = Emr(tmp_path / "state")
    emr.start()
    running = emr.run("hold", "ok")
    booting = emr.run("ok", BootstrapActions=[{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://code/hold"}}])
    emr.delays.provisioning = 0.5
    starting = emr.run("ok", keep_alive=False)
    emr.reach_steps(running, "RUNNING", "PENDING")
    wait(lambda: any(booting in work.log_key for work in emr.executor.started))
    emr.stop()
    emr.executor.finish(running, next(work.id for work in emr.executor.started if running in work.log_key))
    emr.executor.finish(booting, "1")
    emr.start()
    try:
        emr.reach_steps(running, "COMPLETED", "COMPLETED")
        emr.reach_steps(booting, "COMPLETED")
        emr.reach(starting, "TERMINATED")
        started = [work.id for work in emr.executor.started]
        assert len(set(started)) == len(started)
    finally:
        emr.stop()


def test_a_step_that_was_decided_but_never_started_is_started_after_a_restart(tmp_path: Path) -> None:
    emr = Emr(tmp_path / "state")
    emr.start()
    cluster = emr.run("hold")
    emr.reach_steps(cluster, "RUNNING")
    emr.stop()
    # As if the endpoint had been killed between its commit and the start.
    emr.executor._outcomes.clear()
    emr.start()
    try:
        step_id = emr.steps(cluster)[0]["Id"]
        wait(lambda: (cluster, step_id) in emr.executor._outcomes)
        emr.executor.finish(cluster, step_id)
        emr.reach_steps(cluster, "COMPLETED")
    finally:
        emr.stop()
