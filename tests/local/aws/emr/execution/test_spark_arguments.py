"""What was meant for YARN becomes what runs in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.errors import UserError
from framework.local.aws.emr.execution.commands import spark
from framework.local.aws.emr.execution.commands.spark import Submission, prepare

from .builders import node


def prepared(tmp_path: Path, *args: str, **defaults: str):  # type: ignore[no-untyped-def]
    return prepare(Submission.parse(args), node(tmp_path), defaults)


def test_options_end_at_the_application_file() -> None:
    found = Submission.parse(["--class", "a.B", "--conf=x=y", "-c", "spark.z=1", "--verbose", "s3://b/app.jar", "--conf", "mine"])
    assert found.resource == "s3://b/app.jar"
    assert found.arguments == ("--conf", "mine")
    assert found.conf("spark.z") == "1"
    assert found.conf("x") == "y"
    assert found.last("--class") == "a.B"


def test_an_option_without_its_value_is_refused() -> None:
    with pytest.raises(UserError, match="Missing argument for option '--class'"):
        Submission.parse(["--class"])


def test_yarn_becomes_one_local_process(tmp_path: Path) -> None:
    argv = prepared(tmp_path, "--master", "yarn", "--conf", "spark.master=yarn", "s3://b/a.py", "x").submission.argv()
    assert argv == ["--master", "local[*]", "--deploy-mode", "client", "s3://b/a.py", "x"]


@pytest.mark.parametrize(
    ("args", "script", "arguments"),
    [
        (["SparkPi", "10"], "pi.py", ["10"]),
        (["--executor-memory", "1g", "org.apache.spark.examples.JavaWordCount", "s3://b/in"], "wordcount.py", ["s3://b/in"]),
        (["ml/als_example.py"], None, []),
    ],
)
def test_run_example_runs_sparks_python_example_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], script: str | None, arguments: list[str]
) -> None:
    one = node(tmp_path)
    examples = one.spark_home / "examples/src/main/python"
    examples.mkdir(parents=True)
    for name in ("pi.py", "wordcount.py"):
        (examples / name).touch()
    ran: list[list[str]] = []
    monkeypatch.setattr(spark, "_spark", lambda node, program, argv, env=None: ran.append([program, *argv]) or 0)
    if script is None:
        with pytest.raises(UserError, match="not among those of the local node"):
            spark.run_example(one, args)
        return
    assert spark.run_example(one, args) == 0
    (argv,) = ran
    place = argv.index(str(examples / script))
    assert argv[:1] == ["spark-submit"]
    assert argv[place + 1 :] == arguments


def test_a_client_in_cluster_mode_waits_unless_it_is_told_not_to(tmp_path: Path) -> None:
    never = "spark.yarn.submit.waitAppCompletion=false"
    assert prepared(tmp_path, "--deploy-mode", "cluster", "a.py").waits
    assert not prepared(tmp_path, "--deploy-mode", "cluster", "--conf", never, "a.py").waits
    assert not prepared(tmp_path, "a.py", **{"spark.yarn.submit.waitAppCompletion": "false"}).waits


def test_a_local_master_with_a_number_of_cores_is_kept(tmp_path: Path) -> None:
    assert prepared(tmp_path, "--master", "local[2]", "a.py").submission.last("--master") == "local[2]"


@pytest.mark.parametrize(
    ("args", "defaults"),
    [
        (("--deploy-mode", "cluster"), {}),
        (("--conf", "spark.submit.deployMode=cluster"), {}),
        ((), {"spark.submit.deployMode": "cluster"}),
    ],
)
def test_cluster_mode_is_seen_wherever_it_is_said(tmp_path: Path, args: tuple[str, ...], defaults: dict[str, str]) -> None:
    assert prepare(Submission.parse([*args, "a.py"]), node(tmp_path), defaults).cluster_mode


def test_archives_are_taken_from_spark_and_unpacked_by_the_node(tmp_path: Path) -> None:
    found = prepared(tmp_path, "--archives", "s3://b/env.tar.gz#environment, s3://b/x.zip", "--files", "s3://b/f.txt#g", "a.py")
    assert found.archives == ("s3://b/env.tar.gz#environment", "s3://b/x.zip")
    assert found.files == ("s3://b/f.txt#g",)
    assert "--archives" not in found.submission.argv()
    assert "--files" in found.submission.argv()


def test_variables_of_the_application_master_reach_the_driver_in_cluster_mode_only(tmp_path: Path) -> None:
    conf = ("--conf", "spark.yarn.appMasterEnv.PYSPARK_PYTHON=./environment/bin/python", "a.py")
    assert prepared(tmp_path, "--deploy-mode", "cluster", *conf).driver_env == {"PYSPARK_PYTHON": "./environment/bin/python"}
    assert prepared(tmp_path, *conf).driver_env == {}


def test_jars_of_an_emr_node_are_the_local_ones(tmp_path: Path) -> None:
    jars = prepared(tmp_path, "--jars", "/usr/lib/spark/external/lib/spark-avro.jar,s3://b/x.jar", "a.py").submission.last("--jars")
    assert jars == f"{tmp_path}/jars/spark-avro_2.12-3.5.6.0123.jar,s3://b/x.jar"


def test_paths_of_hadoops_home_are_the_clusters_own(tmp_path: Path) -> None:
    assert prepared(tmp_path, "/home/hadoop/a.py").submission.resource == f"{tmp_path}/node/home/hadoop/a.py"
