"""Where a Trino job finds the coordinator of the cluster that it runs on."""

from __future__ import annotations

from pathlib import Path

from framework.platform import emr_trino


def test_a_driver_on_any_node_asks_the_primary_one(tmp_path: Path) -> None:
    info = tmp_path / "job-flow.json"
    info.write_text('{"jobFlowId": "j-1", "masterPrivateDnsName": "ip-10-0-0-1.ec2.internal"}')
    assert emr_trino(info) == "http://ip-10-0-0-1.ec2.internal:8889"
    assert emr_trino(tmp_path / "nothing.json") == "http://localhost:8889"
