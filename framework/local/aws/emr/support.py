"""What the local endpoint does with each operation of EMR: the table in docs/emr-operations.md."""

from __future__ import annotations

from framework.local.aws.emr import shapes
from framework.local.aws.emr.service import OPERATIONS

_NOTES = {
    "RunJobFlow": "Instances are records: all steps run on this machine",
    "DescribeJobFlows": "Deprecated by AWS",
    "SetVisibleToAllUsers": "Kept; without effect, as on AWS",
    "SetUnhealthyNodeReplacement": "Kept; nodes do not become unhealthy here",
    "AddInstanceGroups": "New instances are running after the provisioning delay",
    "AddInstanceFleet": "New instances are running after the provisioning delay",
    "ModifyInstanceGroups": "Resizes, shrinks by instance id; new configurations are kept, and used by no step",
    "ModifyInstanceFleet": "Resizes",
    "PutManagedScalingPolicy": "Carried out, by the executors that running steps name",
    "PutAutoScalingPolicy": "Carried out, for metrics that follow from running steps",
    "PutAutoTerminationPolicy": "Carried out",
    "PutBlockPublicAccessConfiguration": "Kept; there are no security groups to hold it against",
    "CreateSecurityConfiguration": "Kept; clusters may name it, nothing is encrypted",
    "ListSupportedInstanceTypes": "For releases of `framework/releases` with their sizes",
}
_WHY = {
    "Studio": "EMR Studio is a hosted web application",
    "Notebook": "notebooks run in EMR Studio",
    "Session": "Spark Connect sessions are not served",
    "AppUI": "there are no hosted application UIs",
    "GetClusterSessionCredentials": "the endpoints that take these credentials are not served",
}

_HEAD = """\
# EMR operations of the local endpoint

Generated from the code; a test holds it in step. Every request is first checked against the shapes of botocore's
model. What is not supported answers `UnsupportedOperation` with status 400, which clients do not retry.

| operation | state | |
|---|---|---|
"""


def table() -> str:
    """docs/emr-operations.md."""
    rows = []
    for name in sorted(shapes.load("emr").operations):
        if name in OPERATIONS:
            rows.append(f"| {name} | works | {_NOTES.get(name, '')} |")
        else:
            why = next((reason for part, reason in _WHY.items() if part in name and part != "Session"), None) or _WHY["Session"]
            why = _WHY.get(name, why)
            rows.append(f"| {name} | not supported | {why} |")
    return _HEAD + "\n".join(rows) + "\n"
