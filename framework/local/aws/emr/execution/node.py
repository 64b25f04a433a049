"""A cluster's node on this machine: a folder with the files and commands that its steps find, and their environment.

Nothing is virtualised: programs run as this user on this machine. What steps reach through PATH and configuration is the
cluster's own; absolute paths of an EMR node in a step's arguments are led into the folder.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.local import artifacts
from framework.local.aws.emr.contract import ClusterSpec
from framework.local.aws.emr.execution import configuration, filesystem, sensitive
from framework.local.aws.emr.execution.workspace import ClusterFolder, read_json, write_json

PROJECT = "EMRJOBS_PROJECT"
"""Environment variable: the project whose local services a cluster's commands may use."""

# Paths of an EMR node that exist in the folder; anything else is the machine's own.
_OWN_PATHS = ("/usr/lib/", "/usr/bin/", "/usr/share/aws/", "/etc/", "/home/hadoop", "/mnt/", "/var/lib/aws/", "/opt/")

# Taken over from the environment of whoever started the endpoint: how this machine reaches the outside, never who it is there.
_PASSED = ("LANG", "LC_ALL", "TMPDIR", "EMRJOBS_MAVEN_URL", "EMRJOBS_JAVA_HOME_17")
_PASSED_PREFIXES = ("PIP_", "UV_")
_PASSED_SUFFIXES = ("_PROXY", "_proxy", "_CERT_FILE", "_CA_BUNDLE")

# Packages that Python on an EMR node has without anybody asking; the job's own win over them.
_PYTHON_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3", "numpy", "numpy.libs", "yaml", "_yaml")


@dataclass(frozen=True)
class Node:
    """What agents and commands need to know of their cluster; no secret is in it.

    Attributes:
        root: stands for `/`.
        applications: installed ones, lower case.
        java_home: of Java 17.
        jars: beside those of pyspark: S3A, Iceberg, ...; and the folder of the node's own classes.
        spark_home: pyspark's folder.
        python: the interpreter that emrjobs itself runs in; runs the commands, never a step's own code.
    """

    cluster: str
    release: str
    region: str
    root: Path
    hdfs: Path
    applications: frozenset[str]
    java_home: Path
    spark_home: Path
    jars: tuple[Path, ...]
    python: Path

    def path(self, text: str) -> str:
        """An absolute path of an EMR node, led into the folder where it is there; every other text as it is."""
        if text.startswith(_OWN_PATHS):
            own = self.root / text.lstrip("/")
            if os.path.lexists(own) or text.startswith(("/home/hadoop", "/mnt/")):
                return str(own)
            if text.endswith(".jar"):
                return str(self._jar(Path(text).stem) or text)
        return text

    def _jar(self, name: str) -> Path | None:
        """The jar that an EMR node has without version in its name (`spark-avro.jar`)."""
        jars = (*self.jars, *(self.spark_home / "jars").glob(f"{name}*.jar"))
        return next((jar for jar in jars if re.match(rf"{re.escape(name)}[-_.]", jar.name)), None)

    def conf(self, name: str) -> Path:
        return self.root / "etc" / name / "conf"

    def save(self, folder: ClusterFolder) -> None:
        value = {**vars(self), "applications": sorted(self.applications), "jars": [str(jar) for jar in self.jars]}
        write_json(folder.path / "node.json", {key: str(item) if isinstance(item, Path) else item for key, item in value.items()})

    @classmethod
    def load(cls, folder: ClusterFolder) -> Node | None:
        """The node as `save` left it; None when the cluster was never prepared."""
        raw = read_json(folder.path / "node.json")
        if raw is None:
            return None
        paths = {key: Path(raw[key]) for key in ("root", "hdfs", "java_home", "spark_home", "python")}
        return cls(**{**raw, **paths, "applications": frozenset(raw["applications"]), "jars": tuple(map(Path, raw["jars"]))})


