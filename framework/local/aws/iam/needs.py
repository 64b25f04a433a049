"""Which actions on which resources a call asks for, as in AWS's Service Authorization Reference."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree

from framework.local.aws.iam.policy import ANY
from framework.local.aws.router import ACCOUNT_ID, Call

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment


@dataclass(frozen=True)
class Need:
    """One permission that a call needs.

    Attributes:
        action: `service:Operation`.
        resource: an ARN, `*` for an action without resources of its own.
        context: condition keys of the request, lower case.
    """

    action: str
    resource: str = ANY
    context: Mapping[str, str] = field(default_factory=dict)


def arn(service: str, region: str, name: str) -> str:
    """An ARN of this endpoint's account."""
    return f"arn:aws:{service}:{region}:{ACCOUNT_ID}:{name}"


# ------------------------------------------------------------------------------------------------------------------------ S3

# What a subresource in the query asks for: (of an object, of a bucket) by method.
_SUBRESOURCES: Mapping[str, Mapping[str, tuple[str | None, str | None]]] = {
    "acl": {"GET": ("GetObjectAcl", "GetBucketAcl"), "PUT": ("PutObjectAcl", "PutBucketAcl")},
    "tagging": {
        "GET": ("GetObjectTagging", "GetBucketTagging"),
        "PUT": ("PutObjectTagging", "PutBucketTagging"),
        "DELETE": ("DeleteObjectTagging", "PutBucketTagging"),
    },
    "location": {"GET": (None, "GetBucketLocation")},
    "versioning": {"GET": (None, "GetBucketVersioning"), "PUT": (None, "PutBucketVersioning")},
    "versions": {"GET": (None, "ListBucketVersions")},
    "policy": {"GET": (None, "GetBucketPolicy"), "PUT": (None, "PutBucketPolicy"), "DELETE": (None, "DeleteBucketPolicy")},
    "lifecycle": {
        "GET": (None, "GetLifecycleConfiguration"),
        "PUT": (None, "PutLifecycleConfiguration"),
        "DELETE": (None, "PutLifecycleConfiguration"),
    },
    "encryption": {
        "GET": (None, "GetEncryptionConfiguration"),
        "PUT": (None, "PutEncryptionConfiguration"),
        "DELETE": (None, "PutEncryptionConfiguration"),
    },
    "cors": {"GET": (None, "GetBucketCORS"), "PUT": (None, "PutBucketCORS"), "DELETE": (None, "PutBucketCORS")},
    "publicAccessBlock": {
        "GET": (None, "GetBucketPublicAccessBlock"),
        "PUT": (None, "PutBucketPublicAccessBlock"),
        "DELETE": (None, "PutBucketPublicAccessBlock"),
    },
    "object-lock": {"GET": (None, "GetBucketObjectLockConfiguration"), "PUT": (None, "PutBucketObjectLockConfiguration")},
    "uploads": {"GET": (None, "ListBucketMultipartUploads"), "POST": ("PutObject", None)},
    "uploadId": {
        "GET": ("ListMultipartUploadParts", None),
        "PUT": ("PutObject", None),
        "POST": ("PutObject", None),
        "DELETE": ("AbortMultipartUpload", None),
    },
}
_OF_OBJECT = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject", "DELETE": "DeleteObject"}
_OF_BUCKET = {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}


def of_s3(environ: WSGIEnvironment, deleted: Callable[[], bytes]) -> list[Need]:
    """What a path-style S3 call needs.

    Args:
        deleted: gives the body, asked only for a multi-object delete, whose keys stand in it.
    """
    method = environ["REQUEST_METHOD"]
    path = unquote(environ["REQUEST_URI"].partition("?")[0]).lstrip("/")
    bucket, _, key = path.partition("/")
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if not bucket:
        return [Need("s3:ListAllMyBuckets")]
    if method == "POST" and "delete" in query and not key:
        return [Need("s3:DeleteObject", _object(bucket, name)) for name in _keys(deleted())]
    for name, methods in _SUBRESOURCES.items():
        if name in query and method in methods:
            of_object, of_bucket = methods[method]
            if key and of_object:
                return [Need(f"s3:{of_object}", _object(bucket, key)), *_copied(environ)]
            return [Need(f"s3:{of_bucket or _OF_BUCKET.get(method, 'ListBucket')}", f"arn:aws:s3:::{bucket}")]
    if key:
        action = _OF_OBJECT.get(method, "PutObject")
        if action == "GetObject" and "versionId" in query:
            action = "GetObjectVersion"
        return [Need(f"s3:{action}", _object(bucket, key)), *_copied(environ)]
    context = {"s3:prefix": query["prefix"][0]} if "prefix" in query else {}
    return [Need(f"s3:{_OF_BUCKET.get(method, 'ListBucket')}", f"arn:aws:s3:::{bucket}", context)]


def _object(bucket: str, key: str) -> str:
    return f"arn:aws:s3:::{bucket}/{key}"


def _copied(environ: WSGIEnvironment) -> list[Need]:
    source = unquote(environ.get("HTTP_X_AMZ_COPY_SOURCE", "")).partition("?")[0].lstrip("/")
    return [Need("s3:GetObject", f"arn:aws:s3:::{source}")] if source else []


