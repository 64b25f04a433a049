"""Configuration classifications, derived from catalog, connections, metastore and release; the preset's own win."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.config.model import DEFAULT_PORTS, Aws, Connection
from framework.emr.cluster import Cluster
from framework.sources import trino_catalogs

Properties = dict[str, dict[str, str]]

_GLUE_FACTORY = "com.amazonaws.glue.catalog.metastore.AWSGlueDataCatalogHiveClientFactory"
# Before a property's name: its value is the ARN of a secret, which EMR reads (Release Guide, "Store sensitive configuration data in
# AWS Secrets Manager").
_SECRET = "EMR.secret@"
_STORAGE = ("fs.", "s3.")  # EMR's Trino has a file system of its own
_DRIVERS = {"mysql": "org.mariadb.jdbc.Driver", "mariadb": "org.mariadb.jdbc.Driver", "postgresql": "org.postgresql.Driver"}


def derive(cluster: Cluster) -> list[dict[str, Any]]:
    """The cluster's classifications as RunJobFlow takes them, sorted by name. Holds no secret, only where EMR finds one."""
    found: Properties = {}
    for part in (_catalog(cluster), _iceberg(cluster), _spark(cluster), _trino(cluster), cluster.spec.classifications):
        for name, properties in part.items():
            found.setdefault(name, {}).update(properties)
    return [{"Classification": name, "Properties": dict(sorted(found[name].items()))} for name in sorted(found)]


def secret_property(name: str, reference: str) -> dict[str, str]:
    """A property that is `${secretsmanager:ARN}`, in EMR's own annotation.

    Empty where EMR cannot read it: a secret by its name, a key of a JSON secret, another store.
    """
    inner = reference.removeprefix("${").removesuffix("}")
    kind, _, arn = inner.partition(":")
    return {f"{_SECRET}{name}": arn} if kind == "secretsmanager" and arn.startswith("arn:") and "#" not in arn else {}


def _catalog(cluster: Cluster) -> Properties:
    metastore, catalog = cluster.spec.metastore, cluster.settings.catalog
    if metastore is None and catalog.kind == "hive":
        # A metastore that somebody runs already: Release Guide, Use an external MySQL database or Amazon Aurora; Spark's own file.
        site = {"hive.metastore.uris": str(catalog.uri)}
        return {"spark-hive-site": site} | ({"hive-site": dict(site)} if "Hive" in cluster.applications else {})
    if metastore is None:
        site = {"hive.metastore.client.factory.class": _GLUE_FACTORY}
        return {"spark-hive-site": site} | ({"hive-site": dict(site)} if "Hive" in cluster.applications else {})
    database = metastore.url.split(":")[1]
    return {
        "hive-site": {
            "javax.jdo.option.ConnectionURL": metastore.url,
            "javax.jdo.option.ConnectionDriverName": _DRIVERS[database],
            "javax.jdo.option.ConnectionUserName": metastore.user,
            **secret_property("javax.jdo.option.ConnectionPassword", metastore.password),
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
    found: Properties = {f"trino-connector-{name}": properties for name, properties in _lake(cluster).items()}
    # EMR names the classification by the connector, so there is one database of a kind.
    for kind, connection in _first_of_each_kind(cluster.settings.connections).items():
        properties = _trino_connection(connection)
        if properties:
            found[f"trino-connector-{kind}"] = properties
    return found


def _lake(cluster: Cluster) -> Mapping[str, dict[str, str]]:
    """The catalogs `iceberg` and `hive` as Trino jobs need them; how S3 and Glue are reached is the cluster's own business."""
    settings = cluster.settings
    if cluster.spec.metastore is not None:
        # Its service runs on the primary node, where EMR's own file for the connector points.
        return {"hive": {"hive.metastore": "thrift"}}
    metastore = trino_catalogs.Metastore(settings.catalog.kind, settings.catalog.warehouse, settings.catalog.uri)
    here = settings.model_copy(update={"aws": Aws(region=settings.aws.region)})
    rendered = trino_catalogs.lake(here, metastore, lambda text, key: text, {})
    return {name: {key: text for key, text in one.items() if not key.startswith(_STORAGE)} for name, one in rendered.items()}


def _first_of_each_kind(connections: Mapping[str, Connection]) -> dict[str, Connection]:
    found: dict[str, Connection] = {}
    for name in sorted(connections):
        found.setdefault(connections[name].kind, connections[name])
    return found


def _trino_connection(connection: Connection) -> dict[str, str]:
    password = secret_property("connection-password", connection.password) if connection.password else {}
    if not password:
        return {}
    port = connection.port or DEFAULT_PORTS[connection.kind]
    database = f"/{connection.database}" if connection.kind == "postgresql" else ""
    return {
        "connection-url": f"jdbc:{connection.kind}://{connection.host}:{port}{database}",
        "connection-user": connection.user,
        **password,
    }
