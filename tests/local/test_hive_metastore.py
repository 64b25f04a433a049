"""The `hive` service: what it writes for its server."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from framework.local import SERVICES
from framework.local.hive_metastore import configuration
from framework.local.service import Context, Endpoint, hadoop_xml

S3 = Endpoint(
    "s3", {"url": "http://127.0.0.1:8333", "region": "us-east-1", "access_key": "AK", "secret_key": "a<b&c"}, frozenset({"secret_key"})
)
POSTGRES = Endpoint("postgres", {"host": "127.0.0.1", "port": "5432"})


def context(tmp_path: Path) -> Context:
    return Context(tmp_path, tmp_path / "data", tmp_path, lambda key: f"secret-{key}", {"thrift": 19083}, {"s3": S3, "postgres": POSTGRES})


def test_the_metastore_keeps_its_tables_in_a_database_of_its_own_and_reaches_s3(tmp_path: Path) -> None:
    files = configuration(context(tmp_path))
    site, core = files["metastore-site.xml"], files["core-site.xml"]
    assert site["javax.jdo.option.ConnectionURL"] == "jdbc:postgresql://127.0.0.1:5432/hive_metastore"
    assert site["javax.jdo.option.ConnectionPassword"] == "secret-password"
    assert (core["fs.s3a.endpoint"], core["fs.s3a.secret.key"]) == ("http://127.0.0.1:8333", "a<b&c")


def test_a_value_with_markup_survives_the_configuration_file() -> None:
    parsed = ElementTree.fromstring(hadoop_xml({"fs.s3a.secret.key": "a<b&c"}))
    assert parsed.findtext("property/value") == "a<b&c"


def test_clients_are_told_a_thrift_address(tmp_path: Path) -> None:
    service = SERVICES["hive"]({})
    assert service.needs == ("s3", "postgres")
    assert service.endpoint(context(tmp_path))["uri"] == "thrift://127.0.0.1:19083"
