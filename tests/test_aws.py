"""What botocore raises, as one of our errors; and how clients are made."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from framework.aws import Aws, explain
from framework.config import model
from framework.config.references import MASK, Resolver
from framework.errors import AccessRefused, ServiceUnavailable


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "told by AWS"}}, "GetTable")


@pytest.mark.parametrize(
    "code",
    [
        "AccessDenied",
        "AccessDeniedException",
        "403",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "ExpiredTokenException",
    ],
)
def test_a_refusal_is_the_user_s_to_mend(code: str) -> None:
    error = explain(refusal(code), "look up x")
    assert isinstance(error, AccessRefused)
    assert error.message == f"could not look up x: {code}: told by AWS"
    assert (error.exit_code, error.retryable) == (2, False)


@pytest.mark.parametrize(
    "exc", [refusal("ThrottlingException"), refusal("InternalError"), EndpointConnectionError(endpoint_url="http://127.0.0.1:1")]
)
def test_an_outage_is_worth_a_retry(exc: Exception) -> None:
    error = explain(exc, "look up x")
    assert isinstance(error, ServiceUnavailable)
    assert error.message.startswith("could not look up x: ")
    assert (error.exit_code, error.retryable) == (1, True)


def test_no_credentials_say_how_to_give_them() -> None:
    error = explain(NoCredentialsError(), "look up x")
    assert isinstance(error, AccessRefused)
    assert "AWS_PROFILE" in str(error.fix)


def test_a_client_is_made_once_with_the_environment_s_endpoint_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "AKIDEXAMPLE")
    monkeypatch.setenv("SECRET", "a-secret-key")
    resolver = Resolver()
    settings = model.Aws(
        region="eu-west-1",
        endpoint_url="http://127.0.0.1:4566",
        s3_endpoint_url="http://127.0.0.1:8333",
        access_key_id="${env:KEY}",
        secret_access_key="${env:SECRET}",
    )
    aws = Aws(settings, resolver)
    assert aws.client("glue") is aws.client("glue")
    assert aws.client("glue").meta.endpoint_url == "http://127.0.0.1:4566"
    assert aws.client("s3").meta.endpoint_url == "http://127.0.0.1:8333"
    assert aws.credentials() == ("AKIDEXAMPLE", "a-secret-key", None)
    assert resolver.mask("a-secret-key") == MASK


def test_without_keys_boto3_s_own_chain_decides() -> None:
    assert Aws(model.Aws(), Resolver()).credentials() is None
