"""A cluster that configures Trino has a Trino server of its own, with its own catalogs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from framework.errors import UserError
from framework.local.aws.emr.execution import trino_of_cluster
from framework.local.aws.emr.execution.node import Node

from .builders import node, step
from .conftest import Cluster

ENDPOINT = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}


def with_catalogs(root: Path, **texts: str) -> Node:
    one = node(root, applications=frozenset({"hadoop", "trino"}))
    folder = one.conf("trino") / "catalog"
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / f"{name}.properties").write_text(text)
    return one


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_a_cluster_that_configures_nothing_of_trino_has_no_server_of_its_own(tmp_path: Path) -> None:
    assert not trino_of_cluster.is_configured(node(tmp_path))
    assert trino_of_cluster.is_configured(with_catalogs(tmp_path, memory=""))


def test_a_lake_catalog_is_on_glue_and_s3_of_the_local_endpoint_unless_it_says_otherwise(tmp_path: Path) -> None:
    one = with_catalogs(tmp_path, hive="hive.metastore-cache-ttl=0s\n", iceberg="hive.metastore.uri=thrift://h:1\ns3.endpoint=http://x\n")
    found = {name: properties(text) for name, text in trino_of_cluster.catalogs(one, ENDPOINT).items()}
    assert (
        found["hive.properties"].items()
        >= {
            "connector.name": "hive",
            "hive.metastore": "glue",
            "hive.metastore.glue.endpoint-url": "http://127.0.0.1:1",
            "s3.endpoint": "http://127.0.0.1:1",
            "hive.metastore-cache-ttl": "0s",
        }.items()
    )
    assert found["iceberg.properties"]["iceberg.catalog.type"] == "hive_metastore"
    assert found["iceberg.properties"]["s3.endpoint"] == "http://x"
    assert "hive.metastore.glue.region" not in found["iceberg.properties"]
    assert not [key for text in found.values() for key in text if "secret" in key]


def test_a_connector_that_the_local_server_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trino-connector-redshift: the local Trino has no connector 'redshift'"):
        trino_of_cluster.catalogs(with_catalogs(tmp_path, redshift="connection-url=jdbc:redshift://h\n"), ENDPOINT)


def configurations() -> list[dict[str, Any]]:
    return [
        {"Classification": "trino-config", "Properties": {"query.max-execution-time": "77m", "query.max-memory-per-node": "40GB"}},
        {
            "Classification": "trino-connector-iceberg",
            "Properties": {"hive.metastore.glue.default-warehouse-dir": "s3://bucket/trino-lake"},
        },
        {"Classification": "trino-connector-memory", "Properties": {"memory.max-data-per-node": "8MB"}},
    ]


@pytest.mark.services
@pytest.mark.slow
def test_statements_of_a_cluster_run_on_its_own_catalogs_and_its_server_ends_with_it(cluster: Cluster) -> None:
    cluster.spec = type(cluster.spec)(**{**vars(cluster.spec), "applications": ["Trino"], "configurations": configurations()})
    cluster.executor.prepare(cluster.spec)
    make = "CREATE SCHEMA iceberg.lake; CREATE TABLE iceberg.lake.t AS SELECT 42 AS n; CREATE TABLE memory.default.kept AS SELECT 7 AS n"
    outcome = cluster.run(step("trino-cli", "--execute", make))
    assert outcome.succeeded, cluster.log("s-1", "stderr")
    assert "these stay as the local node has them: query.max-memory-per-node" in cluster.log("s-1", "stderr")
    assert cluster.s3.list_objects_v2(Bucket="bucket", Prefix="trino-lake/")["KeyCount"] > 0
    # What is kept in the server's memory is still there: the second step meets the same server.
    look = "SHOW SESSION LIKE 'query_max_execution_time'; SELECT kept.n + t.n FROM memory.default.kept, iceberg.lake.t"
    assert cluster.run(step("trino-cli", "--execute", look, work_id="s-2")).succeeded, cluster.log("s-2", "stderr")
    said = cluster.log("s-2", "stdout")
    assert '"77.00m"' in said
    assert said.splitlines()[-1] == '"49"'
    servers = _servers(cluster)
    assert len(servers) == 1
    cluster.executor.release("j-1")
    _, alive = psutil.wait_procs(servers, timeout=30)
    assert not alive


def _servers(cluster: Cluster) -> list[psutil.Process]:
    place = str(cluster.root / "j-1/node/var/lib/trino")
    return [one for one in psutil.process_iter(["cmdline"]) if any(place in word for word in one.info["cmdline"] or ())]
