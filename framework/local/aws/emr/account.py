"""Operations on what belongs to the account: security configurations and block public access."""

from __future__ import annotations

import json
from typing import Any

from framework.local.aws.answers import ApiError
from framework.local.aws.emr import store
from framework.local.aws.emr.operation import Emr, EmrOperation, invalid_request
from framework.local.aws.router import ACCOUNT_ID

_BLOCK_PUBLIC_ACCESS = "block-public-access"
# What a new account has: blocked, but for SSH (Management Guide, "Using Amazon EMR block public access").
_BLOCKED = {"BlockPublicSecurityGroupRules": True, "PermittedPublicSecurityGroupRuleRanges": [{"MinRange": 22, "MaxRange": 22}]}


def create_security_configuration(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    name, content, now = request["Name"], request["SecurityConfiguration"], store.now()
    try:
        if not isinstance(json.loads(content), dict):
            raise ValueError
    except ValueError:
        raise invalid_request("The security configuration is not a JSON object.") from None  # own wording
    with emr.database.write() as connection:
        statement = "INSERT OR IGNORE INTO security_configurations VALUES (?, ?, ?, ?)"
        if connection.execute(statement, (emr.region, name, now, content)).rowcount == 0:
            raise invalid_request(f"SecurityConfiguration with name '{name}' already exists.")
    return {"Name": name, "CreationDateTime": now}


def describe_security_configuration(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    name = request["Name"]
    with emr.database.read() as connection:
        query = "SELECT content, created FROM security_configurations WHERE region = ? AND name = ?"
        row = connection.execute(query, (emr.region, name)).fetchone()
    if row is None:
        raise _no_configuration(name)
    return {"Name": name, "SecurityConfiguration": row[0], "CreationDateTime": row[1]}


def delete_security_configuration(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    name = request["Name"]
    with emr.database.write() as connection:
        statement = "DELETE FROM security_configurations WHERE region = ? AND name = ?"
        if connection.execute(statement, (emr.region, name)).rowcount == 0:
            raise _no_configuration(name)
    return {}


def _no_configuration(name: str) -> ApiError:
    # The code is moto's; it could not be confirmed.
    return invalid_request(f"Security configuration with name '{name}' does not exist.", "ResourceNotFound")


def list_security_configurations(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.read() as connection:
        query = "SELECT name, created FROM security_configurations WHERE region = ? AND name > ? ORDER BY name LIMIT ?"
        rows = connection.execute(query, (emr.region, request.get("Marker") or "", store.PAGE + 1)).fetchall()
    found = [{"Name": name, "CreationDateTime": created} for name, created in rows[: store.PAGE]]
    return {"SecurityConfigurations": found, **({"Marker": rows[store.PAGE - 1][0]} if len(rows) > store.PAGE else {})}


def get_block_public_access(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    with emr.database.read() as connection:
        query = "SELECT content FROM settings WHERE region = ? AND name = ?"
        row = connection.execute(query, (emr.region, _BLOCK_PUBLIC_ACCESS)).fetchone()
    setting = json.loads(row[0]) if row else {"configuration": _BLOCKED, "created": 0}
    return {
        "BlockPublicAccessConfiguration": setting["configuration"],
        "BlockPublicAccessConfigurationMetadata": {
            "CreationDateTime": setting["created"],
            "CreatedByArn": f"arn:aws:iam::{ACCOUNT_ID}:root",
        },
    }


def put_block_public_access(emr: Emr, request: dict[str, Any]) -> dict[str, Any]:
    configuration = request["BlockPublicAccessConfiguration"]
    for ports in configuration.get("PermittedPublicSecurityGroupRuleRanges", ()):
        if ports.get("MaxRange", ports["MinRange"]) < ports["MinRange"]:
            raise invalid_request("MinRange must not be greater than MaxRange.")  # own wording
    content = json.dumps({"configuration": configuration, "created": store.now()})
    with emr.database.write() as connection:
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (emr.region, _BLOCK_PUBLIC_ACCESS, content))
    return {}


OPERATIONS: dict[str, EmrOperation] = {
    "CreateSecurityConfiguration": create_security_configuration,
    "DescribeSecurityConfiguration": describe_security_configuration,
    "DeleteSecurityConfiguration": delete_security_configuration,
    "ListSecurityConfigurations": list_security_configurations,
    "GetBlockPublicAccessConfiguration": get_block_public_access,
    "PutBlockPublicAccessConfiguration": put_block_public_access,
}
