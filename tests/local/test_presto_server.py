"""Presto's configuration; the server itself is started by `make test-presto` only."""

from __future__ import annotations

import json
from pathlib import Path

from framework.local import presto_server
from framework.local.presto_server import Presto

TPCH = {"tpch": {"connector.name": "tpch"}}
OPS = {"ops": {"connector.name": "postgresql", "connection-url": "jdbc:postgresql://h/d"}}


def test_its_files_are_written_anew_and_it_listens_where_it_is_told(tmp_path: Path) -> None:
    presto_server.write_etc(tmp_path / "etc", 8123, {"old.properties": "connector.name=tpch\n"})
    presto_server.write_etc(tmp_path / "etc", 8124, {"tpch.properties": "connector.name=tpch\n"})
    config = (tmp_path / "etc" / "config.properties").read_text(encoding="utf-8").splitlines()
    assert {"coordinator=true", "http-server.http.port=8124", "discovery.uri=http://127.0.0.1:8124"} <= set(config)
    assert [file.name for file in (tmp_path / "etc" / "catalog").iterdir()] == ["tpch.properties"]


def test_catalogs_of_earlier_statements_stay_so_that_statements_in_turn_do_not_restart_it(tmp_path: Path) -> None:
    assert presto_server.with_recorded(tmp_path, OPS) == OPS
    (tmp_path / "catalogs.json").write_text(json.dumps({**TPCH, **OPS}), encoding="utf-8")
    both = presto_server.with_recorded(tmp_path, TPCH)
    assert both == {**TPCH, **OPS}
    changed = {"ops": {**OPS["ops"], "connection-url": "jdbc:postgresql://other/d"}}
    assert presto_server.with_recorded(tmp_path, changed) == {**TPCH, **changed}
    assert Presto({"catalogs": both}).fingerprint() == Presto({"catalogs": {**OPS, **TPCH}}).fingerprint()
    assert Presto({"catalogs": both}).fingerprint() != Presto({"catalogs": {**both, **changed}}).fingerprint()
