"""Trino's catalogs, rendered from the settings that every engine shares: `connections:`, `catalog:` and `aws:`.

One catalog per connection, under the connection's name; `iceberg` and `hive` are the lake, each handing the other's tables on
(Trino, table redirection), so that a statement names a lake table as `database.table` whatever its format; `tpch` and
`memory` need nothing. A password is never in the text: it stands there as `${ENV:...}` (Trino, Secrets), and the value goes
into the server's environment only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlencode

from framework.config.model import DEFAULT_PORTS, Connection, Settings
from framework.errors import ConfigError, SecretUnresolved
from framework.jobs import HIVE_CATALOG, LAKE_CATALOG, TRINO_CATALOGS
from framework.sources.hdfs import Hdfs

_ACCESS_KEY, _SECRET_KEY = "EMRJOBS_TRINO_ACCESS_KEY", "EMRJOBS_TRINO_SECRET_KEY"

Value = Callable[[str, str], str]
"""`value(text, key)`: the text of a configuration key with its late references filled in."""


@dataclass(frozen=True)
class Metastore:
    """Where Trino finds the lake's tables.

    Attributes:
        kind: glue, or hive for a Hive metastore.
        uri: `thrift://host:port` of the metastore.
        warehouse: prefix of tables that Trino itself places.
    """

    kind: str
    warehouse: str
    uri: str | None = None


@dataclass(frozen=True)
class FederatedRead:
    """A table of a connection that Trino reads by itself.

    Attributes:
        table: `schema.table`.
        kind: the connection's.
    """

    connection: str
    table: str
    kind: str


@dataclass(frozen=True)
class Catalogs:
    """Every catalog of one environment.

    Attributes:
        properties: name of the catalog -> its properties.
        environment: variables that `${ENV:...}` stands for, with their secret values.
    """

    properties: Mapping[str, Mapping[str, str]]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def files(self) -> dict[str, str]:
        """Text by file name, as they lie in `etc/catalog/` of a Trino server."""
        return {f"{name}.properties": text(properties) for name, properties in self.properties.items()}

    def classifications(self) -> list[dict[str, object]]:
        """The form in which EMR takes them: `trino-connector-<connector>`.

        EMR names a catalog after its connector, so a cluster has one of each (EMR Release Guide, Trino configuration).

        Raises:
            ConfigError: two catalogs have the same connector.
        """
        found: dict[str, str] = {}
        for name, properties in self.properties.items():
            connector = properties["connector.name"]
            if connector in found:
                raise ConfigError(
                    f"connections {found[connector]} and {name} are both {connector}: EMR configures one Trino catalog per connector",
                    fix="put the second one's file into /etc/trino/conf/catalog with a bootstrap action",
                )
            found[connector] = name
        return [
            {"Classification": f"trino-connector-{connector}", "Properties": dict(self.properties[name])}
            for connector, name in found.items()
        ]


def render(settings: Settings, value: Value, connections: Collection[str] | None = None, hdfs: Hdfs | None = None) -> Catalogs:
    """The catalogs of one environment; asks nobody but `value`.

    Args:
        connections: those that are needed; without it all. The lake is always among the catalogs.
        hdfs: what `hdfs:///path` is a path of, where the lake has tables there.

    Raises:
        ConfigError: a connection has the name of one of Trino's own catalogs.
        SecretUnresolved: a password's reference leads nowhere.
    """
    environment: dict[str, str] = {}
    properties: dict[str, Mapping[str, str]] = {}
    for name, connection in sorted(settings.connections.items()):
        if name in TRINO_CATALOGS:
            raise ConfigError(f"connections.{name}: Trino has a catalog of that name already", fix="rename the connection")
        if connections is None or name in connections:
            properties[name] = _operational(name, connection, value, environment)
        elif connection.password and "${local:" not in connection.password:
            # A server that has it in its environment needs no restart when a later statement names the connection.
            with suppress(SecretUnresolved):
                environment[_variable(name)] = value(connection.password, f"connections.{name}.password")
    metastore = Metastore(settings.catalog.kind, settings.catalog.warehouse, settings.catalog.uri)
    return Catalogs({**properties, **lake(settings, metastore, value, environment, hdfs), **_generated()}, environment)


def lake(
    settings: Settings, metastore: Metastore, value: Value, environment: dict[str, str], hdfs: Hdfs | None = None
) -> dict[str, Mapping[str, str]]:
    """The catalogs `iceberg` and `hive` on one metastore; adds the variables that they need to `environment`."""
    storage = _storage(settings, value, environment)
    tables = _metastore(settings, metastore, value)
    iceberg = {
        "connector.name": "iceberg",
        "iceberg.catalog.type": "glue" if metastore.kind == "glue" else "hive_metastore",
        **tables,
        "iceberg.file-format": "PARQUET",
        "iceberg.hive-catalog-name": HIVE_CATALOG,
        "iceberg.register-table-procedure.enabled": "true",
        **storage,
    }
    hive = {
        "connector.name": "hive",
        "hive.metastore": "glue" if metastore.kind == "glue" else "thrift",
        **tables,
        "hive.iceberg-catalog-name": LAKE_CATALOG,
        # A run writes to a folder that it names itself, and publishes by switching locations: nothing may be remembered.
        "hive.non-managed-table-writes-enabled": "true",
        "hive.metastore-cache-ttl": "0s",
        "hive.timestamp-precision": "MICROSECONDS",
        **storage,
        **_hdfs(hdfs),
    }
    return {LAKE_CATALOG: iceberg, HIVE_CATALOG: hive}


def _operational(name: str, connection: Connection, value: Value, environment: dict[str, str]) -> Mapping[str, str]:
    key = f"connections.{name}"
    kind: str = connection.kind
    host = value(connection.host, f"{key}.host")
    port = value(str(connection.port or DEFAULT_PORTS[kind]), f"{key}.port")
    user = value(connection.user, f"{key}.user") if connection.user else None
    credentials = {}
    if connection.password:
        variable = _variable(name)
        environment[variable] = value(connection.password, f"{key}.password")
        credentials = {"password": f"${{ENV:{variable}}}"}
    if kind == "opensearch":
        return {
            "connector.name": "opensearch",
            "opensearch.host": host,
            "opensearch.port": port,
            "opensearch.default-schema-name": "default",
            # A single node in front of which nothing balances: it publishes an address that only itself may know.
            "opensearch.ignore-publish-address": "true",
            **({"opensearch.security": "PASSWORD", "opensearch.auth.user": user or ""} if credentials else {}),
            **{f"opensearch.auth.{option}": text for option, text in credentials.items()},
        }
    # Trino's schemas are MySQL's databases, so its URL names none (Trino, MySQL connector).
    database = f"/{connection.database}" if kind == "postgresql" else ""
    options = f"?{urlencode(connection.options)}" if connection.options else ""
    return {
        "connector.name": kind,
        "connection-url": f"jdbc:{kind}://{host}:{port}{database}{options}",
        "connection-user": user or "",
        **{f"connection-{option}": text for option, text in credentials.items()},
    }


def _variable(connection: str) -> str:
    return f"EMRJOBS_TRINO_{connection.upper()}_PASSWORD"


def _metastore(settings: Settings, metastore: Metastore, value: Value) -> dict[str, str]:
    if metastore.kind == "hive":
        return {"hive.metastore.uri": value(metastore.uri or "", "catalog.uri")}
    aws = settings.aws
    properties = {"hive.metastore.glue.region": aws.region, "hive.metastore.glue.default-warehouse-dir": metastore.warehouse}
    if aws.endpoint_url:
        properties["hive.metastore.glue.endpoint-url"] = value(aws.endpoint_url, "aws.endpoint_url")
    if aws.access_key_id and aws.secret_access_key:
        properties |= {
            "hive.metastore.glue.aws-access-key": f"${{ENV:{_ACCESS_KEY}}}",
            "hive.metastore.glue.aws-secret-key": f"${{ENV:{_SECRET_KEY}}}",
        }
    return properties


def _storage(settings: Settings, value: Value, environment: dict[str, str]) -> dict[str, str]:
    aws = settings.aws
    properties = {"fs.native-s3.enabled": "true", "s3.region": aws.region}
    if aws.s3_endpoint_url:
        properties |= {"s3.endpoint": value(aws.s3_endpoint_url, "aws.s3_endpoint_url"), "s3.path-style-access": "true"}
    if aws.access_key_id and aws.secret_access_key:
        environment[_ACCESS_KEY] = value(aws.access_key_id, "aws.access_key_id")
        environment[_SECRET_KEY] = value(aws.secret_access_key, "aws.secret_access_key")
        properties |= {"s3.aws-access-key": f"${{ENV:{_ACCESS_KEY}}}", "s3.aws-secret-key": f"${{ENV:{_SECRET_KEY}}}"}
    return properties


def _hdfs(hdfs: Hdfs | None) -> dict[str, str]:
    if hdfs is None or hdfs.core_site is None:
        return {}
    return {"fs.hadoop.enabled": "true", "hive.config.resources": hdfs.core_site}


def _generated() -> dict[str, Mapping[str, str]]:
    return {"tpch": {"connector.name": "tpch"}, "memory": {"connector.name": "memory"}}


def text(properties: Mapping[str, str]) -> str:
    """A Java properties file; a backslash begins an escape there."""
    return "".join(f"{key}={value.replace(chr(92), chr(92) * 2)}\n" for key, value in properties.items())
