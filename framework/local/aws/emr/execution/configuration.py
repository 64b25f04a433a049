"""Configuration classifications become the files that they become on an EMR node (Release Guide, "Configure applications").

Pure: text in, text out. A later object for the same classification wins key by key, as on EMR.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

Properties = Mapping[str, str]

# The folder that a `-site` or `-env` classification of an application lies in, where it is not named as the application.
_HADOOP = ("core", "hdfs", "yarn", "mapred", "httpfs", "hadoop-kms", "hadoop-ssl", "hadoop", "capacity-scheduler", "container-executor")
_FOLDERS = {"emrfs": "usr/share/aws/emr/emrfs/conf", "spark-hive": "etc/spark/conf", **dict.fromkeys(_HADOOP, "etc/hadoop/conf")}
# Classifications whose file is named in another way than by its kind.
_FILES = {
    "capacity-scheduler": "etc/hadoop/conf/capacity-scheduler.xml",
    "hadoop-log4j": "etc/hadoop/conf/log4j.properties",
    "hadoop-log4j2": "etc/hadoop/conf/log4j2.properties",
    "hadoop-syslog": "etc/hadoop/conf/log4j2-syslog.properties",
    "hadoop-metrics2": "etc/hadoop/conf/hadoop-metrics2.properties",
    "hive-exec-log4j2": "etc/hive/conf/hive-exec-log4j2.properties",
    "hive-log4j2": "etc/hive/conf/hive-log4j2.properties",
    "iceberg-defaults": "etc/iceberg/conf/iceberg-defaults.conf",
    "pig-log4j": "etc/pig/conf/log4j.properties",
    "pig-properties": "etc/pig/conf/pig.properties",
    "presto-config": "etc/presto/conf/config.properties",
    "spark": "etc/spark/conf/emr-spark.properties",
    "spark-defaults": "etc/spark/conf/spark-defaults.conf",
    "spark-hive-site": "etc/spark/conf/hive-site.xml",
    "spark-log4j": "etc/spark/conf/log4j.properties",
    "spark-log4j2": "etc/spark/conf/log4j2.properties",
    "spark-metrics": "etc/spark/conf/metrics.properties",
    "trino-config": "etc/trino/conf/config.properties",
    "trino-log": "etc/trino/conf/log.properties",
    "trino-node": "etc/trino/conf/node.properties",
}


def merge(configurations: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Properties by classification; the nested `export` of `X-env` is found as `X-env/export`."""
    merged: dict[str, dict[str, str]] = {}

    def add(items: Sequence[Mapping[str, Any]], prefix: str) -> None:
        for item in items:
            name = f"{prefix}{item['Classification']}"
            merged.setdefault(name, {}).update({str(key): str(value) for key, value in (item.get("Properties") or {}).items()})
            add(item.get("Configurations") or (), f"{name}/")

    add(configurations, "")
    return merged


def files(classifications: Mapping[str, Properties]) -> dict[str, str]:
    """Text of each file, by its path below the node's root; what is not known lies in etc/emr/<classification>.properties."""
    return {path(name): render(name, properties) for name, properties in classifications.items() if properties or "/" not in name}


def path(classification: str) -> str:
    """Where a classification lies below the node's root."""
    name = classification.partition("/")[0]
    if name in _FILES:
        return _FILES[name]
    for engine in ("trino", "presto"):
        if name.startswith(f"{engine}-connector-"):
            return f"etc/{engine}/conf/catalog/{name.removeprefix(f'{engine}-connector-')}.properties"
    for ending, suffix in (("-site", "-site.xml"), ("-env", "-env.sh")):
        if name.endswith(ending):
            application = name.removesuffix(ending)
            return f"{_FOLDERS.get(application, f'etc/{application}/conf')}/{application}{suffix}"
    return f"etc/emr/{name}.properties"


def render(classification: str, properties: Properties) -> str:
    """The file's text in the format that its path says."""
    target = path(classification)
    if target.endswith(".xml"):
        return hadoop_xml(properties)
    if target.endswith(".sh"):
        return exports(properties) if classification.endswith("/export") else ""
    if target.endswith(".conf"):
        return spark_defaults(properties)
    return java_properties(properties)


def hadoop_xml(properties: Properties) -> str:
    """A Hadoop configuration file."""
    items = (
        f"  <property>\n    <name>{escape(key)}</name>\n    <value>{escape(value)}</value>\n  </property>\n"
        for key, value in properties.items()
    )
    return f'<?xml version="1.0"?>\n<configuration>\n{"".join(items)}</configuration>\n'


def spark_defaults(properties: Properties) -> str:
    """spark-defaults.conf: key, blanks, value to the end of the line."""
    return "".join(f"{key} {_escaped(value)}\n" for key, value in properties.items())


def java_properties(properties: Properties) -> str:
    """A Java properties file."""
    return "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items())


def _escaped(value: str) -> str:
    # Both files are read by java.util.Properties.
    text = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"\\{text}" if text.startswith(" ") else text


def exports(properties: Properties) -> str:
    """Shell text of an `export` classification. EMR writes values as they are, so that they may use other variables."""
    return "".join(f"export {key}={_shell(value)}\n" for key, value in properties.items())


def _shell(value: str) -> str:
    if value.startswith(('"', "'")):
        return value
    return f'"{value}"' if "$" in value and '"' not in value else shlex.quote(value)


def layered(*layers: Mapping[str, Properties]) -> dict[str, dict[str, str]]:
    """Several sets of classifications as one; later ones win key by key."""
    merged: dict[str, dict[str, str]] = {}
    for layer in layers:
        for name, properties in layer.items():
            merged.setdefault(name, {}).update(properties)
    return merged


def installed(applications: Iterable[str]) -> frozenset[str]:
    """Lower-case names of the applications on the cluster. Hadoop is always there; Presto and Trino bring their own client only."""
    return frozenset(name.lower() for name in applications) | {"hadoop"}
