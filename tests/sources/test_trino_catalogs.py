from __future__ import annotations

import pytest
from builders import attempt

from framework.config.model import Aws, Catalog, Connection, Settings
from framework.errors import ConfigError, SecretUnresolved
from framework.local.trino_server import Trino
from framework.sources import trino_catalogs
from framework.sources.hdfs import Hdfs
from framework.sources.trino_catalogs import Metastore


def settings(**connections: Connection) -> Settings:
    return Settings(state="s3://state", catalog=Catalog(warehouse="s3://warehouse"), connections=connections, aws=Aws())


def database(**given: object) -> Connection:
    plain = {"kind": "postgresql", "host": "db.example.internal", "database": "ops", "user": "reader", "password": "${env:OPS}"}
    return Connection.model_validate({**plain, **given})


def as_is(value: str, key: str) -> str:
    return value


def test_a_password_is_only_in_the_servers_environment() -> None:
    found = trino_catalogs.render(settings(ops=database()), lambda value, key: "hunter2" if "env:" in value else value)
    assert "connection-password=${ENV:EMRJOBS_TRINO_OPS_PASSWORD}\n" in found.files()["ops.properties"]
    assert found.environment == {"EMRJOBS_TRINO_OPS_PASSWORD": "hunter2"}
    assert "hunter2" not in repr(found) + "".join(found.files().values())


def test_mysqls_url_names_no_database_because_its_databases_are_trinos_schemas() -> None:
    found = trino_catalogs.render(settings(shop=database(kind="mysql", options={"useSSL": "true"})), as_is)
    assert "connection-url=jdbc:mysql://db.example.internal:3306?useSSL=true\n" in found.files()["shop.properties"]


def test_the_lake_lies_on_a_hive_metastore_where_there_is_one() -> None:
    found = trino_catalogs.lake(settings(), Metastore("hive", "s3://warehouse", "thrift://meta:9083"), as_is, {})
    assert found["iceberg"]["iceberg.catalog.type"] == "hive_metastore"
    assert found["hive"]["hive.metastore"] == "thrift"
    assert {one["hive.metastore.uri"] for one in found.values()} == {"thrift://meta:9083"}
    assert not [key for one in found.values() for key in one if "glue" in key]


def test_hdfs_is_for_the_hive_layout_and_only_where_something_lies_there() -> None:
    hdfs = Hdfs("hdfs://nn:8020", "http://nn:9870", "/conf/core-site.xml")
    without, found = trino_catalogs.render(settings(), as_is), trino_catalogs.render(settings(), as_is, hdfs=hdfs)
    added = set(found.files()["hive.properties"].splitlines()) - set(without.files()["hive.properties"].splitlines())
    assert added == {"fs.hadoop.enabled=true", "hive.config.resources=/conf/core-site.xml"}
    assert found.files()["iceberg.properties"] == without.files()["iceberg.properties"]


def test_a_backslash_reaches_trino_as_one() -> None:
    found = trino_catalogs.render(settings(ops=database(user="DOMAIN\\etl")), as_is)
    assert "connection-user=DOMAIN\\\\etl\n" in found.files()["ops.properties"]


def test_a_connection_may_not_have_the_name_of_one_of_trinos_own_catalogs() -> None:
    problem = attempt(lambda: trino_catalogs.render(settings(hive=database()), as_is))
    assert isinstance(problem, ConfigError)
    assert str(problem) == "connections.hive: Trino has a catalog of that name already\n  fix: rename the connection"


def test_two_connections_of_one_kind_are_more_than_emr_configures() -> None:
    with pytest.raises(ConfigError, match="connections a and b are both postgresql"):
        trino_catalogs.render(settings(a=database(), b=database()), as_is).classifications()


def test_the_server_is_restarted_when_a_password_changes_and_not_when_a_catalog_does() -> None:
    def fingerprint(host: str, password: str, connections: tuple[str, ...]) -> str:
        given = settings(ops=database(host=host))
        catalogs = trino_catalogs.render(given, lambda value, key: password if "env:" in value else value, connections)
        return Trino({"catalogs": catalogs.properties, "environment": catalogs.environment}).fingerprint()

    before = fingerprint("one", "hunter2", ("ops",))
    assert fingerprint("two", "hunter2", ()) == before
    assert fingerprint("one", "hunter3", ("ops",)) != before


def test_a_connection_that_no_statement_names_is_neither_a_catalog_nor_asked_for_its_address() -> None:
    def value(text: str, key: str) -> str:
        assert not text.startswith("${local:"), "this would start a server"
        if "BROKEN" in text:
            raise SecretUnresolved("there is no such variable")
        return text

    local = {"host": "${local:postgres.host}", "port": "${local:postgres.port}"}
    given = settings(
        ops=database(**local), own=database(**local, password="${local:postgres.password}"), bad=database(password="${env:BROKEN}")
    )
    found = trino_catalogs.render(given, value, ())
    assert set(found.properties) == {"iceberg", "hive", "tpch", "memory"}
    assert found.environment == {"EMRJOBS_TRINO_OPS_PASSWORD": "${env:OPS}"}
