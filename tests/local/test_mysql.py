"""The `mysql` service: how its server is started, and where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import attempt

from framework.errors import DownloadFailed
from framework.local import SERVICES, mysql
from framework.local.service import Context


def test_the_server_listens_on_this_machine_only_and_its_arguments_hold_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql, "ensure_server", lambda tell: Path("/mariadb"))
    service = SERVICES["mysql"]({})
    ctx = Context(tmp_path, tmp_path / "data", tmp_path, lambda key: "hunter2", {"mysql": 13306})
    argv = list(service.launch(ctx).argv)
    assert argv[:2] == ["/mariadb/bin/mariadbd", "--no-defaults"]
    assert {"--bind-address=127.0.0.1", "--port=13306", f"--datadir={tmp_path / 'data/files'}"} <= set(argv)
    assert "hunter2" not in " ".join(argv) + repr(service.endpoint(ctx))
    assert service.endpoint(ctx)["password"] == "hunter2"


def test_a_machine_that_no_server_is_built_for_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    error = attempt(lambda: SERVICES["mysql"]({}).prepare(Context(tmp_path, tmp_path, tmp_path, str)))
    assert isinstance(error, DownloadFailed)
    assert "riscv64" in error.message
    assert error.fix == "point the connection at a MySQL or MariaDB server of your own: host, port, user, password"
