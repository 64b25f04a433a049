"""Least-privilege policies, derived from what jobs declare: the runtime role of a job, and the roles of a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from framework import jobs
from framework.config.loader import Loaded
from framework.config.model import Settings
from framework.jobs import Job
from framework.sources.paths import normalise, output_location, split_s3

Policy = dict[str, Any]

_READ = ["s3:GetObject"]
_WRITE = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
_GLUE_READ = ["glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:GetPartition", "glue:GetPartitions", "glue:BatchGetPartition"]
_GLUE_WRITE = [
    "glue:CreateTable",
    "glue:UpdateTable",
    "glue:DeleteTable",
    "glue:CreatePartition",
    "glue:BatchCreatePartition",
    "glue:UpdatePartition",
    "glue:BatchUpdatePartition",
    "glue:DeletePartition",
    "glue:BatchDeletePartition",
]


def runtime_policy(job: Job, loaded: Loaded, *, account: str = "*") -> Policy:
    """What one job's runtime role may do, and nothing else: its inputs, its output, its records, the artifacts of its submit.

    Args:
        account: AWS account id in the ARNs.
    """
    settings = loaded.settings
    statements = [
        *_inputs(job, settings, account),
        *_output(job, settings, account),
        *_secrets(job, settings, account),
        *_records(settings),
        *_artifacts(settings),
        *_keys(settings),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _inputs(job: Job, settings: Settings, account: str) -> list[dict[str, Any]]:
    found = []
    for name, dataset in job.inputs.items():
        if isinstance(dataset, jobs.Path):
            uri = normalise(_until_parameter(dataset.uri, settings.paths))
            found += _s3(f"Read{_sid(name)}", uri, _READ)
        elif isinstance(dataset, jobs.Table):
            found.append(_glue(f"Look{_sid(name)}", _GLUE_READ, [dataset], settings, account))
            found += _s3(f"Read{_sid(name)}", f"{settings.catalog.warehouse}/{dataset.database}.db/{dataset.table}/", _READ)
    return found


def _output(job: Job, settings: Settings, account: str) -> list[dict[str, Any]]:
    table = job.output
    if not isinstance(table, jobs.Table):
        return []
    in_hdfs = output_location(table, settings.paths, where=job.where) is not None
    # A first run makes the table under a staging name, `<table>__stage_<run>`, and the database where it is missing.
    return [
        _glue("LookOutput", [*_GLUE_READ, *_GLUE_WRITE], [table], settings, account, also=[f"{table.database}/{table.table}__stage_*"]),
        {
            "Sid": "MakeDatabase",
            "Effect": "Allow",
            "Action": ["glue:CreateDatabase", "glue:GetDatabases"],
            "Resource": [_arn("glue", settings, account, "catalog"), _arn("glue", settings, account, f"database/{table.database}")],
        },
        *([] if in_hdfs else _s3("WriteOutput", f"{settings.catalog.warehouse}/{table.database}.db/{table.table}", [*_READ, *_WRITE])),
    ]


def _secrets(job: Job, settings: Settings, account: str) -> list[dict[str, Any]]:
    secrets, parameters = [], []
    references = [settings.connections[name].password for name in sorted(job.connections & settings.connections.keys())]
    for reference in [*references, settings.lineage.api_key, settings.lineage.url]:
        match = re.fullmatch(r"\$\{(secretsmanager|ssm):([^#}]+)(?:#[^}]*)?\}", reference or "")
        if match and match[1] == "secretsmanager":
            # Secrets Manager adds six characters to a secret's name.
            secret = match[2] if match[2].startswith("arn:") else _arn("secretsmanager", settings, account, f"secret:{match[2]}-??????")
            secrets.append(secret)
        elif match:
            parameters.append(_arn("ssm", settings, account, f"parameter/{match[2].lstrip('/')}"))
    found = []
    if secrets:
        found.append({"Sid": "ReadSecrets", "Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"], "Resource": secrets})
    if parameters:
        found.append({"Sid": "ReadParameters", "Effect": "Allow", "Action": ["ssm:GetParameter"], "Resource": parameters})
    return found


def _records(settings: Settings) -> list[dict[str, Any]]:
    # Run records and logs, the lease on the output, and the submit's own record.
    return _s3("Records", f"{settings.state}/", [*_READ, "s3:PutObject", "s3:DeleteObject"])


def _artifacts(settings: Settings) -> list[dict[str, Any]]:
    return _s3("Artifacts", f"{settings.emr.artifacts}/", _READ) if settings.emr.artifacts else []


def _keys(settings: Settings) -> list[dict[str, Any]]:
    key = settings.emr.kms_key
    return [{"Sid": "Keys", "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": [key]}] if key else []


def _s3(sid: str, uri: str, actions: Sequence[str]) -> list[dict[str, Any]]:
    if not uri.startswith("s3://"):
        return []
    bucket, key = split_s3(uri)
    return [
        {"Sid": f"{sid}Objects", "Effect": "Allow", "Action": list(actions), "Resource": [f"arn:aws:s3:::{bucket}/{key}*"]},
        {
            "Sid": f"{sid}List",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
            "Condition": {"StringLike": {"s3:prefix": [f"{key.rstrip('/')}*"]}},
        },
    ]


def _glue(
    sid: str, actions: Sequence[str], tables: Iterable[jobs.Table], settings: Settings, account: str, *, also: Iterable[str] = ()
) -> dict[str, Any]:
    tables = list(tables)
    resources = [_arn("glue", settings, account, "catalog")]
    resources += [_arn("glue", settings, account, f"database/{one.database}") for one in tables]
    resources += [_arn("glue", settings, account, f"table/{one.database}/{one.table}") for one in tables]
    resources += [_arn("glue", settings, account, f"table/{name}") for name in also]
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resources}


def _arn(service: str, settings: Settings, account: str, rest: str) -> str:
    return f"arn:aws:{service}:{settings.aws.region}:{account}:{rest}"


def _until_parameter(uri: str, paths: Mapping[str, str]) -> str:
    """The part of a path that no parameter changes: `{raw}/weather/date={date}/` is `s3://raw/weather/date=`."""
    for name, value in paths.items():
        uri = uri.replace(f"{{{name}}}", value)
    return uri.split("{", 1)[0]


def _sid(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", name.title())


def cluster_policies(loaded: Loaded, *, account: str = "*") -> dict[str, Policy]:
    """Trust and permissions of the two roles of a cluster.

    Returns:
        service_role_trust, service_role (beside the managed AmazonEMRServicePolicy_v2), nodes_trust, nodes.
    """
    settings = loaded.settings
    logs = settings.emr.logs or f"{settings.state}/emr-logs"
    artifacts = settings.emr.artifacts or f"{settings.state}/artifacts"
    region = settings.aws.region
    pass_role = {
        "Sid": "PassNodesRole",
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": f"arn:aws:iam::{account}:role/{(settings.emr.instance_profile or 'emrjobs-nodes').rsplit('/', 1)[-1]}",
        "Condition": {"StringLike": {"iam:PassedToService": "ec2.amazonaws.com*"}},
    }
    subnets = [f"arn:aws:ec2:{region}:{account}:subnet/{subnet}" for subnet in settings.emr.subnets]
    launch = {"Sid": "LaunchInSubnets", "Effect": "Allow", "Action": ["ec2:RunInstances", "ec2:CreateFleet"], "Resource": subnets or ["*"]}
    nodes = [*_s3("Logs", f"{logs}/", ["s3:PutObject"]), *_s3("Artifacts", f"{artifacts}/", _READ)]
    if settings.emr.runtime_role:
        nodes.append(
            {
                "Sid": "RuntimeRoles",
                "Effect": "Allow",
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Resource": settings.emr.runtime_role,
            }
        )
    if settings.emr.kms_key:
        nodes += _keys(settings)
    return {
        "service_role_trust": _trust("elasticmapreduce.amazonaws.com"),
        "service_role": {"Version": "2012-10-17", "Statement": [launch, pass_role]},
        "nodes_trust": _trust("ec2.amazonaws.com"),
        "nodes": {"Version": "2012-10-17", "Statement": nodes},
    }


def _trust(service: str) -> Policy:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}
