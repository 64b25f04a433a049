"""What a step's jar and arguments run."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.local.aws.emr.contract import WorkKind
from framework.local.aws.emr.execution import localize
from framework.local.aws.emr.execution.node import Node
from framework.local.aws.emr.execution.steps import Refused, plan

from .builders import node, step


@pytest.fixture
def here(tmp_path: Path) -> Node:
    one = node(tmp_path)
    commands = one.root / "usr/bin"
    commands.mkdir(parents=True)
    for name in ("run-example", "hadoop", "hadoop-streaming"):
        (commands / name).write_text("#!/bin/sh\n")
        (commands / name).chmod(0o755)
    (tmp_path / "cwd").mkdir()
    return one


def argv(here: Node, tmp_path: Path, *args: str, **work: object) -> list[str]:
    launch = plan(step(*args, **work), here, tmp_path / "cwd", str(here.root / "usr/bin"))  # type: ignore[arg-type]
    assert launch is not None
    return list(launch.argv)


def test_paths_to_a_clusters_commands_lead_to_its_own(here: Node, tmp_path: Path) -> None:
    assert argv(here, tmp_path, "/usr/lib/spark/bin/run-example", "SparkPi") == [f"{here.root}/usr/bin/run-example", "SparkPi"]


def test_a_command_that_does_not_exist_fails_as_the_runner_on_a_cluster_does(here: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        argv(here, tmp_path, "no-such-program", "--now")
    assert refused.value.exit_code == 1
    assert 'Cannot run program "no-such-program" (in directory "."): error=2, No such file or directory' in refused.value.message


def test_an_empty_command_is_refused(here: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="needs the command"):
        argv(here, tmp_path)


def test_a_custom_jar_runs_under_hadoop_jar_with_its_main_class(here: Node, tmp_path: Path) -> None:
    (tmp_path / "app.jar").write_bytes(b"")
    found = argv(here, tmp_path, "in", "out", jar=str(tmp_path / "app.jar"), main_class="a.Main")
    assert found == [f"{here.root}/usr/bin/hadoop", "jar", f"{tmp_path}/cwd/app.jar", "a.Main", "in", "out"]


def test_the_streaming_jar_of_older_releases_is_hadoop_streaming(here: Node, tmp_path: Path) -> None:
    found = argv(here, tmp_path, "-mapper", "cat", jar="/home/hadoop/contrib/streaming/hadoop-streaming.jar")
    assert found == [f"{here.root}/usr/bin/hadoop-streaming", "-mapper", "cat"]


def test_a_script_without_a_shebang_is_run_by_a_shell(here: Node, tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("echo x\n")
    found = argv(here, tmp_path, "1", jar=str(tmp_path / "a.sh"), kind=WorkKind.BOOTSTRAP)
    assert found == ["/bin/bash", f"{tmp_path}/cwd/a.sh", "1"]


def test_a_condition_that_does_not_hold_on_the_master_runs_nothing(here: Node, tmp_path: Path) -> None:
    jar = "s3://elasticmapreduce/bootstrap-actions/run-if"
    work = step("instance.isMaster=false", "hadoop", jar=jar, kind=WorkKind.BOOTSTRAP)
    assert plan(work, here, tmp_path / "cwd", str(here.root / "usr/bin")) is None
    work = step("instance.isMaster=true", "hadoop", "version", jar=jar, kind=WorkKind.BOOTSTRAP)
    launch = plan(work, here, tmp_path / "cwd", str(here.root / "usr/bin"))
    assert launch is not None
    assert launch.argv == (f"{here.root}/usr/bin/hadoop", "version")


@pytest.mark.parametrize(("form", "name"), [("gztar", "env.tar.gz"), ("zip", "env.zip"), ("tar", "env.tar")])
def test_archives_are_unpacked_under_their_alias_with_modes(tmp_path: Path, form: str, name: str) -> None:
    source = tmp_path / "env/bin"
    source.mkdir(parents=True)
    (source / "python").write_text("#!/bin/sh\n")
    (source / "python").chmod(0o755)
    shutil.make_archive(str(tmp_path / "env"), form, tmp_path / "env")
    (tmp_path / "cwd").mkdir()
    found = localize.unpack(f"{tmp_path / name}#environment", tmp_path / "cwd")
    assert found == tmp_path / "cwd/environment"
    assert (found / "bin/python").stat().st_mode & 0o111


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        bad.writestr("../../out.txt", "x")
    (tmp_path / "cwd").mkdir()
    found = localize.unpack(str(tmp_path / "bad.zip"), tmp_path / "cwd")
    assert not (tmp_path / "out.txt").exists()
    assert (found / "out.txt").exists()


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "env.tar.gz").write_text("text")
    (tmp_path / "cwd").mkdir()
    with pytest.raises(UserError, match="is not an archive"):
        localize.unpack(str(tmp_path / "env.tar.gz"), tmp_path / "cwd")
