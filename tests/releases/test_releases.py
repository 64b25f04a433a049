"""The release files, and that what runs on this machine is what the default release runs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
import yaml

from framework import releases
from framework.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def default() -> releases.Release:
    configured = yaml.safe_load((ROOT / "configs" / "base.yaml").read_text(encoding="utf-8"))
    return releases.load(configured["release"])


@pytest.mark.parametrize("label", releases.labels())
def test_every_release_file_loads_and_is_named_after_its_label(label: str) -> None:
    release = releases.load(label)
    assert release.label == label
    assert all(source.startswith("https://docs.a") for source in release.sources)
    assert release.sources
    assert "Spark" in release.applications


@pytest.mark.parametrize("label", releases.labels())
def test_every_version_is_a_text_that_yaml_did_not_read_as_a_number(label: str) -> None:
    release = releases.load(label)
    versions = [*release.applications.values(), *release.python, *release.local.values(), release.scala]
    assert all(isinstance(version, str) for version in versions if version is not None)


@pytest.mark.parametrize("label", releases.labels())
@pytest.mark.parametrize("application", ["Spark", "Iceberg", "Trino"])
def test_what_runs_locally_is_the_upstream_version_of_the_release(label: str, application: str) -> None:
    release = releases.load(label)
    local = release.local.get(application.lower())
    if local is not None:
        assert release.upstream(application) == local


@pytest.mark.parametrize("label", releases.labels())
def test_support_ends_after_the_release_date(label: str) -> None:
    release = releases.load(label)
    phases = [release.released, release.standard_support_until, release.end_of_support, release.end_of_life]
    dates = [date for date in phases if date is not None]
    assert dates == sorted(dates)


def test_the_label_of_the_default_configuration_is_described(default: releases.Release) -> None:
    assert default.label in releases.labels()
    assert set(default.local) == {"spark", "hadoop", "iceberg", "trino"}


def test_the_installed_pyspark_is_the_default_releases_spark(default: releases.Release) -> None:
    assert metadata.version("pyspark") == default.local["spark"]


def test_the_installed_pyspark_carries_the_hadoop_and_scala_that_the_release_file_names(default: releases.Release) -> None:
    files = {path.name for path in (metadata.files("pyspark") or []) if path.parent.name == "jars"}
    assert f"hadoop-client-api-{default.local['hadoop']}.jar" in files
    assert f"scala-library-{default.scala}.jar" in files


def test_the_locked_jars_are_of_the_default_releases_versions(default: releases.Release) -> None:
    lock = yaml.safe_load((ROOT / "framework" / "local" / "jars.lock.yaml").read_text(encoding="utf-8"))
    versions = {tuple(item["jar"].split(":")[:2]): item["jar"].split(":")[2] for group in lock.values() for item in group}
    spark, scala = default.local["spark"].rsplit(".", 1)[0], default.scala.rsplit(".", 1)[0]
    assert versions["org.apache.iceberg", f"iceberg-spark-runtime-{spark}_{scala}"] == default.local["iceberg"]
    assert versions["org.apache.iceberg", "iceberg-aws-bundle"] == default.local["iceberg"]
    assert versions["org.apache.hadoop", "hadoop-aws"] == default.local["hadoop"]


def test_a_release_of_spark_alone_has_no_trino() -> None:
    release = releases.load("emr-spark-8.0.0")
    assert "Trino" not in release.applications
    assert release.upstream("Trino") is None


def test_an_application_whose_version_was_not_seen_is_still_part_of_its_release() -> None:
    release = releases.load("emr-7.14.0")
    assert "Trino" in release.applications
    assert release.upstream("Trino") is None


def test_an_unknown_label_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'emr-7\.12\.0'") as caught:
        releases.load("emr-7.12")
    assert caught.value.exit_code == 2


def test_a_label_is_never_a_way_out_of_the_folder() -> None:
    with pytest.raises(ConfigError):
        releases.load("../local/jars.lock")