def build(folder: ClusterFolder, cluster: ClusterSpec, *, java_home: Path, jars: Sequence[Path]) -> Node:
    """Make the node's folder; safe to repeat after a crash in the middle."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pyspark", name="pyspark")
    spark_home = Path(spec.origin).parent
    node = Node(
        cluster=cluster.id,
        release=cluster.release,
        region=cluster.region,
        root=folder.node.absolute(),
        hdfs=folder.hdfs.absolute(),
        applications=configuration.installed(cluster.applications),
        java_home=java_home,
        spark_home=spark_home,
        jars=(*jars, filesystem.ensure_classes(java_home, spark_home)),
        python=Path(sys.executable),
    )
    for name in ("usr/bin", "usr/lib", "home/hadoop", "mnt/tmp", "mnt/var/log", "usr/share/aws/iceberg/lib", "usr/share/aws/hmclient/lib"):
        (node.root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "user/hadoop", "user/hive/warehouse"):
        (node.hdfs / name).mkdir(parents=True, exist_ok=True)
    _write_configuration(node, cluster)
    _install_python(node)
    _install_commands(node)
    _link(node.root / "usr/lib/jvm/java-17", java_home)
    if "spark" in node.applications:
        _link(node.root / "usr/lib/spark", node.spark_home)
    for jar in jars:
        if jar.name.startswith("iceberg-spark-runtime"):
            _link(node.root / "usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar", jar)
    node.save(folder)
    return node


def _write_configuration(node: Node, cluster: ClusterSpec) -> None:
    from framework.local.aws.emr.execution.defaults import defaults

    wanted = configuration.merge(sensitive.resolved(cluster))
    merged = configuration.layered(defaults(node, cluster, wanted), wanted)
    for name, text in configuration.files(merged).items():
        target = node.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _install_python(node: Node) -> None:
    """A Python of the cluster's own, so that a bootstrap action's `pip3 install` reaches no other; made without copying anything."""
    import venv

    home = node.root / "usr/lib/python3"
    if not (home / "bin/python3").exists():
        venv.EnvBuilder(symlinks=True).create(home)
    site = next(home.glob("lib/python3*/site-packages"))
    shared = node.root / "usr/lib/python-packages"
    shared.mkdir(exist_ok=True)
    for name in _PYTHON_PACKAGES:
        found = importlib.util.find_spec(name.removesuffix(".py").partition(".")[0])
        if found is not None and found.origin is not None:
            origin = Path(found.origin)
            source = origin if name.endswith(".py") else (origin.parent if "." not in name else origin.parent.parent / name)
            if source.exists():
                _link(shared / name, source)
    # pip runs from the wheel that Python itself brings.
    wheels = [str(wheel) for wheel in _pip_wheels()]
    (site / "emr-node.pth").write_text("".join(f"{line}\n" for line in (*wheels, shared)), encoding="utf-8")
    for name in ("python3", "python", f"python3.{sys.version_info.minor}"):
        _script(node, name, f'exec {shlex.quote(str(home / "bin/python3"))} "$@"')
    for name in ("pip", "pip3"):
        _script(node, name, f'exec {shlex.quote(str(home / "bin/python3"))} -m pip "$@"')


def _pip_wheels() -> list[Path]:
    spec = importlib.util.find_spec("ensurepip")
    bundled = Path(spec.origin).parent / "_bundled" if spec is not None and spec.origin is not None else Path("/nonexistent")
    return sorted([*bundled.glob("pip-*.whl"), *Path("/usr/share/python-wheels").glob("pip-*.whl")])[:1]


def _install_commands(node: Node) -> None:
    from framework.local.aws.emr.execution.commands import COMMANDS

    command = shlex.join([str(node.python), "-I", "-m", "framework.local.aws.emr.execution.commands"])
    for name, entry in COMMANDS.items():
        if entry.application in node.applications:
            _script(node, name, f'exec {command} {shlex.quote(str(node.root.parent))} {name} "$@"')
    # A node's hadoop user may do everything; here nobody needs to be more than the user that runs the endpoint.
    _script(node, "sudo", 'while [ "${1#-}" != "$1" ]; do case "$1" in -u|-g) shift;; esac; shift; done\nexec env "$@"')
    aws = shutil.which("aws")
    if aws is not None:
        _script(node, "aws", f'exec {shlex.quote(aws)} "$@"')
    for conf in ("spark", "hadoop"):
        node.conf(conf).mkdir(parents=True, exist_ok=True)


def _script(node: Node, name: str, text: str) -> None:
    target = node.root / "usr/bin" / name
    if target.is_symlink():
        target.unlink()
    target.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    target.chmod(0o755)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def environment(node: Node, cluster: ClusterSpec, *, mark: str | None) -> dict[str, str]:
    """What every process of the cluster gets; holds credentials, so it goes from process to process and into no file.

    Args:
        mark: `EMRJOBS_SERVICE` of the processes, so that `emrjobs local down` finds them.
    """
    passed = {
        key: value
        for key, value in os.environ.items()
        if key in _PASSED or key.startswith(_PASSED_PREFIXES) or key.endswith(_PASSED_SUFFIXES)
    }
    own = {
        "PATH": os.pathsep.join([str(node.root / "usr/bin"), str(node.java_home / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(node.root / "home/hadoop"),
        "USER": "hadoop",
        "LOGNAME": "hadoop",
        "SHELL": "/bin/bash",
        "TZ": "UTC",
        "JAVA_HOME": str(node.java_home),
        # By default it lies in HOME, which is the cluster's here.
        "EMRJOBS_CACHE_DIR": str(artifacts.cache_dir()),
        "EMR_CLUSTER_ID": cluster.id,
        "EMR_RELEASE_LABEL": cluster.release,
        "AWS_REGION": cluster.region,
        "AWS_DEFAULT_REGION": cluster.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        **tools(node),
    }
    if (Path.cwd() / ".local/state").is_dir():  # the supervisor starts the endpoint in the project
        own[PROJECT] = str(Path.cwd())
    marked = {} if mark is None else {"EMRJOBS_SERVICE": mark}
    return {"LANG": "C.UTF-8", **passed, **own, **cluster.runtime, **marked}


def tools(node: Node) -> Mapping[str, str]:
    """Variables that lead Hadoop and Spark to the cluster's configuration and jars."""
    jars = os.pathsep.join(map(str, node.jars))
    return {
        "HADOOP_HOME": str(node.root / "usr/lib/hadoop"),
        "HADOOP_CONF_DIR": str(node.conf("hadoop")),
        "YARN_CONF_DIR": str(node.conf("hadoop")),
        "HADOOP_USER_NAME": "hadoop",
        "SPARK_HOME": str(node.spark_home),
        "SPARK_CONF_DIR": str(node.conf("spark")),
        "SPARK_DIST_CLASSPATH": jars,
        # As YARN does for its containers (LOCAL_DIRS). Of spark.local.dir Spark warns in every run that a cluster manager overrides it.
        "SPARK_LOCAL_DIRS": str(node.root / "mnt/tmp"),
        # Everything listens on this machine only.
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
