"""The real process, unmodified clients, and kill -9."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .conftest import EndpointProcess

pytestmark = pytest.mark.services

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "elasticmapreduce.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]})
SERVICE_POLICY = "arn:aws:iam::aws:policy/service-role/AmazonElasticMapReduceRole"


def test_health_answers_and_unknown_pages_are_refused(endpoint: EndpointProcess) -> None:
    status, body = endpoint.get("/_emrjobs/health")
    assert status == 200
    assert json.loads(body)["status"] == "ok"
    assert json.loads(body)["services"]["glue"] == "up"
    assert endpoint.get("/_emrjobs/nothing")[0] == 404


def test_acknowledged_changes_survive_kill_9(endpoint: EndpointProcess) -> None:
    secrets, ssm, iam, kms = (endpoint.client(name) for name in ("secretsmanager", "ssm", "iam", "kms"))
    secrets.create_secret(Name="prod/airline", SecretString="s1")
    secrets.put_secret_value(SecretId="prod/airline", SecretString="s2")
    ssm.put_parameter(Name="/prod/airline", Value="p1", Type="SecureString")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    encrypted = kms.encrypt(KeyId=key, Plaintext=b"plain")["CiphertextBlob"]
    signing = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    signature = kms.sign(KeyId=signing, Message=b"m", SigningAlgorithm="RSASSA_PSS_SHA_256")["Signature"]
    iam.create_role(RoleName="EMR_DefaultRole", AssumeRolePolicyDocument=TRUST)
    iam.attach_role_policy(RoleName="EMR_DefaultRole", PolicyArn=SERVICE_POLICY)
    policy = iam.create_policy(PolicyName="own", PolicyDocument=POLICY)["Policy"]["Arn"]
    iam.create_instance_profile(InstanceProfileName="EMR_EC2_DefaultRole")
    iam.add_role_to_instance_profile(InstanceProfileName="EMR_EC2_DefaultRole", RoleName="EMR_DefaultRole")
    glue = endpoint.client("glue")
    glue.create_database(DatabaseInput={"Name": "marts"})
    glue.create_connection(ConnectionInput={"Name": "c", "ConnectionType": "JDBC", "ConnectionProperties": {"USERNAME": "u"}})

    endpoint.kill()
    endpoint.start()

    secrets, ssm, iam, kms, glue = (endpoint.client(name) for name in ("secretsmanager", "ssm", "iam", "kms", "glue"))
    assert secrets.get_secret_value(SecretId="prod/airline")["SecretString"] == "s2"
    assert ssm.get_parameter(Name="/prod/airline", WithDecryption=True)["Parameter"]["Value"] == "p1"
    assert kms.decrypt(CiphertextBlob=encrypted)["Plaintext"] == b"plain"
    assert kms.verify(KeyId=signing, Message=b"m", Signature=signature, SigningAlgorithm="RSASSA_PSS_SHA_256")["SignatureValid"]
    (attached,) = iam.list_attached_role_policies(RoleName="EMR_DefaultRole")["AttachedPolicies"]
    assert attached["PolicyArn"] == SERVICE_POLICY
    assert iam.get_policy(PolicyArn=SERVICE_POLICY)["Policy"]["AttachmentCount"] == 1
    assert iam.get_policy(PolicyArn=policy)["Policy"]["PolicyName"] == "own"
    profile = iam.get_instance_profile(InstanceProfileName="EMR_EC2_DefaultRole")["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["EMR_DefaultRole"]
    assert glue.get_database(Name="marts")["Database"]["Name"] == "marts"
    assert glue.get_connection(Name="c")["Connection"]["ConnectionProperties"] == {"USERNAME": "u"}
    # And the restored objects still work together.
    iam.detach_role_policy(RoleName="EMR_DefaultRole", PolicyArn=SERVICE_POLICY)
    secrets.delete_secret(SecretId="prod/airline", ForceDeleteWithoutRecovery=True)


def test_journaled_log_events_survive_kill_9_once_and_in_order(endpoint: EndpointProcess) -> None:
    logs = endpoint.client("logs")
    logs.create_log_group(logGroupName="/emr/steps")
    logs.create_log_stream(logGroupName="/emr/steps", logStreamName="s1")

    now = int(time.time() * 1000)

    def put(first: int, last: int) -> None:
        for number in range(first, last):
            event = {"timestamp": now + number, "message": f"line {number}"}
            logs.put_log_events(logGroupName="/emr/steps", logStreamName="s1", logEvents=[event])

    put(0, 5)
    logs.create_log_stream(logGroupName="/emr/steps", logStreamName="s2")  # a snapshot in between
    put(5, 10)
    endpoint.kill()
    endpoint.start()
    logs = endpoint.client("logs")
    put(10, 12)
    endpoint.kill()
    endpoint.start()
    found = endpoint.client("logs").get_log_events(logGroupName="/emr/steps", logStreamName="s1", startFromHead=True)
    assert [event["message"] for event in found["events"]] == [f"line {number}" for number in range(12)]


@pytest.mark.slow
def test_items_of_dynamodb_survive_kill_9_with_their_last_value(endpoint: EndpointProcess) -> None:
    table = {"TableName": "locks"}
    key = [{"AttributeName": "id", "KeyType": "HASH"}]
    types = [{"AttributeName": "id", "AttributeType": "S"}]
    dynamodb = endpoint.client("dynamodb")
    dynamodb.create_table(**table, KeySchema=key, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST")

    def add(number: int) -> None:
        dynamodb.update_item(
            **table,
            Key={"id": {"S": "counter"}},
            UpdateExpression="ADD n :one SET lastwriter = :me",
            ExpressionAttributeValues={":one": {"N": "1"}, ":me": {"S": str(number)}},
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    before = dynamodb.get_item(**table, Key={"id": {"S": "counter"}})["Item"]
    endpoint.kill()
    endpoint.start()
    assert endpoint.client("dynamodb").get_item(**table, Key={"id": {"S": "counter"}})["Item"] == before
    assert before["n"] == {"N": "12"}


def test_every_call_acknowledged_before_kill_9_is_there_after_it(endpoint: EndpointProcess) -> None:
    acknowledged: list[str] = []
    enough = threading.Event()

    ssm, glue = endpoint.client("ssm"), endpoint.client("glue")

    def write(writer: int) -> None:
        for number in range(1000):
            name = f"w{writer}n{number}"
            try:
                ssm.put_parameter(Name=f"/race/{name}", Value=name, Type="String")
                glue.create_database(DatabaseInput={"Name": f"race_{name}"})
            except Exception:
                return  # the endpoint was killed: nothing was acknowledged
            acknowledged.append(name)
            if len(acknowledged) >= 40:
                enough.set()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    endpoint.kill()
    for thread in threads:
        thread.join()
    endpoint.start()
    parameters = endpoint.client("ssm").get_paginator("get_parameters_by_path").paginate(Path="/race")
    assert set(acknowledged) <= {one["Value"] for page in parameters for one in page["Parameters"]}
    databases = endpoint.client("glue").get_paginator("get_databases").paginate()
    assert {f"race_{name}" for name in acknowledged} <= {one["Name"] for page in databases for one in page["DatabaseList"]}


def test_racing_iceberg_commits_over_http_lose_nothing(endpoint: EndpointProcess) -> None:
    glue = endpoint.client("glue")
    glue.create_database(DatabaseInput={"Name": "iceberg"})
    glue.create_table(DatabaseName="iceberg", TableInput={"Name": "t", "Parameters": {"chain": ""}})
    winners: list[str] = []

    def commit(racer: int) -> None:
        done = 0
        while done < 3:
            table = glue.get_table(DatabaseName="iceberg", Name="t")["Table"]
            chain = table["Parameters"]["chain"] + f",{racer}-{done}"
            try:
                definition = {"Name": "t", "Parameters": {"chain": chain}}
                glue.update_table(DatabaseName="iceberg", TableInput=definition, VersionId=table["VersionId"], SkipArchive=True)
            except glue.exceptions.ConcurrentModificationException:
                continue
            winners.append(table["VersionId"])
            done += 1

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(commit, range(10)))
    table = glue.get_table(DatabaseName="iceberg", Name="t")["Table"]
    assert sorted(table["Parameters"]["chain"].split(",")[1:]) == sorted(f"{racer}-{number}" for racer in range(10) for number in range(3))
    assert sorted(map(int, winners)) == list(range(30))


def test_sts_says_who_is_calling(endpoint: EndpointProcess) -> None:
    assert endpoint.client("sts").get_caller_identity()["Account"] == "123456789012"
    role = "arn:aws:iam::123456789012:role/EMR_EC2_DefaultRole"
    assert endpoint.client("sts").assume_role(RoleArn=role, RoleSessionName="job")["Credentials"]["AccessKeyId"]


def test_emr_on_eks_is_refused_cleanly(endpoint: EndpointProcess) -> None:
    from botocore.exceptions import ClientError

    assert endpoint.client("emr").list_clusters()["Clusters"] == []
    assert endpoint.client("emr-serverless").list_applications()["applications"] == []
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        endpoint.client("emr-containers").list_virtual_clusters()


def test_an_operation_that_moto_lacks_is_refused_cleanly(endpoint: EndpointProcess) -> None:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match="UnsupportedOperation"):
        endpoint.client("glue").search_tables()
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        endpoint.client("kms").describe_custom_key_stores()


def test_a_second_endpoint_on_the_same_state_is_refused(endpoint: EndpointProcess) -> None:
    command = [sys.executable, "-m", "framework.local.aws", "--port", "0", "--state", str(endpoint.state), "--s3", "http://127.0.0.1:9"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "another endpoint already uses" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_snapshot_of_another_moto_is_set_aside_and_the_rest_still_works(tmp_path: Path) -> None:
    from framework.local.aws.state import Snapshot, StateStore

    store = StateStore(tmp_path / "state")
    store.save(Snapshot("secretsmanager", "moto 4.0.0, Python 3.9", b"\x80\x05not a pickle"))
    store.close()
    one = EndpointProcess(tmp_path / "state", "http://127.0.0.1:9")
    one.start()
    try:
        one.client("secretsmanager").create_secret(Name="new", SecretString="s")
        assert one.stop() == 0
    finally:
        if one.process is not None and one.process.poll() is None:
            one.kill()
    assert (tmp_path / "state" / "secretsmanager.unreadable-1").read_bytes() == b"\x80\x05not a pickle"
    assert "written by moto 4.0.0" in one.log.read_text()


def test_sigterm_ends_the_endpoint_within_seconds_though_clients_stay_connected(tmp_path: Path) -> None:
    one = EndpointProcess(tmp_path / "state", "http://127.0.0.1:9")
    one.start()
    host, port = one.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST / HTTP/1.1\r\nContent-Le")
        assert one.stop() == 0  # waits 20 s at most
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


# With the real S3 server behind it


def test_the_s3_server_accepts_signatures_through_the_endpoint(s3_endpoint: EndpointProcess) -> None:
    s3 = s3_endpoint.client("s3")
    key = "a/b c+d=é%2F~/x"
    s3.put_object(Bucket="bucket", Key=key, Body=b"hello", Metadata={"run_id": "7"}, ChecksumAlgorithm="SHA256")
    found = s3.get_object(Bucket="bucket", Key=key, Range="bytes=1-3")
    assert (found["Body"].read(), found["Metadata"]) == (b"ell", {"run_id": "7"})
    assert s3.head_object(Bucket="bucket", Key=key)["ContentLength"] == 5
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match="304"):
        s3.get_object(Bucket="bucket", Key=key, IfNoneMatch=found["ETag"])
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="bucket", Prefix="a/")["Contents"]] == [key]
    assert len(s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key}]})["Deleted"]) == 1


def test_a_wrong_secret_is_refused_by_the_s3_server(s3_endpoint: EndpointProcess) -> None:
    import boto3
    from botocore.exceptions import ClientError

    session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="wrong", region_name="us-east-1")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        session.client("s3", endpoint_url=s3_endpoint.url).put_object(Bucket="bucket", Key="k", Body=b"x" * 3_000_000)


def test_multipart_uploads_are_streamed_in_bounded_memory(s3_endpoint: EndpointProcess) -> None:
    import psutil
    from boto3.s3.transfer import TransferConfig

    assert s3_endpoint.process is not None
    before = psutil.Process(s3_endpoint.process.pid).memory_info().rss
    body = os.urandom(48 * 1024 * 1024)
    parts = TransferConfig(multipart_threshold=24 * 1024 * 1024, multipart_chunksize=24 * 1024 * 1024)
    s3_endpoint.client("s3").upload_fileobj(io.BytesIO(body), "bucket", "big", Config=parts)
    assert s3_endpoint.client("s3").get_object(Bucket="bucket", Key="big")["Body"].read() == body
    assert psutil.Process(s3_endpoint.process.pid).memory_info().rss - before < 24 * 1024 * 1024


def test_presigned_urls_and_expect_100_continue_work(s3_endpoint: EndpointProcess) -> None:
    import urllib3

    s3, http = s3_endpoint.client("s3"), urllib3.PoolManager()
    put = s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "presigned"})
    assert http.request("PUT", put, body=b"body", headers={"Expect": "100-continue"}).status == 200
    for version in ("s3v4", "s3"):
        signer = s3_endpoint.client("s3", signature_version=version)
        url = signer.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "presigned"})
        assert http.request("GET", url).data == b"body"
    http.clear()


@pytest.mark.parametrize("length_known", [True, False])
def test_aws_chunked_uploads_with_a_trailing_checksum_work(s3_endpoint: EndpointProcess, length_known: bool) -> None:
    import base64
    import zlib

    import urllib3
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    class StreamingAuth(S3SigV4Auth):  # type: ignore[misc]
        def payload(self, request: Any) -> str:
            return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    data = os.urandom(200_000)
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:65536], data[65536:])]
    body = b"".join([*chunks, b"0\r\nx-amz-checksum-crc32:", checksum, b"\r\n\r\n"])
    headers = {"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(len(data)), "X-Amz-Trailer": "x-amz-checksum-crc32"}
    request = AWSRequest("PUT", f"{s3_endpoint.url}/bucket/streamed", data=b"", headers=headers)
    StreamingAuth(Credentials("local", "local-secret"), "s3", "us-east-1").add_auth(request)
    http = urllib3.PoolManager()
    pieces = [body[:70_000], body[70_000:]]
    sent = http.request(
        "PUT", request.url, body=body if length_known else iter(pieces), headers=dict(request.headers.items()), chunked=not length_known
    )
    assert sent.status == 200, sent.data
    assert s3_endpoint.client("s3").get_object(Bucket="bucket", Key="streamed")["Body"].read() == data
    http.clear()
