"""The `hdfs` service: what it writes for its servers and for Hadoop's clients."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from framework.local import SERVICES, artifacts
from framework.local.hdfs import configuration
from framework.local.service import Context

PORTS = {"namenode": 18020, "namenode_http": 19870, "datanode": 19866, "datanode_http": 19864, "datanode_ipc": 19867}


def context(tmp_path: Path) -> Context:
    return Context(tmp_path, tmp_path / "data", tmp_path, str, PORTS)


def test_every_address_is_one_of_this_machine_and_a_port_of_its_own(tmp_path: Path) -> None:
    site = configuration(context(tmp_path))["hdfs-site.xml"]
    assert {value for name, value in site.items() if name.endswith("address")} == {f"127.0.0.1:{port}" for port in PORTS.values()}
    # Blocks have the size that Hadoop gives them.
    assert "dfs.blocksize" not in site


def test_clients_are_told_the_name_node_and_a_file_that_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "ensure_jdk", lambda major, tell: Path(f"/jdk{major}"))
    monkeypatch.setattr(artifacts, "ensure_jars", lambda group, tell: [Path(f"/{group}/a.jar")])
    service = SERVICES["hdfs"]({})
    argv = list(service.launch(context(tmp_path)).argv)
    assert argv[0] == "/jdk17/bin/java"
    assert argv[argv.index("-cp") + 1] == f"{tmp_path / 'conf'}:/hdfs/a.jar"
    endpoint = service.endpoint(context(tmp_path))
    assert (endpoint["uri"], endpoint["web"]) == ("hdfs://127.0.0.1:18020", "http://127.0.0.1:19870")
    told = {one.findtext("name"): one.findtext("value") for one in ElementTree.parse(endpoint["core_site"]).iter("property")}
    assert told == {"fs.defaultFS": "hdfs://127.0.0.1:18020", "dfs.replication": "1"}
