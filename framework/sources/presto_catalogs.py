"""Presto's catalogs, rendered from the settings that every engine shares.

PrestoDB 0.287 has no secrets in its files that stand for something else, as Trino has: a database's user and password come with
each query, as extra credentials of these names (`user-credential-name`), and the keys for S3 are in the server's environment, where
the AWS SDK looks for them. `hive` and `iceberg` are the lake, on a Hive metastore.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlencode

from framework.config.model import DEFAULT_PORTS, Connection, Settings
from framework.errors import ConfigError
from framework.jobs import HIVE_CATALOG, LAKE_CATALOG, TRINO_CATALOGS, Jdbc, Job
from framework.sources import jdbc
from framework.sources.trino_catalogs import Catalogs, Value

KINDS = ("postgresql", "mysql")
"""Connections that the unpacked server has a connector for."""


def check(job: Job, settings: Settings) -> None:
    """What Presto would not find of a job, from configuration alone.

    Raises:
        ConfigError: the lake's catalog, or the kind of a connection, is none that it has.
    """
    _check_catalog(settings, job.where)
    for dataset in job.inputs.values():
        if isinstance(dataset, Jdbc):
            _check_kind(dataset.connection, jdbc.find(settings.connections, dataset.connection, where=job.where), job.where)


def served(settings: Settings) -> set[str]:
    """Names of the connections that Presto can have as catalogs."""
    return {name for name, connection in settings.connections.items() if connection.kind in KINDS}


def render(settings: Settings, value: Value, connections: Collection[str]) -> tuple[Catalogs, dict[str, str]]:
    """The catalogs of one environment, and the extra credentials of its connections, which are secret; asks nobody but `value`.

    Args:
        connections: those that are needed. The lake is always among the catalogs.

    Raises:
        ConfigError: a connection is of a kind, or has a name, that cannot be a catalog, or the lake's catalog is not a Hive metastore.
        SecretUnresolved: a password's reference leads nowhere.
    """
    _check_catalog(settings, None)
    properties: dict[str, Mapping[str, str]] = {}
    credentials: dict[str, str] = {}
    for name in sorted(connections):
        if name in TRINO_CATALOGS:
            raise ConfigError(f"connections.{name}: Presto has a catalog of that name already", fix="rename the connection")
        connection = jdbc.find(settings.connections, name, where=None)
        _check_kind(name, connection, None)
        properties[name] = _operational(name, connection, value, credentials)
    environment: dict[str, str] = {}
    metastore = {"hive.metastore.uri": value(settings.catalog.uri or "", "catalog.uri"), **_storage(settings, value, environment)}
    hive = {
        "connector.name": "hive-hadoop2",
        **metastore,
        # A run writes to a folder that it names itself, and publishes by switching locations: nothing may be remembered.
        "hive.non-managed-table-writes-enabled": "true",
        "hive.metastore-cache-ttl": "0s",
        # By position a column that Spark or Trino added in between would be another one.
        "hive.parquet.use-column-names": "true",
        "hive.orc.use-column-names": "true",
    }
    iceberg = {"connector.name": "iceberg", "iceberg.catalog.type": "HIVE", **metastore}
    generated = {"tpch": {"connector.name": "tpch"}, "memory": {"connector.name": "memory"}}
    return Catalogs({**properties, LAKE_CATALOG: iceberg, HIVE_CATALOG: hive, **generated}, environment), credentials


def _check_catalog(settings: Settings, where: str | None) -> None:
    if settings.catalog.kind != "hive":
        raise ConfigError(
            f"engine presto reads the lake through a Hive metastore, and catalog.kind is {settings.catalog.kind}",
            where=where,
            fix="run it with --set catalog.kind=hive (make run CATALOG=hive), or use `engine: trino` with `dialect: presto`",
        )


def _check_kind(name: str, connection: Connection, where: str | None) -> None:
    if connection.kind not in KINDS:
        raise ConfigError(
            f"connection {name} is {connection.kind}, which engine presto does not read", where=where, fix="use `engine: trino`"
        )


def _operational(name: str, connection: Connection, value: Value, credentials: dict[str, str]) -> Mapping[str, str]:
    key = f"connections.{name}"
    kind: str = connection.kind
    host = value(connection.host, f"{key}.host")
    port = value(str(connection.port or DEFAULT_PORTS[kind]), f"{key}.port")
    # Presto's schemas are MySQL's databases, so its URL names none.
    database = f"/{connection.database}" if kind == "postgresql" else ""
    options = f"?{urlencode(connection.options)}" if connection.options else ""
    names = {}
    for option, given in (("user", connection.user), ("password", connection.password)):
        if given:
            names[f"{option}-credential-name"] = f"{name}_{option}"
            credentials[f"{name}_{option}"] = value(given, f"{key}.{option}")
    return {"connector.name": kind, "connection-url": f"jdbc:{kind}://{host}:{port}{database}{options}", **names}


def _storage(settings: Settings, value: Value, environment: dict[str, str]) -> dict[str, str]:
    aws = settings.aws
    properties = {}
    if aws.s3_endpoint_url:
        endpoint = value(aws.s3_endpoint_url, "aws.s3_endpoint_url")
        secure = str(endpoint.startswith("https:")).lower()
        properties = {"hive.s3.endpoint": endpoint, "hive.s3.path-style-access": "true", "hive.s3.ssl.enabled": secure}
    if aws.access_key_id and aws.secret_access_key:
        environment["AWS_ACCESS_KEY_ID"] = value(aws.access_key_id, "aws.access_key_id")
        environment["AWS_SECRET_ACCESS_KEY"] = value(aws.secret_access_key, "aws.secret_access_key")
    return properties
