"""Classifications become the files of an EMR node."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from framework.local.aws.emr.execution import configuration
from framework.local.aws.emr.execution.commands.spark import read_properties


@pytest.mark.parametrize(
    ("classification", "path"),
    [
        ("core-site", "etc/hadoop/conf/core-site.xml"),
        ("yarn-site", "etc/hadoop/conf/yarn-site.xml"),
        ("hive-site", "etc/hive/conf/hive-site.xml"),
        ("spark-hive-site", "etc/spark/conf/hive-site.xml"),
        ("spark-defaults", "etc/spark/conf/spark-defaults.conf"),
        ("spark-env", "etc/spark/conf/spark-env.sh"),
        ("hadoop-env/export", "etc/hadoop/conf/hadoop-env.sh"),
        ("trino-connector-postgresql", "etc/trino/conf/catalog/postgresql.properties"),
        ("trino-config", "etc/trino/conf/config.properties"),
    ],
)
def test_each_classification_has_its_file(classification: str, path: str) -> None:
    assert configuration.path(classification) == path


def test_a_site_file_holds_what_was_asked_even_with_xml_in_it() -> None:
    text = configuration.files({"core-site": {"a.b": "x < y & z"}})["etc/hadoop/conf/core-site.xml"]
    found = {item.findtext("name"): item.findtext("value") for item in ElementTree.fromstring(text)}
    assert found == {"a.b": "x < y & z"}


def test_spark_reads_back_what_spark_defaults_say(tmp_path) -> None:  # type: ignore[no-untyped-def]
    wanted = {"spark.executor.extraJavaOptions": "-Da=b -XX:+UseG1GC", "spark.x": "c=d"}
    (tmp_path / "spark-defaults.conf").write_text(configuration.files({"spark-defaults": wanted})["etc/spark/conf/spark-defaults.conf"])
    assert read_properties(tmp_path / "spark-defaults.conf") == wanted


def test_exports_may_use_other_variables_and_hold_blanks() -> None:
    nested = [{"Classification": "export", "Properties": {"A": "$HOME/x", "B": "two words", "C": '"quoted $A"'}}]
    merged = configuration.merge([{"Classification": "spark-env", "Properties": {}, "Configurations": nested}])
    text = configuration.files(merged)["etc/spark/conf/spark-env.sh"]
    assert text == 'export A="$HOME/x"\nexport B=\'two words\'\nexport C="quoted $A"\n'


def test_a_later_object_wins_key_by_key() -> None:
    merged = configuration.merge(
        [
            {"Classification": "spark-defaults", "Properties": {"a": "1", "b": "1"}},
            {"Classification": "spark-defaults", "Properties": {"b": "2"}},
        ]
    )
    assert merged == {"spark-defaults": {"a": "1", "b": "2"}}
