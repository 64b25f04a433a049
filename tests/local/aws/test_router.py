from __future__ import annotations

import json
from typing import Any

import pytest

from framework.local.aws.answers import ApiError, send_json
from framework.local.aws.json_service import JsonService
from framework.local.aws.router import Call, Router, identify

from .conftest import answer, environ, signed


def test_the_credential_scope_names_service_region_and_caller() -> None:
    call = identify(environ(authorization=signed("glue", "eu-west-1"), x_amz_target="AWSGlue.GetTable"))
    assert call == Call("glue", "eu-west-1", "AKIDEXAMPLE", "GetTable")


@pytest.mark.parametrize(
    "request_",
    [
        environ("GET", "/bucket/key", authorization=signed("s3")),
        environ("GET", "/bucket/key", authorization="AWS AKIDEXAMPLE:c2lnbmF0dXJl"),
        environ(
            "GET",
            "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20261123%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0",
        ),
        environ("GET", "/b/k?AWSAccessKeyId=AKID&Signature=0&Expires=1"),
        environ(
            "GET", "/b/k", authorization="AWS4-ECDSA-P256-SHA256 Credential=AKID/20261123/s3/aws4_request, SignedHeaders=host, Signature=0"
        ),
        environ("GET", "/bucket/key"),
        environ("POST", "/bucket", content_type="multipart/form-data; boundary=x"),
    ],
    ids=["header", "version 2", "presigned", "presigned version 2", "version 4A", "anonymous", "form upload"],
)
def test_a_call_to_s3_is_recognised(request_: dict[str, Any]) -> None:
    assert identify(request_).service == "s3"


def test_s3_control_signs_as_s3_and_is_not_s3() -> None:
    assert identify(environ("GET", "/v20180820/accesspoint", authorization=signed("s3"))).service == "s3-control"


def test_a_presigned_call_of_another_service_is_not_s3() -> None:
    query = "Action=GetCallerIdentity&X-Amz-Credential=AKID%2F20261123%2Feu-west-1%2Fsts%2Faws4_request&X-Amz-Signature=0"
    assert identify(environ("GET", f"/?{query}")) == Call("sts", "eu-west-1", "AKID")


def test_an_unsigned_form_is_left_to_the_default_handler() -> None:
    form = environ(body=b"Action=AssumeRoleWithWebIdentity", content_type="application/x-www-form-urlencoded; charset=utf-8")
    assert identify(form).service == ""


def test_the_operation_of_a_cbor_call_is_in_its_path() -> None:
    uri = "/service/GraniteServiceVersion20100801/operation/PutMetricData"
    assert identify(environ(uri=uri, authorization=signed("monitoring"))).operation == "PutMetricData"


def _named(name: str) -> Any:
    return lambda call, environ, start_response: send_json(start_response, 200, {"handler": name, "service": call.service})


@pytest.fixture
def router() -> Router:
    unavailable = JsonService({})
    handlers = {"s3": _named("s3"), "elasticmapreduce": unavailable}
    return Router(handlers, default=_named("default"), pages={"/_emrjobs/health": _named("health")}, reserved="/_emrjobs/")


def test_each_service_goes_to_its_handler_and_the_rest_to_the_default(router: Router) -> None:
    assert answer(router, environ("GET", "/b/k", authorization=signed("s3"))).json["handler"] == "s3"
    assert answer(router, environ(authorization=signed("kms"))).json == {"handler": "default", "service": "kms"}


def test_own_pages_win_and_unknown_ones_are_refused_instead_of_read_as_a_bucket(router: Router) -> None:
    assert answer(router, environ("GET", "/_emrjobs/health")).json["handler"] == "health"
    unknown = answer(router, environ("GET", "/_emrjobs/nothing"))
    assert unknown.status == 404
    assert b"/_emrjobs/health" in unknown.body


def test_an_emr_call_is_refused_with_a_code_that_clients_do_not_retry(router: Router) -> None:
    refused = answer(router, environ(authorization=signed("elasticmapreduce"), x_amz_target="ElasticMapReduce.RunJobFlow"))
    assert refused.status == 400
    assert refused.headers["x-amzn-errortype"] == "UnsupportedOperation"
    assert "RunJobFlow" in refused.json["message"]


def test_a_json_service_refuses_what_is_not_json_and_hides_its_own_mistakes(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: dict[str, Any], call: Call) -> dict[str, Any]:
        raise KeyError("secret detail")

    service = JsonService({"Break": broken})
    call = Call("test", operation="Break")
    bad = answer(lambda env, start: service(call, env, start), environ(body=b"{", x_amz_target="T.Break"))
    assert bad.json["__type"] == "SerializationException"
    failed = answer(lambda env, start: service(call, env, start), environ(body=b"{}", x_amz_target="T.Break"))
    assert failed.status == 500
    assert "secret detail" not in failed.body.decode()
    assert "secret detail" in caplog.text


def test_a_query_caller_gets_its_error_as_xml(router: Router) -> None:
    def refuse(call: Call, environ: Any, start_response: Any) -> Any:
        raise ApiError("AccessDenied", "not <you>", 403)

    refusing = Router({"iam": refuse}, default=refuse, pages={}, reserved="/_emrjobs/")
    form = environ(authorization=signed("iam"), content_type="application/x-www-form-urlencoded")
    result = answer(refusing, form)
    assert result.status == 403
    assert b"<Code>AccessDenied</Code><Message>not &lt;you&gt;</Message>" in result.body
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(result.body)
