"""hadoop, hdfs, mapred and hadoop-streaming on a local node: Hadoop's own classes, with LocalJobRunner in the place of YARN."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from framework.errors import UserError
from framework.local import artifacts
from framework.local.aws.emr.execution import localize
from framework.local.aws.emr.execution.defaults import DEFAULT_FS
from framework.local.aws.emr.execution.node import Node

# Of pyspark's jars: Hadoop's client, and what it and S3A use. A custom jar shall not meet Spark's other libraries.
_JARS = re.compile(
    r"(hadoop-|slf4j-|log4j-|jcl-over-slf4j|jackson-(core|databind|annotations)-\d|joda-time|httpc|commons-|lz4|snappy|zstd|guava|avro-|re2j|woodstox|stax)"
)
_OTHERS = re.compile(r"(hadoop-aws|aws-java-sdk|jmespath|ion-java|jackson-dataformat|node-classes)")

_MAINS = {
    "fs": "org.apache.hadoop.fs.FsShell",
    "dfs": "org.apache.hadoop.fs.FsShell",
    "version": "org.apache.hadoop.util.VersionInfo",
    "checknative": "org.apache.hadoop.util.NativeLibraryChecker",
    "jar": "org.apache.hadoop.util.RunJar",
}
# Hadoop's generic options that use its distributed cache.
_CACHED = frozenset({"-files", "-libjars", "-archives"})
_ABSENT = ("dfsadmin", "namenode", "datanode", "fsck", "balancer", "haadmin", "mover")

_START = """\
for file in "$HADOOP_CONF_DIR/hadoop-env.sh" "$HADOOP_CONF_DIR/mapred-env.sh" "$HADOOP_CONF_DIR/yarn-env.sh"; do
  if [ -f "$file" ]; then . "$file"; fi
done
classpath=$1; shift
exec "$JAVA_HOME/bin/java" $HADOOP_OPTS $HADOOP_CLIENT_OPTS -cp "$HADOOP_CONF_DIR:$classpath:$HADOOP_CLASSPATH" "$@"
"""


def classpath(node: Node) -> list[Path]:
    """Hadoop's client and S3A."""
    own = [jar for jar in sorted((node.spark_home / "jars").glob("*.jar")) if _JARS.match(jar.name)]
    return [*own, *(jar for jar in node.jars if _OTHERS.match(jar.name))]


def hadoop(node: Node, args: Sequence[str]) -> int:
    """hadoop fs, jar, version, distcp, classpath, or a class by its name."""
    if not args or args[0] in ("-h", "--help", "-help"):
        sys.stdout.write("Usage: hadoop fs | jar | distcp | version | classpath | CLASSNAME [arguments]\n")
        return 0 if args else 1
    name, *rest = args
    if name == "classpath":
        sys.stdout.write(os.pathsep.join([str(node.conf("hadoop")), *map(str, classpath(node))]) + "\n")
        return 0
    if name == "distcp":
        jars = artifacts.ensure_jars("hadoop-tools", tell)
        return java(node, "org.apache.hadoop.tools.DistCp", rest, jars=jars)
    if name == "jar":
        return jar(node, rest)
    if name in _MAINS:
        return java(node, _MAINS[name], [node.path(arg) if name in ("fs", "dfs") else arg for arg in rest])
    if "." in name:
        return java(node, name, rest)
    known = ", ".join([*_MAINS, "distcp", "classpath"])
    raise UserError(f"'{name}' is not a command of the local node's hadoop", fix=f"there are: {known}")


def hdfs(node: Node, args: Sequence[str]) -> int:
    """hdfs dfs; there is no name node to administer."""
    if args and args[0] in _ABSENT:
        raise UserError(f"'hdfs {args[0]}' needs a name node; hdfs:// of the local node is a folder")
    return hadoop(node, args)


def yarn(node: Node, args: Sequence[str]) -> int:
    """yarn jar; there is no resource manager to ask."""
    if args and args[0] in ("jar", "version", "classpath"):
        return hadoop(node, args)
    raise UserError(f"'yarn {args[0] if args else ''}' needs a resource manager, which the local node has not")


def jar(node: Node, args: Sequence[str]) -> int:
    """hadoop jar FILE [main class] [arguments]."""
    if not args:
        raise UserError("RunJar jarFile [mainClass] args...")
    file = node.path(args[0])
    if re.search(r"hadoop-streaming[^/]*\.jar$", file):
        return streaming(node, args[1:])
    if localize.is_remote(file):
        file = str(localize.fetch(file, Path.cwd()))
    return java(node, _MAINS["jar"], [file, *args[1:]], distributed_cache=bool(_CACHED & set(args)))


def streaming(node: Node, args: Sequence[str]) -> int:
    """hadoop-streaming: MapReduce with any programs as mapper and reducer."""
    jars = artifacts.ensure_jars("hadoop-tools", tell)
    return java(node, "org.apache.hadoop.streaming.HadoopStreaming", on_hdfs(args), jars=jars, distributed_cache=True)


def on_hdfs(args: Sequence[str]) -> list[str]:
    """Streaming's arguments with inputs and outputs that say no file system put on hdfs://, the cluster's default."""
    found = list(args)
    for index, word in enumerate(found[:-1]):
        path = found[index + 1]
        if word in ("-input", "-output") and not urlsplit(path).scheme:
            found[index + 1] = f"hdfs://{path if path.startswith('/') else f'/user/hadoop/{path}'}"
    return found


def java(node: Node, main: str, args: Sequence[str], *, jars: Sequence[Path] = (), distributed_cache: bool = False) -> int:
    """Become Java with Hadoop's class path; exports of hadoop-env, HADOOP_OPTS and HADOOP_CLASSPATH hold, as in Hadoop's own scripts.

    Args:
        distributed_cache: files go through Hadoop's cache, which LocalJobRunner cannot keep in the folder that hdfs:// shows: the
            default file system is then the machine's own.
    """
    path = os.pathsep.join(map(str, [*jars, *classpath(node)]))
    syslog = os.environ.get("EMRJOBS_SYSLOG") if main not in (_MAINS["fs"], _MAINS["version"]) else None
    logging = node.conf("hadoop") / ("log4j2-syslog.properties" if syslog else "log4j2.properties")
    flags = [f"-Dlog4j2.configurationFile={logging.as_uri()}", "-Djava.net.preferIPv4Stack=true"]
    sys.stderr.flush()
    sys.stdout.flush()
    env = {**os.environ, "JAVA_HOME": str(node.java_home), **({DEFAULT_FS: "file:///"} if distributed_cache else {})}
    # A shell reads hadoop-env.sh, and then becomes Java.
    os.execve("/bin/sh", ["sh", "-c", _START, "hadoop", path, *flags, main, *args], env)


def tell(text: str, done: int | None = None, total: int | None = None) -> None:
    """Progress of a download, in the step's log."""
    if done in (None, 0, total):
        size = "" if total is None else f" ({total / 1e6:.1f} MB)"
        sys.stderr.write(f"local node: {text}{size}{', done' if done and done == total else ''}\n")
        sys.stderr.flush()
