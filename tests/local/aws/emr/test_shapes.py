"""Requests are held to botocore's model, in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest

from framework.local.aws.answers import ApiError
from framework.local.aws.emr import shapes

EMR = shapes.load("emr")


def problem(operation: str, request: Any) -> str:
    with pytest.raises(ApiError) as refused:
        EMR.check(operation, request)
    return f"{refused.value.code}: {refused.value.message}"


def test_a_missing_member_is_named_by_its_path() -> None:
    message = problem("AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": [{"Name": "a"}]})
    assert message == (
        "ValidationException: 1 validation error detected: "
        "Value null at 'steps.1.member.hadoopJarStep' failed to satisfy constraint: Member must not be null"
    )


def test_all_problems_are_listed_at_once() -> None:
    message = problem("RunJobFlow", {"Name": "n" * 257, "ScaleDownBehavior": "never"})
    assert message.startswith("ValidationException: 3 validation errors detected: ")
    assert "Value null at 'instances'" in message
    assert "at 'name' failed to satisfy constraint: Member must have length less than or equal to 256" in message
    assert "Value 'never' at 'scaleDownBehavior' failed to satisfy constraint: Member must satisfy enum value set" in message


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("DescribeCluster", {"ClusterId": 1}, "SerializationException: NUMBER_VALUE can not be converted to a String"),
        ("DescribeCluster", {"ClusterId": True}, "SerializationException: BOOLEAN_VALUE can not be converted to a String"),
        ("SetTerminationProtection", {"JobFlowIds": "j-1", "TerminationProtected": True}, "SerializationException: STRING_VALUE"),
        ("SetTerminationProtection", {"JobFlowIds": [], "TerminationProtected": "yes"}, "SerializationException: STRING_VALUE"),
        ("ModifyCluster", {"ClusterId": "j", "StepConcurrencyLevel": 1.5}, "SerializationException: NUMBER_VALUE"),
        ("ModifyCluster", {"ClusterId": "j", "StepConcurrencyLevel": True}, "SerializationException: BOOLEAN_VALUE"),
        ("ListClusters", {"CreatedAfter": "yesterday"}, "SerializationException: STRING_VALUE can not be converted to a Timestamp"),
        ("ListClusters", {"ClusterState": ["RUNNING"]}, "ValidationException: 1 validation error detected: Value at 'clusterState'"),
        ("RunJobFlow", {"Name": "a\x00", "Instances": {}}, "ValidationException: 1 validation error detected: Value 'a\x00' at 'name'"),
        ("CreateSecurityConfiguration", {"Name": None, "SecurityConfiguration": "{}"}, "ValidationException: 1 validation error"),
    ],
)
def test_what_breaks_the_model_is_refused(operation: str, request_: Any, code: str) -> None:
    assert problem(operation, request_).startswith(code)


def test_a_fleet_capacity_below_its_minimum_is_refused() -> None:
    fleet = {"InstanceFleetType": "CORE", "TargetSpotCapacity": -1}
    assert "Member must have value greater than or equal to 0" in problem("AddInstanceFleet", {"ClusterId": "j", "InstanceFleet": fleet})


def test_names_may_hold_any_printable_character() -> None:
    request = {"Name": "naïve 数据 🚀\ttab", "Instances": {}}
    assert EMR.check("RunJobFlow", request) == request


def test_nulls_are_not_given_and_times_become_seconds() -> None:
    checked = EMR.check("ListClusters", {"Marker": None, "CreatedAfter": "2026-01-02T00:00:00Z", "CreatedBefore": 5})
    assert checked == {"CreatedAfter": 1767312000.0, "CreatedBefore": 5.0}
