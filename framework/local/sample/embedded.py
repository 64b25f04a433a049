"""The sample data in the embedded environment; configs/env/embedded.yaml names `seed` as its `local.seed`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from framework.local import sample
from framework.local.service import Endpoint
from framework.platform import Platform

SECRETS = {"postgres": "emrjobs/airline_ops", "mysql": "emrjobs/fleet"}


def seed(platform: Platform, endpoints: Mapping[str, Endpoint], progress: Callable[[str, int | None, int | None], None]) -> None:
    """Load the sample data, and keep the databases' passwords where the configuration looks for them: in Secrets Manager."""
    settings, secrets = platform.settings, platform.aws.client("secretsmanager")
    for service, name in SECRETS.items():
        if service in endpoints:
            value = json.dumps({"username": endpoints[service]["user"], "password": endpoints[service]["password"]})
            try:
                secrets.create_secret(Name=name, SecretString=value)
            except secrets.exceptions.ResourceExistsException:
                secrets.put_secret_value(SecretId=name, SecretString=value)
    target = sample.SampleTarget(
        postgres=endpoints["postgres"],
        s3=endpoints["s3"],
        aws=endpoints["aws"],
        database=settings.connections["airline_ops"].database,
        raw=settings.paths["raw"],
        warehouse=settings.catalog.warehouse,
        metastore=platform.metastore,
        search=endpoints.get("opensearch"),
        mysql=endpoints.get("mysql"),
    )
    sample.seed(target, progress, client=platform.aws.client)
