"""The Hive metastore as catalog: its settings, and what its refusals become. The metastore itself is in the conformance suite."""

from __future__ import annotations

import socket
import sys

import pytest
from builders import Project

from framework.aws import Aws
from framework.catalog import open_catalog
from framework.config import model
from framework.config.loader import load
from framework.config.references import Resolver
from framework.engines.spark import conf
from framework.errors import ConfigError, MissingExtra, ServiceUnavailable


def settings(uri: str = "thrift://metastore.example.internal:9083") -> model.Catalog:
    return model.Catalog(kind="hive", warehouse="s3://w", uri=uri)


@pytest.fixture
def aws() -> Aws:
    return Aws(model.Aws(), Resolver())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_metastore_without_an_address_is_refused(project: Project) -> None:
    with pytest.raises(ConfigError, match="kind hive needs the address of the metastore: uri: thrift://host:9083"):
        load(project.root, "embedded", overrides=["catalog.kind=hive"], variables={})


def test_the_warehouse_follows_the_kind_of_catalog(project: Project) -> None:
    project.write("configs/env/embedded.yaml", "catalog:\n  uri: thrift://m:9083\n  hive_warehouse: s3://w/hive\n")
    glue = load(project.root, "embedded", variables={}).settings.catalog
    hive = load(project.root, "embedded", overrides=["catalog.kind=hive"], variables={}).settings.catalog
    assert (glue.warehouse, hive.warehouse) == ("s3://warehouse", "s3://w/hive")


def test_a_metastore_that_does_not_answer_is_named(aws: Aws) -> None:
    port = free_port()
    catalog = open_catalog(settings(), aws, f"thrift://127.0.0.1:{port}")
    with pytest.raises(ServiceUnavailable, match=rf"look up table a\.b: the Hive metastore at 127\.0\.0\.1:{port} does not answer"):
        catalog.find("a.b")


@pytest.mark.parametrize("uri", ["http://host:9083", "thrift://", "thrift://host:port", "host:9083"])
def test_an_address_that_is_none_is_refused(uri: str, aws: Aws) -> None:
    with pytest.raises(ConfigError, match=r"is not the address of a Hive metastore"):
        open_catalog(settings(), aws, uri)


def test_a_missing_client_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> None:
    monkeypatch.delitem(sys.modules, "framework.catalog.hive", raising=False)
    monkeypatch.setitem(sys.modules, "thrift.transport.TSocket", None)
    with pytest.raises(MissingExtra) as caught:
        open_catalog(settings(), aws, "thrift://host:9083")
    assert caught.value.fix == "pip install 'emrjobs[hive]'"


def test_spark_finds_iceberg_tables_in_the_metastore(project: Project) -> None:
    project.write("configs/env/embedded.yaml", "catalog:\n  kind: hive\n  uri: thrift://m:9083\n")
    loaded = load(project.root, "embedded", variables={})
    aws = Aws(loaded.settings.aws, Resolver(root=project.root))
    derived = conf.derive(loaded.settings, aws, project="/p", metastore="thrift://m:9083")
    prefix = "spark.sql.catalog.spark_catalog"
    assert derived[f"{prefix}.catalog-impl"] == "org.apache.iceberg.hive.HiveCatalog"
    assert derived[f"{prefix}.uri"] == "thrift://m:9083"
    assert derived[f"{prefix}.io-impl"] == "org.apache.iceberg.aws.s3.S3FileIO"
    assert not [key for key in derived if "glue" in key.lower()]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("part IN (1, -10)", "(part = 1 OR part = -10)"),
        ("a >= 'x' AND part IN ('a, b', 'c)')", "a >= 'x' AND (part = 'a, b' OR part = 'c)')"),
        ("part = 'b'", "part = 'b'"),
    ],
)
def test_a_list_of_values_is_said_without_in(expression: str, expected: str) -> None:
    from framework.catalog.hive import _filter

    assert _filter(expression) == expected
