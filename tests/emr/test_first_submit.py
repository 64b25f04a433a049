"""What the page of the first submit tells people to run does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from clusters import PROJECT

from framework.config.loader import load
from framework.sources import trino_catalogs

PAGE = PROJECT / "docs" / "first-submit.md"


def command(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_the_bootstrap_action_gives_trino_the_catalog_that_the_configuration_says(tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    catalogs, programs = tmp_path / "catalog", tmp_path / "bin"
    programs.mkdir()
    secret = {"password": 'a "quoted" $HOME word'}
    command(programs, "aws", f"cat <<'END'\n{json.dumps(secret)}\nEND")
    command(programs, "sudo", 'exec "$@"')
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", script.replace("/etc/trino/conf/catalog", str(catalogs))], env=environment, check=True)

    settings = load(PROJECT, "prod", variables={}).settings
    wanted = trino_catalogs.render(settings, lambda text, key: text, {"airline_ops"}).properties["airline_ops"]
    lines = (catalogs / "airline_ops.properties").read_text(encoding="utf-8").splitlines()
    assert dict(line.split("=", 1) for line in lines) == {**wanted, "connection-password": secret["password"]}