def _keys(body: bytes) -> list[str]:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return [ANY]
    return [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == "Key"]


# ------------------------------------------------------------------------------------------------------------ JSON services

_GLUE_NAMES = re.compile(r"(Table|Partition|ColumnStatistics|UserDefinedFunction|Database)")


def of_json(call: Call, request: Mapping[str, Any], secret_arn: Callable[[str, str], str | None]) -> list[Need]:
    """What a call of a JSON service needs.

    Args:
        secret_arn: ARN of a secret by its name or ARN, in a region; None when there is none.
    """
    make = _SERVICES.get(call.service)
    action = f"{_PREFIX.get(call.service, call.service)}:{call.operation}"
    if make is None:
        return [Need(action)]
    return [Need(action, resource) for resource in make(call, request, secret_arn)] + _passed_roles(call, request)


def of_serverless(call: Call, operation: str, request: Mapping[str, Any]) -> list[Need]:
    """What a call of EMR Serverless needs: on the application or job run that it is about, and to pass a run's role."""
    resource = str(request.get("resourceArn") or ANY)
    if "applicationId" in request:
        path = f"/applications/{request['applicationId']}"
        if "jobRunId" in request:
            path += f"/jobruns/{request['jobRunId']}"
        resource = arn("emr-serverless", call.region, path)
    role = request.get("executionRoleArn")
    return [Need(f"emr-serverless:{operation}", resource), *([Need("iam:PassRole", str(role))] if role else [])]


def _glue(call: Call, request: Mapping[str, Any], _: object) -> Iterable[str]:
    """The catalog, and the database and table that the request names: each of them must be allowed."""
    if not _GLUE_NAMES.search(call.operation or ""):
        return [ANY]
    table = request.get("TableInput", {}).get("Name") or request.get("TableName")
    database = request.get("DatabaseName")
    operation = call.operation or ""
    if "Database" in operation:
        database = request.get("Name") or request.get("DatabaseInput", {}).get("Name")
    elif not table and operation in ("GetTable", "DeleteTable", "GetTableVersions"):
        table = request.get("Name")
    names = ["catalog"]
    if database:
        names.append(f"database/{database}")
        if table:
            names.append(f"table/{database}/{table}")
        elif operation == "GetTables":
            names.append(f"table/{database}/{ANY}")
        elif "UserDefinedFunction" in operation:
            names.append(f"userDefinedFunction/{database}/{request.get('FunctionName', ANY)}")
    return [arn("glue", call.region, name) for name in names]


def _secret(call: Call, request: Mapping[str, Any], secret_arn: Callable[[str, str], str | None]) -> Iterable[str]:
    wanted = request.get("SecretId") or request.get("Name")
    if not wanted:
        return [ANY]
    return [secret_arn(str(wanted), call.region) or arn("secretsmanager", call.region, f"secret:{wanted}-??????")]


def _parameter(call: Call, request: Mapping[str, Any], _: object) -> Iterable[str]:
    names = [*request.get("Names", []), *(request[key] for key in ("Name", "Path") if key in request)]
    return [arn("ssm", call.region, f"parameter/{str(name).lstrip('/')}") for name in names] or [ANY]


def _key(call: Call, request: Mapping[str, Any], _: object) -> Iterable[str]:
    key = request.get("KeyId")
    if not key:
        return [ANY]
    return [key if str(key).startswith("arn:") else arn("kms", call.region, str(key) if "/" in str(key) else f"key/{key}")]


def _log_group(call: Call, request: Mapping[str, Any], _: object) -> Iterable[str]:
    group = request.get("logGroupName")
    return [arn("logs", call.region, f"log-group:{group}:{request.get('logStreamName', '')}".rstrip(":") + (":*" if group else ""))]


def _cluster(call: Call, request: Mapping[str, Any], _: object) -> Iterable[str]:
    one = request.get("ClusterId") or request.get("JobFlowId") or request.get("ResourceId")
    ids = [one] if one else request.get("JobFlowIds", [])
    return [arn("elasticmapreduce", call.region, f"cluster/{name}") for name in ids] or [ANY]


def _passed_roles(call: Call, request: Mapping[str, Any]) -> list[Need]:
    """A role that is handed to EMR has to be passed: IAM User Guide, "Granting permissions to pass a role"."""
    if call.service != "elasticmapreduce" or call.operation not in ("RunJobFlow", "AddJobFlowSteps"):
        return []
    roles = [request.get(name) for name in ("ServiceRole", "JobFlowRole", "AutoScalingRole", "ExecutionRoleArn", "StepExecutionRoleArn")]
    return [
        Need("iam:PassRole", role if str(role).startswith("arn:") else f"arn:aws:iam::{ACCOUNT_ID}:role/{role}") for role in roles if role
    ]


_PREFIX = {"monitoring": "cloudwatch", "email": "ses"}
_SERVICES: Mapping[str, Callable[[Call, Mapping[str, Any], Callable[[str, str], str | None]], Iterable[str]]] = {
    "glue": _glue,
    "secretsmanager": _secret,
    "ssm": _parameter,
    "kms": _key,
    "logs": _log_group,
    "elasticmapreduce": _cluster,
}
