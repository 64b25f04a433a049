"""What a call asks for, as the Service Authorization Reference lists it."""

from __future__ import annotations

import pytest
from local.aws.conftest import environ

from framework.local.aws.iam.needs import of_json, of_s3, of_serverless
from framework.local.aws.router import Call

GLUE = "arn:aws:glue:us-east-1:123456789012:"


@pytest.mark.parametrize(
    ("method", "uri", "expected"),
    [
        ("GET", "/", "s3:ListAllMyBuckets *"),
        ("GET", "/b?list-type=2&prefix=in%2F", "s3:ListBucket arn:aws:s3:::b"),
        ("HEAD", "/b", "s3:ListBucket arn:aws:s3:::b"),
        ("PUT", "/b", "s3:CreateBucket arn:aws:s3:::b"),
        ("GET", "/b?location", "s3:GetBucketLocation arn:aws:s3:::b"),
        ("GET", "/b/in/a%20b", "s3:GetObject arn:aws:s3:::b/in/a b"),
        ("GET", "/b/k?versionId=3", "s3:GetObjectVersion arn:aws:s3:::b/k"),
        ("HEAD", "/b/k", "s3:GetObject arn:aws:s3:::b/k"),
        ("PUT", "/b/k", "s3:PutObject arn:aws:s3:::b/k"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", "s3:PutObject arn:aws:s3:::b/k"),
        ("POST", "/b/k?uploads", "s3:PutObject arn:aws:s3:::b/k"),
        ("DELETE", "/b/k?uploadId=u", "s3:AbortMultipartUpload arn:aws:s3:::b/k"),
        ("GET", "/b?uploads", "s3:ListBucketMultipartUploads arn:aws:s3:::b"),
        ("DELETE", "/b/k", "s3:DeleteObject arn:aws:s3:::b/k"),
        ("GET", "/b/k?tagging", "s3:GetObjectTagging arn:aws:s3:::b/k"),
        ("GET", "/b?tagging", "s3:GetBucketTagging arn:aws:s3:::b"),
    ],
)
def test_an_s3_call_is_named_by_method_key_and_subresource(method: str, uri: str, expected: str) -> None:
    (need,) = of_s3(environ(method, uri), lambda: b"")
    assert f"{need.action} {need.resource}" == expected


def test_a_listing_carries_its_prefix_and_a_copy_needs_its_source() -> None:
    (need,) = of_s3(environ("GET", "/b?prefix=in%2Fx"), lambda: b"")
    assert need.context == {"s3:prefix": "in/x"}
    needs = of_s3(environ("PUT", "/b/k", x_amz_copy_source="/c/a%20b?versionId=1"), lambda: b"")
    assert [(one.action, one.resource) for one in needs] == [
        ("s3:PutObject", "arn:aws:s3:::b/k"),
        ("s3:GetObject", "arn:aws:s3:::c/a b"),
    ]


def test_a_multi_object_delete_needs_each_of_its_keys() -> None:
    body = b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a</Key></Object><Object><Key>b/c</Key></Object></Delete>'
    needs = of_s3(environ("POST", "/b?delete"), lambda: body)
    assert [(one.action, one.resource) for one in needs] == [
        ("s3:DeleteObject", "arn:aws:s3:::b/a"),
        ("s3:DeleteObject", "arn:aws:s3:::b/b/c"),
    ]


@pytest.mark.parametrize(
    ("operation", "request_", "resources"),
    [
        ("GetTable", {"DatabaseName": "d", "Name": "t"}, ["catalog", "database/d", "table/d/t"]),
        ("GetTables", {"DatabaseName": "d"}, ["catalog", "database/d", "table/d/*"]),
        ("CreateTable", {"DatabaseName": "d", "TableInput": {"Name": "t"}}, ["catalog", "database/d", "table/d/t"]),
        ("BatchCreatePartition", {"DatabaseName": "d", "TableName": "t"}, ["catalog", "database/d", "table/d/t"]),
        ("CreateDatabase", {"DatabaseInput": {"Name": "d"}}, ["catalog", "database/d"]),
        ("GetDatabases", {}, ["catalog"]),
    ],
)
def test_a_glue_call_needs_the_catalog_and_all_that_it_names(operation: str, request_: dict[str, object], resources: list[str]) -> None:
    needs = of_json(Call("glue", operation=operation), request_, lambda name, region: None)
    assert [(one.action, one.resource) for one in needs] == [(f"glue:{operation}", GLUE + name) for name in resources]


def test_a_secret_is_asked_for_by_its_arn_whatever_name_the_call_uses() -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ops-AbCdEf"
    call = Call("secretsmanager", operation="GetSecretValue")
    (need,) = of_json(call, {"SecretId": "ops"}, lambda name, region: arn)
    assert (need.action, need.resource) == ("secretsmanager:GetSecretValue", arn)


def test_roles_that_are_handed_to_emr_have_to_be_passed() -> None:
    needs = of_json(Call("elasticmapreduce", operation="RunJobFlow"), {"ServiceRole": "Service", "JobFlowRole": "Nodes"}, lambda *_: None)
    assert [(one.action, one.resource) for one in needs] == [
        ("elasticmapreduce:RunJobFlow", "*"),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/Service"),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/Nodes"),
    ]


@pytest.mark.parametrize(
    ("operation", "request_", "expected"),
    [
        ("CreateApplication", {"type": "SPARK"}, ["emr-serverless:CreateApplication *"]),
        (
            "StartJobRun",
            {"applicationId": "00a", "executionRoleArn": "arn:aws:iam::123456789012:role/etl"},
            ["emr-serverless:StartJobRun {arn}/applications/00a", "iam:PassRole arn:aws:iam::123456789012:role/etl"],
        ),
        ("GetJobRun", {"applicationId": "00a", "jobRunId": "00r"}, ["emr-serverless:GetJobRun {arn}/applications/00a/jobruns/00r"]),
    ],
)
def test_calls_of_emr_serverless_are_about_applications_and_job_runs(operation: str, request_: dict[str, str], expected: list[str]) -> None:
    needs = of_serverless(Call("emr-serverless"), operation, request_)
    arn = "arn:aws:emr-serverless:us-east-1:123456789012:"
    assert [f"{one.action} {one.resource}" for one in needs] == [text.format(arn=arn) for text in expected]
