"""The Trino server of one cluster: started by the first statement of a cluster that configures Trino, ended with the cluster.

Its configuration is what the classifications `trino-config`, `trino-log` and `trino-connector-*` say, laid over what a local server
needs: S3 and Glue of the local endpoint, and the catalog `tpch`, by which it is seen to be ready.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from framework.errors import MissingExtra, ServiceUnavailable, UserError
from framework.local import ports, query_server, trino_server
from framework.local.aws.emr.execution import daemons
from framework.local.aws.emr.execution.node import Node
from framework.local.aws.emr.execution.workspace import ClusterFolder
from framework.local.service import HOST, PortSpec

_NAME = "trino"
_HEAP = "1g"
_PATIENCE = 300.0  # seconds for the start of a server; half a minute is usual
# What the unpacked server has plugins for, by connector.
_CONNECTORS = frozenset({"hive", "iceberg", "postgresql", "mysql", "opensearch", "memory", "tpch"})
_LAKE = frozenset({"hive", "iceberg"})
# How the servers of a cluster reach each other, and memory that is reckoned for EC2's instances: a local server has its own.
_OWN = re.compile(r"http-server\.|discovery\.|node\.|node-scheduler\.include-coordinator$|coordinator$|plugin\.dir$|catalog\.")
_MEMORY = re.compile(r"(query\.max(-total)?-memory-per-node|memory\.heap-headroom-per-node)$")
_START = 'if [ -f "$0" ]; then . "$0"; fi; exec "$@"'
_PROBLEM = re.compile(r"^\d+\) (?:Error: )?(.*)$")


def is_configured(node: Node) -> bool:
    """Whether the cluster has a classification for Trino."""
    conf = node.conf("trino")
    return (conf / "config.properties").exists() or any((conf / "catalog").glob("*.properties"))


def ensure(node: Node) -> tuple[str, int]:
    """Start the cluster's server unless it runs; returns its host and port once it takes statements.

    Raises:
        UserError: a catalog needs a connector that the local server does not have.
        ServiceUnavailable: the server did not start; says what it objects to.
    """
    from filelock import FileLock

    cluster = ClusterFolder(node.root.parent)
    with FileLock(cluster.path / "trino.lock"):
        known = daemons.facts(cluster, _NAME)
        if known is not None:
            return HOST, int(known["port"])
        return HOST, _start(node, cluster)


def _start(node: Node, cluster: ClusterFolder) -> int:
    home = node.root / "var/lib/trino"
    home.mkdir(parents=True, exist_ok=True)
    texts = catalogs(node, os.environ)
    try:
        trino_server.PROGRAM.ensure(_tell)
        port = ports.choose([PortSpec("http")], {}, ())["http"]
        levels = _read(node.conf("trino") / "log.properties")
        trino_server.write_etc(home / "etc", port, catalogs=texts, config=_config(node), levels=levels)
        # A shell reads trino-env.sh, whose variables catalogs may refer to, and then becomes the server.
        exports = str(node.conf("trino") / "trino-env.sh")
        argv = ["/bin/sh", "-c", _START, exports, *trino_server.PROGRAM.command(home / "etc", home, _HEAP, _tell)]
    except ModuleNotFoundError as exc:
        raise MissingExtra(f"Trino needs the package {exc.name!r}, which is not installed", fix="pip install 'emrjobs[local]'") from exc
    _tell(f"starting the cluster's own Trino with the catalogs {', '.join(sorted(Path(name).stem for name in texts))}")
    log = home / "server.log"
    env = {name: value for name, value in os.environ.items() if name != "EMR_STEP_ID"}
    with log.open("wb") as out:
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=home, env=env, start_new_session=True)
    deadline = time.monotonic() + _PATIENCE
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise ServiceUnavailable(f"the cluster's Trino did not start: {'; '.join(_problems(log))}")
        time.sleep(0.5)  # another program's start, which nothing announces
    # From here on it belongs to the cluster; before, it ends with the step that waits for it.
    daemons.record(cluster, _NAME, server.pid, port=port)
    return port


def _answers(port: int) -> bool:
    import trino

    try:
        query_server.probe(port)
    except (OSError, trino.exceptions.Error, trino.exceptions.HttpError):
        return False
    return True


def _problems(log: Path) -> Sequence[str]:
    """What the server objects to, else the end of its log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [match.group(1) for line in lines if (match := _PROBLEM.match(line.strip()))]
    return found or [line.strip() for line in lines[-3:]] or ["it wrote nothing"]


def _config(node: Node) -> dict[str, str]:
    wanted = _read(node.conf("trino") / "config.properties")
    kept = {key: value for key, value in wanted.items() if not _OWN.match(key) and not _MEMORY.match(key)}
    if left := sorted(wanted.keys() - kept.keys()):
        _tell(f"of trino-config, these stay as the local node has them: {', '.join(left)}")
    return kept


def catalogs(node: Node, env: Mapping[str, str]) -> dict[str, str]:
    """Text of each catalog file, by its name.

    Args:
        env: of the step: says where S3 and Glue are. Keys stay there, where the AWS SDK finds them.

    Raises:
        UserError: a connector that the local server does not have.
    """
    found = {"tpch.properties": {"connector.name": "tpch"}}
    for file in sorted((node.conf("trino") / "catalog").glob("*.properties")):
        given = _read(file)
        connector = given.get("connector.name", file.stem)
        if connector not in _CONNECTORS:
            raise UserError(
                f"trino-connector-{file.stem}: the local Trino has no connector {connector!r}",
                fix=f"it has {', '.join(sorted(_CONNECTORS))}",
            )
        base = {"connector.name": connector, **(_lake(connector, given, node.region, env) if connector in _LAKE else {})}
        found[file.name] = {**base, **given}
    return {name: "".join(f"{key}={value}\n" for key, value in properties.items()) for name, properties in found.items()}


def _lake(connector: str, given: Mapping[str, str], region: str, env: Mapping[str, str]) -> dict[str, str]:
    """S3 as this machine has it; Glue where the classification names no other metastore, as the cluster has no Hive of its own."""
    url = env.get("AWS_ENDPOINT_URL")
    base: dict[str, str] = {}
    if given.get("fs.hadoop.enabled") != "true":
        base |= {"fs.native-s3.enabled": "true", "s3.region": region}
        if s3 := env.get("AWS_ENDPOINT_URL_S3") or url:
            base |= {"s3.endpoint": s3, "s3.path-style-access": "true"}
    key, other = ("hive.metastore", "thrift") if connector == "hive" else ("iceberg.catalog.type", "hive_metastore")
    chosen = given.get(key) or (other if "hive.metastore.uri" in given else "glue")
    base[key] = chosen
    if chosen == "glue":
        base["hive.metastore.glue.region"] = region
        if url:
            base["hive.metastore.glue.endpoint-url"] = url
    return base


def _read(file: Path) -> dict[str, str]:
    """A Java properties file as `configuration` writes it: the values stay escaped."""
    if not file.exists():
        return {}
    pairs = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines())
    return {key: value for key, equals, value in pairs if equals}


def _tell(text: str, done: int | None = None, total: int | None = None) -> None:
    if done in (None, 0, total):
        sys.stderr.write(f"local node: {text}\n")
        sys.stderr.flush()
