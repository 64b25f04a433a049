from __future__ import annotations

from builders import attempt

from framework.config.model import Aws, Catalog, Connection, Settings
from framework.errors import ConfigError
from framework.sources import presto_catalogs


def settings(kind: str = "hive", **connections: Connection) -> Settings:
    catalog = Catalog.model_validate({"kind": kind, "warehouse": "s3://warehouse", "uri": "thrift://meta:9083"})
    aws = Aws(s3_endpoint_url="http://s3:1234", access_key_id="${env:S3_KEY}", secret_access_key="${env:S3_SECRET}")
    return Settings(state="s3://state", catalog=catalog, connections=connections, aws=aws)


def database(**given: object) -> Connection:
    plain = {"kind": "postgresql", "host": "db.example.internal", "database": "ops", "user": "reader", "password": "${env:OPS}"}
    return Connection.model_validate({**plain, **given})


def secret(value: str, key: str) -> str:
    return {"${env:OPS}": "hunter2", "${env:S3_KEY}": "KEY", "${env:S3_SECRET}": "hunter3"}.get(value, value)


def test_secrets_come_with_the_query_or_in_the_servers_environment_and_are_in_no_file() -> None:
    found, credentials = presto_catalogs.render(settings(ops=database()), secret, ["ops"])
    assert found.files()["ops.properties"] == (
        "connector.name=postgresql\n"
        "connection-url=jdbc:postgresql://db.example.internal:5432/ops\n"
        "user-credential-name=ops_user\n"
        "password-credential-name=ops_password\n"
    )
    assert credentials == {"ops_user": "reader", "ops_password": "hunter2"}
    assert found.environment == {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "hunter3"}
    assert "hunter" not in repr(found) + "".join(found.files().values())


def test_the_lake_is_two_catalogs_on_one_metastore() -> None:
    found, _ = presto_catalogs.render(settings(), secret, [])
    assert sorted(found.files()) == ["hive.properties", "iceberg.properties", "memory.properties", "tpch.properties"]
    s3 = "hive.s3.endpoint=http://s3:1234\nhive.s3.path-style-access=true\nhive.s3.ssl.enabled=false\n"
    on = f"hive.metastore.uri=thrift://meta:9083\n{s3}"
    assert found.files()["iceberg.properties"] == f"connector.name=iceberg\niceberg.catalog.type=HIVE\n{on}"
    assert found.files()["hive.properties"] == (
        f"connector.name=hive-hadoop2\n{on}"
        "hive.non-managed-table-writes-enabled=true\n"
        "hive.metastore-cache-ttl=0s\n"
        "hive.parquet.use-column-names=true\n"
        "hive.orc.use-column-names=true\n"
    )


def test_only_the_connections_that_are_named_are_catalogs_and_only_those_of_kinds_that_presto_has() -> None:
    given = settings(ops=database(), shop=database(kind="mysql"), search=Connection.model_validate({"kind": "opensearch", "host": "s"}))
    assert presto_catalogs.served(given) == {"ops", "shop"}
    found, credentials = presto_catalogs.render(given, secret, ["shop"])
    assert "connection-url=jdbc:mysql://db.example.internal:3306\n" in found.files()["shop.properties"]
    assert set(credentials) == {"shop_user", "shop_password"}
    refused = attempt(lambda: presto_catalogs.render(given, secret, ["search"]))
    assert isinstance(refused, ConfigError)
    assert refused.message == "connection search is opensearch, which engine presto does not read"


def test_glue_is_refused_with_what_to_do_instead() -> None:
    refused = attempt(lambda: presto_catalogs.render(settings("glue"), secret, []))
    assert isinstance(refused, ConfigError)
    assert str(refused) == (
        "engine presto reads the lake through a Hive metastore, and catalog.kind is glue\n"
        "  fix: run it with --set catalog.kind=hive (make run CATALOG=hive), or use `engine: trino` with `dialect: presto`"
    )
