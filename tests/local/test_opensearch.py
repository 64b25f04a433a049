"""The `opensearch` service: how its node is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.local import SERVICES, artifacts
from framework.local.service import Context


def test_the_node_gets_its_ports_and_folder_and_no_address_but_this_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "ensure_jdk", lambda major, tell: Path(f"/jdk{major}"))
    monkeypatch.setattr(artifacts, "ensure_jars", lambda group, tell: [Path(f"/{group}/a.jar"), Path(f"/{group}/b.jar")])
    service = SERVICES["opensearch"]({})
    ctx = Context(tmp_path, tmp_path / "data", tmp_path, str, {"http": 19200, "transport": 19300})
    argv = list(service.launch(ctx).argv)
    assert argv[0] == "/jdk17/bin/java"
    assert argv[argv.index("-cp") + 1] == "/opensearch/a.jar:/opensearch/b.jar"
    assert argv[-4:] == ["127.0.0.1", "19200", "19300", str(tmp_path / "data")]
    assert dict(service.endpoint(ctx).values) == {"url": "http://127.0.0.1:19200", "host": "127.0.0.1", "port": "19200"}
