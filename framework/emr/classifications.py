"""Configuration classifications, derived from catalog, connections, metastore and release; the preset's own win."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.config.model import Connection
from framework.emr.cluster import Cluster

Properties = dict[str, dict[str, str]]

_GLUE_FACTORY = "com.amazonaws.glue.catalog.metastore.AWSGlueDataCatalogHiveClientFactory"
# EMR reads the value on the cluster: Management Guide, Store sensitive configuration data in AWS Secrets Manager.
_SECRET = "EMR.secret@"
_DRIVERS = {"mysql": "org.mariadb.jdbc.Driver", "mariadb": "org.mariadb.jdbc.Driver", "postgresql": "org.postgresql.Driver"}


def derive(cluster: Cluster) -> list[dict[str, Any]]:
    """The cluster's classifications as RunJobFlow takes them, sorted by name. Holds no secret, only where EMR finds one."""
    found: Properties = {}
    for part in (_catalog(cluster), _iceberg(cluster), _spark(cluster), _trino(cluster), cluster.spec.classifications):
        for name, properties in part.items():
            found.setdefault(name, {}).update(properties)
    return [{"Classification": name, "Properties": dict(sorted(found[name].items()))} for name in sorted(found)]


def secret_reference(reference: str) -> str | None:
    """`${secretsmanager:NAME}` as EMR's own annotation; None where EMR cannot read it (a key of a JSON secret, another store)."""
    inner = reference.removeprefix("${").removesuffix("}")
    kind, _, name = inner.partition(":")
    return f"{_SECRET}{name}" if kind == "secretsmanager" and "#" not in name else None


def _catalog(cluster: Cluster) -> Properties:
    metastore = cluster.spec.metastore
    if metastore is None:
        site = {"hive.metastore.client.factory.class": _GLUE_FACTORY}
        return {"spark-hive-site": site} | ({"hive-site": dict(site)} if "Hive" in cluster.applications else {})
    database = metastore.url.split(":")[1]
    return {
        "hive-site": {
            "javax.jdo.option.ConnectionURL": metastore.url,
            "javax.jdo.option.ConnectionDriverName": _DRIVERS[database],
            "javax.jdo.option.ConnectionUserName": metastore.user,
            "javax.jdo.option.ConnectionPassword": str(secret_reference(metastore.password)),
        }
    }


def _iceberg(cluster: Cluster) -> Properties:
    return {"iceberg-defaults": {"iceberg.enabled": "true"}} if "Iceberg" in cluster.release.applications else {}


def _spark(cluster: Cluster) -> Properties:
    if "Spark" not in cluster.applications:
        return {}
    return {"spark-defaults": {"spark.sql.session.timeZone": "UTC"}}


def _trino(cluster: Cluster) -> Properties:
    if "Trino" not in cluster.applications:
        return {}
    if cluster.spec.metastore is None:
        found: Properties = {
            "trino-connector-hive": {"hive.metastore": "glue"},
            "trino-connector-iceberg": {"connector.name": "iceberg", "iceberg.catalog.type": "glue"},
        }
    else:
        found = {"trino-connector-hive": {"hive.metastore": "thrift"}}
    # EMR names the classification by the connector, so there is one database of a kind.
    for kind, connection in _first_of_each_kind(cluster.settings.connections).items():
        properties = _trino_connection(connection)
        if properties:
            found[f"trino-connector-{kind}"] = properties
    return found


def _first_of_each_kind(connections: Mapping[str, Connection]) -> dict[str, Connection]:
    found: dict[str, Connection] = {}
    for name in sorted(connections):
        found.setdefault(connections[name].kind, connections[name])
    return found


def _trino_connection(connection: Connection) -> dict[str, str]:
    password = secret_reference(connection.password) if connection.password else None
    if password is None:
        return {}
    port = connection.port or {"postgresql": 5432, "mysql": 3306}[connection.kind]
    database = f"/{connection.database}" if connection.kind == "postgresql" else ""
    return {
        "connection-url": f"jdbc:{connection.kind}://{connection.host}:{port}{database}",
        "connection-user": connection.user,
        "connection-password": password,
    }
