"""Properties of classifications that are secrets: read from Secrets Manager when the node's files are written.

Release Guide, "Store sensitive configuration data in AWS Secrets Manager": the annotation stands before the property's name, the value
is the secret's ARN. As on EMR, the secret itself then lies in the node's files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from framework.errors import UserError
from framework.local.aws.emr.classifications import SECRET
from framework.local.aws.emr.contract import ClusterSpec

_LONGEST = 1024


def resolved(cluster: ClusterSpec) -> list[dict[str, Any]]:
    """The cluster's classifications with their secrets; nobody is asked where there are none.

    Raises:
        UserError: a secret cannot be read, or is too long.
    """
    return [_resolved(item, cluster) for item in cluster.configurations]


def _resolved(item: Mapping[str, Any], cluster: ClusterSpec) -> dict[str, Any]:
    properties = {
        name.removeprefix(SECRET): _secret(name.removeprefix(SECRET), value, cluster) if name.startswith(SECRET) else value
        for name, value in (item.get("Properties") or {}).items()
    }
    nested: Sequence[Mapping[str, Any]] = item.get("Configurations") or ()
    return {**item, "Properties": properties, "Configurations": [_resolved(part, cluster) for part in nested]}


def _secret(name: str, arn: str, cluster: ClusterSpec) -> str:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    keys = (cluster.runtime.get("AWS_ACCESS_KEY_ID"), cluster.runtime.get("AWS_SECRET_ACCESS_KEY"))
    session = boto3.Session(*keys, region_name=cluster.region)
    client = session.client("secretsmanager", endpoint_url=cluster.runtime.get("AWS_ENDPOINT_URL"))
    try:
        found = str(client.get_secret_value(SecretId=arn)["SecretString"])
    except (ClientError, BotoCoreError, KeyError) as exc:
        raise UserError(f"the secret {arn} of the property {name} cannot be read: {exc}") from exc
    if len(name) + len(found) > _LONGEST:
        raise UserError(f"the property {name} and its secret are longer than {_LONGEST} characters")
    return found
