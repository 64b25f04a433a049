"""The sample data in the embedded environment; configs/env/embedded.yaml names `seed` as its `local.seed`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from framework.local import mysql, sample
from framework.local.service import Endpoint
from framework.local.state import Layout
from framework.platform import Platform


def seed(platform: Platform, endpoints: Mapping[str, Endpoint], progress: Callable[[str, int | None, int | None], None]) -> None:
    """Load the sample data, and keep the databases' passwords where the configuration looks for them: in Secrets Manager."""
    settings, secrets = platform.settings, platform.aws.client("secretsmanager")
    postgres = endpoints["postgres"]
    for name, user, password in (
        ("emrjobs/airline_ops", postgres["user"], postgres["password"]),
        # Before its server is started: a Trino that has the password from its start need not be started again for it.
        ("emrjobs/fleet", mysql.USER, _password(platform, "mysql")),
    ):
        value = json.dumps({"username": user, "password": password})
        try:
            secrets.create_secret(Name=name, SecretString=value)
        except secrets.exceptions.ResourceExistsException:
            secrets.put_secret_value(SecretId=name, SecretString=value)
    target = sample.SampleTarget(
        postgres=postgres,
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


def _password(platform: Platform, service: str) -> str:
    from filelock import FileLock

    layout = Layout(platform.root)
    with FileLock(layout.lock(service)):
        return layout.secret(service, "password")
