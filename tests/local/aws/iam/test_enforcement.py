"""Principals are held to their policies, by every service behind the one URL."""

from __future__ import annotations

import http.client
import io
import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from local.aws.conftest import EndpointProcess

pytestmark = pytest.mark.services

Keys = tuple[str, str, str | None]
TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
)


@pytest.fixture
def session(s3_endpoint: EndpointProcess) -> Callable[..., Keys]:
    """Keys of a session of a new role that has the statements."""

    def make(*statements: dict[str, Any]) -> Keys:
        iam, name = s3_endpoint.client("iam"), f"role-{uuid.uuid4().hex[:8]}"
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        if statements:
            iam.put_role_policy(
                RoleName=name, PolicyName="own", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            )
        keys = s3_endpoint.client("sts").assume_role(RoleArn=role, RoleSessionName="run")["Credentials"]
        return keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]

    return make


def allow(*actions: str, on: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **more}


def test_a_role_reads_and_writes_what_its_policy_names_and_nothing_else(s3_endpoint: EndpointProcess, session: Callable[..., Keys]) -> None:
    keys = session(
        allow("s3:GetObject", "s3:PutObject", on="arn:aws:s3:::bucket/own/*"),
        allow("s3:ListBucket", on="arn:aws:s3:::bucket", Condition={"StringLike": {"s3:prefix": "own/*"}}),
    )
    s3 = s3_endpoint.client("s3", keys)
    s3.put_object(Bucket="bucket", Key="own/a b", Body=b"hello", ChecksumAlgorithm="SHA256")
    assert s3.get_object(Bucket="bucket", Key="own/a b")["Body"].read() == b"hello"
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="bucket", Prefix="own/")["Contents"]] == ["own/a b"]
    for refused in (
        lambda: s3.list_objects_v2(Bucket="bucket"),
        lambda: s3.put_object(Bucket="bucket", Key="other", Body=b""),
        lambda: s3.delete_object(Bucket="bucket", Key="own/a b"),
        s3.list_buckets,
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()


def test_multipart_uploads_of_a_role_are_passed_on(s3_endpoint: EndpointProcess, session: Callable[..., Keys]) -> None:
    from boto3.s3.transfer import TransferConfig

    s3 = s3_endpoint.client("s3", session(allow("s3:*", on="arn:aws:s3:::bucket/*")))
    content = b"0123456789abcdef" * (6 << 16)
    s3.upload_fileobj(
        io.BytesIO(content), "bucket", "large", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    )
    assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == content


@pytest.mark.parametrize("content", [b"x" * 70_000, b""])
def test_a_body_whose_chunks_the_client_signed_arrives_whole_and_the_connection_stays_usable(
    s3_endpoint: EndpointProcess, session: Callable[..., Keys], content: bytes
) -> None:
    key_id, secret, token = session(allow("s3:*", on="arn:aws:s3:::bucket/*"))
    pieces = [content[:65536], content[65536:]]
    body = b"".join(b"%x;chunk-signature=%064d\r\n%b\r\n" % (len(piece), 0, piece) for piece in pieces if piece)
    body += b"0;chunk-signature=%064d\r\n\r\n" % 0
    connection = http.client.HTTPConnection(urlsplit(s3_endpoint.url).netloc)
    for name in ("one", "two"):
        request = AWSRequest("PUT", f"{s3_endpoint.url}/bucket/{name}")
        S3SigV4Auth(Credentials(key_id, secret, token), "s3", "us-east-1").add_auth(request)
        headers = dict(request.headers) | {
            "X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "X-Amz-Decoded-Content-Length": str(len(content)),
            "Content-Encoding": "aws-chunked",
        }
        connection.request("PUT", f"/bucket/{name}", body, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert s3_endpoint.client("s3").get_object(Bucket="bucket", Key=name)["Body"].read() == content
    connection.close()


def test_a_refusal_names_the_caller_the_action_and_the_resource(s3_endpoint: EndpointProcess, session: Callable[..., Keys]) -> None:
    s3_endpoint.client("secretsmanager").create_secret(Name="enforced", SecretString="s")
    with pytest.raises(ClientError) as refused:
        s3_endpoint.client("secretsmanager", session()).get_secret_value(SecretId="enforced")
    error = refused.value.response["Error"]
    assert error["Code"] == "AccessDeniedException"
    assert ":assumed-role/role-" in error["Message"]
    assert "is not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:" in error["Message"]


def test_glue_needs_the_catalog_the_database_and_the_table(s3_endpoint: EndpointProcess, session: Callable[..., Keys]) -> None:
    s3_endpoint.client("glue").create_database(DatabaseInput={"Name": "enforced"})
    prefix = "arn:aws:glue:us-east-1:123456789012:"
    resources = [f"{prefix}{name}" for name in ("catalog", "database/enforced", "table/enforced/*")]
    table = {"DatabaseName": "enforced", "Name": "t"}
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        s3_endpoint.client("glue", session(allow("glue:GetTable", on=resources))).get_table(**table)
    for missing in resources:
        keys = session(allow("glue:GetTable", on=[one for one in resources if one != missing]))
        with pytest.raises(ClientError, match="AccessDeniedException"):
            s3_endpoint.client("glue", keys).get_table(**table)


def test_a_user_has_the_policies_of_its_groups_and_a_change_counts_at_once(s3_endpoint: EndpointProcess) -> None:
    iam = s3_endpoint.client("iam")
    iam.create_user(UserName="analyst")
    iam.create_group(GroupName="readers")
    iam.add_user_to_group(UserName="analyst", GroupName="readers")
    key = iam.create_access_key(UserName="analyst")["AccessKey"]
    ssm = s3_endpoint.client("ssm", (key["AccessKeyId"], key["SecretAccessKey"], None))
    with pytest.raises(ClientError, match="user/analyst is not authorized to perform: ssm:GetParameter"):
        ssm.get_parameter(Name="/none")
    iam.attach_group_policy(GroupName="readers", PolicyArn="arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess")
    with pytest.raises(ClientError, match="ParameterNotFound"):
        ssm.get_parameter(Name="/none")


def test_anybody_may_ask_who_they_are(s3_endpoint: EndpointProcess, session: Callable[..., Keys]) -> None:
    assert ":assumed-role/" in s3_endpoint.client("sts", session()).get_caller_identity()["Arn"]


def test_a_role_may_use_the_applications_of_emr_serverless_that_its_policy_names(
    s3_endpoint: EndpointProcess, session: Callable[..., Keys]
) -> None:
    made = s3_endpoint.client("emr-serverless").create_application(releaseLabel="emr-7.12.0", type="SPARK")
    allowed = s3_endpoint.client("emr-serverless", session(allow("emr-serverless:GetApplication", on=made["arn"])))
    assert allowed.get_application(applicationId=made["applicationId"])["application"]["arn"] == made["arn"]
    with pytest.raises(ClientError, match=r"\(AccessDeniedException\).*not authorized to perform: emr-serverless:ListApplications"):
        allowed.list_applications()
    with pytest.raises(ClientError, match=r"not authorized to perform: emr-serverless:StartJobRun on resource: .*/applications/00"):
        allowed.start_job_run(
            applicationId=made["applicationId"],
            executionRoleArn="arn:aws:iam::123456789012:role/r",
            jobDriver={"sparkSubmit": {"entryPoint": "s3://b/a.py"}},
        )
