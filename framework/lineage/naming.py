"""Names of datasets in OpenLineage events (OpenLineage, Naming conventions).

The same dataset has the same name in every event, or a receiver draws two of it. So a service of this machine, whose port may
change, is named after its connection.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from openlineage.client.naming.dataset import S3, AWSGlue, MySQL, Postgres

from framework.config.model import DEFAULT_PORTS, Settings
from framework.lineage.graph import Dataset
from framework.sources.paths import split_s3


class Names:
    """Names of the datasets of one environment.

    Args:
        text: a setting with its references resolved, by value and key.
        account: id of the AWS account whose Glue catalog it is; asked once, when the first Glue table is named.
    """

    def __init__(self, settings: Settings, text: Callable[[str, str], str], account: Callable[[], str]) -> None:
        self._settings = settings
        self._text = text
        self._account = account

    def of(self, dataset: Dataset) -> tuple[str, str]:
        """(namespace, name).

        Raises:
            SecretUnresolved: an address is a reference that leads nowhere.
        """
        if dataset.kind == "path":
            return self._path(dataset.name)
        if dataset.kind == "table":
            database, table = dataset.name.split(".")
            return self._table(database, table)
        connection, schema, table = dataset.name.split(".")
        host, port = self._address(connection)
        if dataset.kind == "postgresql":
            postgres = Postgres(host, port, self._settings.connections[connection].database, schema, table)
            return postgres.get_namespace(), postgres.get_name()
        if dataset.kind == "mysql":
            mysql = MySQL(host, port, schema, table)
            return mysql.get_namespace(), mysql.get_name()
        return f"{dataset.kind}://{host}:{port}", table

    def _table(self, database: str, table: str) -> tuple[str, str]:
        catalog = self._settings.catalog
        if catalog.kind == "glue":
            glue = AWSGlue(self._settings.aws.region, self._account(), database, table)
            return glue.get_namespace(), glue.get_name()
        uri = catalog.uri or ""
        found = urlsplit("" if "${local:" in uri else self._text(uri, "catalog.uri").split(",")[0])
        return f"hive://{found.hostname or 'hive'}:{found.port or 9083}", f"{database}.{table}"

    def _address(self, name: str) -> tuple[str, str]:
        connection = self._settings.connections[name]
        port = str(connection.port or DEFAULT_PORTS[connection.kind])
        if "${local:" in connection.host:
            return name, str(DEFAULT_PORTS[connection.kind])
        return self._text(connection.host, f"connections.{name}.host"), self._text(port, f"connections.{name}.port")

    def _path(self, uri: str) -> tuple[str, str]:
        if uri.startswith("s3://"):
            bucket, key = split_s3(uri)
            s3 = S3(bucket, key or "/")
            return s3.get_namespace(), s3.get_name()
        parts = urlsplit(uri)
        if parts.scheme == "file":
            return "file", parts.path or "/"
        own = self._settings.hdfs.uri  # of hdfs:///path; unset: of whichever cluster the run is on
        named = own and "${local:" not in own and urlsplit(self._text(own, "hdfs.uri")).netloc
        return f"hdfs://{parts.netloc or named or 'hdfs'}", parts.path or "/"
