"""Policy documents decide as IAM does."""

from __future__ import annotations

from typing import Any

import pytest

from framework.local.aws.iam.policy import allows, trusts


def statement(effect: str = "Allow", action: Any = "s3:GetObject", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def document(*statements: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"Version": "2012-10-17", "Statement": list(statements)}]


@pytest.mark.parametrize(
    ("one", "action", "resource", "allowed"),
    [
        (statement(), "s3:GetObject", "arn:aws:s3:::b/k", True),
        (statement(), "s3:PutObject", "arn:aws:s3:::b/k", False),
        (statement(action="S3:get*"), "s3:GetObject", "arn:aws:s3:::b/k", True),
        (statement(action=["s3:PutObject", "s3:Get?bject"]), "s3:GetObject", "arn:aws:s3:::b/k", True),
        (statement(resource="arn:aws:s3:::b/in/*"), "s3:GetObject", "arn:aws:s3:::b/in/deep/k", True),
        (statement(resource="arn:aws:s3:::b/in/*"), "s3:GetObject", "arn:aws:s3:::b/in", False),
        (statement(resource="arn:aws:s3:::B/*"), "s3:GetObject", "arn:aws:s3:::b/k", False),
        (statement(resource="arn:aws:s3:::b/[ab]"), "s3:GetObject", "arn:aws:s3:::b/a", False),
        (statement(resource="arn:aws:s3:::b/[ab]"), "s3:GetObject", "arn:aws:s3:::b/[ab]", True),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "s3:GetObject", "arn:aws:s3:::b/k", True),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "iam:GetRole", "*", False),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}, "s3:GetObject", "arn:aws:s3:::b/k", False),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}, "s3:GetObject", "arn:aws:s3:::c/k", True),
    ],
)
def test_actions_and_resources_are_matched_with_wildcards(one: dict[str, Any], action: str, resource: str, allowed: bool) -> None:
    assert allows(document(one), action, resource, {}) is allowed


def test_nothing_is_allowed_without_a_policy() -> None:
    assert not allows([], "s3:GetObject", "*", {})


def test_an_explicit_deny_wins_wherever_it_stands() -> None:
    deny = statement("Deny", resource="arn:aws:s3:::b/secret/*")
    for documents in ([*document(deny), *document(statement())], document(statement(), deny)):
        assert not allows(documents, "s3:GetObject", "arn:aws:s3:::b/secret/k", {})
        assert allows(documents, "s3:GetObject", "arn:aws:s3:::b/k", {})


@pytest.mark.parametrize(
    ("condition", "context", "allowed"),
    [
        ({"StringLike": {"s3:prefix": ["in/*", "in"]}}, {"s3:prefix": "in/day=1/"}, True),
        ({"StringLike": {"s3:prefix": ["in/*", "in"]}}, {"s3:prefix": "out/"}, False),
        ({"StringLike": {"s3:prefix": "in/*"}}, {}, False),
        ({"StringLikeIfExists": {"s3:prefix": "in/*"}}, {}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, {"aws:requestedregion": "eu-west-1"}, True),
        ({"StringNotEquals": {"aws:RequestedRegion": "eu-west-1"}}, {"aws:requestedregion": "eu-west-1"}, False),
        ({"StringNotEquals": {"aws:RequestedRegion": "eu-west-1"}}, {}, True),
        ({"Null": {"s3:prefix": "true"}}, {}, True),
        ({"Null": {"s3:prefix": True}}, {"s3:prefix": "x"}, False),
        ({"ForAnyValue:StringLike": {"s3:prefix": "in/*"}}, {"s3:prefix": "in/x"}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:sourceip": "10.1.2.3"}, True),
        ({"NumericLessThan": {"s3:max-keys": "10"}}, {"s3:max-keys": "5"}, False),
        ({"StringLike": {"s3:prefix": "in/*"}, "Null": {"s3:delimiter": "true"}}, {"s3:prefix": "in/x", "s3:delimiter": "/"}, False),
    ],
)
def test_every_condition_must_hold_and_an_unknown_one_grants_nothing(
    condition: dict[str, Any], context: dict[str, str], allowed: bool
) -> None:
    assert allows(document(statement(Condition=condition)), "s3:GetObject", "*", context) is allowed


@pytest.mark.parametrize(
    ("principal", "condition", "trusted"),
    [
        ({"Service": "elasticmapreduce.amazonaws.com"}, {}, True),
        ({"Service": ["ec2.amazonaws.com", "elasticmapreduce.amazonaws.com"]}, {}, True),
        ({"Service": "ec2.amazonaws.com"}, {}, False),
        ({"AWS": "arn:aws:iam::123456789012:root"}, {}, False),
        ("*", {}, True),
        ({"Service": "elasticmapreduce.amazonaws.com"}, {"StringEquals": {"aws:SourceAccount": "123456789012"}}, True),
        ({"Service": "elasticmapreduce.amazonaws.com"}, {"ArnLike": {"aws:SourceArn": "arn:aws:elasticmapreduce:eu-*:*:*"}}, False),
    ],
)
def test_a_trust_policy_names_the_services_that_may_assume_its_role(principal: Any, condition: dict[str, Any], trusted: bool) -> None:
    one = {"Statement": {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition}}
    source = {"aws:sourceaccount": "123456789012", "aws:sourcearn": "arn:aws:elasticmapreduce:us-east-1:123456789012:cluster/j-1"}
    assert trusts(one, "elasticmapreduce.amazonaws.com", source) is trusted
