"""The sample data in the embedded environment; configs/env/embedded.yaml names `seed` as its `local.seed`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from framework.local import sample
from framework.local.service import Endpoint
from framework.platform import Platform

SECRET = "emrjobs/airline_ops"


def seed(platform: Platform, endpoints: Mapping[str, Endpoint], progress: Callable[[str, int | None, int | None], None]) -> None:
    """Load the sample data, and keep the database's password where the configuration looks for it: in Secrets Manager."""
    postgres, settings = endpoints["postgres"], platform.settings
    secrets = platform.aws.client("secretsmanager")
    value = json.dumps({"username": postgres["user"], "password": postgres["password"]})
    try:
        secrets.create_secret(Name=SECRET, SecretString=value)
    except secrets.exceptions.ResourceExistsException:
        secrets.put_secret_value(SecretId=SECRET, SecretString=value)
    target = sample.SampleTarget(
        postgres=postgres,
        s3=endpoints["s3"],
        aws=endpoints["aws"],
        database=settings.connections["airline_ops"].database,
        raw=settings.paths["raw"],
        warehouse=settings.catalog.warehouse,
        metastore=platform.metastore,
        search=endpoints.get("opensearch"),
    )
    sample.seed(target, progress, client=platform.aws.client)
