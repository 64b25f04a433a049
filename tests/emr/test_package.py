"""What a submit ships: the same bytes for the same content, uploaded once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from builders import OneClient
from clusters import PROJECT, Account

from framework.emr import package
from framework.emr.package import Machine
from framework.errors import AccessRefused, ConfigError, DatasetNotFound, UserError

MACHINE = Machine("3.11", "x86_64")


class Bucket:
    """S3 as far as an upload needs it; `refuse` answers everything with an error code."""

    def __init__(self, refuse: str | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self._refuse = refuse

    def head_object(self, Bucket: str, Key: str) -> None:  # noqa: N803
        if self._refuse or Key not in self.objects:
            raise ClientError({"Error": {"Code": self._refuse or "404", "Message": ""}}, "HeadObject")

    def head_bucket(self, Bucket: str) -> None:  # noqa: N803
        if self._refuse:
            raise ClientError({"Error": {"Code": self._refuse, "Message": ""}}, "HeadBucket")

    def upload_file(self, file: str, bucket: str, key: str) -> None:
        self.objects[key] = Path(file).read_bytes()


def code_of(project: Account) -> package.Artifact:
    return package.artifacts(project.project.root, MACHINE)[0]


def aws(bucket: Bucket) -> Any:
    return OneClient(bucket)


def test_the_code_holds_the_framework_the_jobs_and_the_configuration(account: Account, tmp_path: Path) -> None:
    account.project.write("jobs/a.py", "A = 1\n")
    account.project.write("jobs/__pycache__/a.pyc", "")
    code_of(account).build(tmp_path / "code.tar.gz")
    with tarfile.open(tmp_path / "code.tar.gz") as tar:
        names = set(tar.getnames())
    assert {"framework/runner.py", "framework/releases/emr-7.12.0.yaml", "jobs/a.py", "configs/env/prod.yaml"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_the_same_content_gives_the_same_bytes_and_name(account: Account, tmp_path: Path) -> None:
    first = code_of(account)
    first.build(tmp_path / "1")
    os.utime(account.project.root / "configs/base.yaml", (1, 1))
    second = code_of(account)
    second.build(tmp_path / "2")
    assert first.name == second.name
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_changed_job_is_other_code_and_the_same_dependencies(account: Account) -> None:
    before = package.artifacts(account.project.root, MACHINE)
    account.project.write("jobs/a.py", "A = 2\n")
    after = package.artifacts(account.project.root, MACHINE)
    changed = [one.kind for one, other in zip(before, after, strict=True) if one.name != other.name]
    assert changed == ["code"]


def test_the_cluster_is_part_of_the_dependencies_name(account: Account) -> None:
    names = {package.artifacts(account.project.root, machine)[1].name for machine in (MACHINE, Machine("3.11", "aarch64"))}
    assert len(names) == 2


def test_what_is_there_is_not_uploaded_again(account: Account) -> None:
    bucket = Bucket()
    light = [one for one in package.artifacts(account.project.root, MACHINE) if one.kind != "env"]
    first = package.store(light, "s3://b/artifacts", aws(bucket))
    again = package.store(light, "s3://b/artifacts", aws(bucket))
    assert all(one.uploaded > 0 for one in first)
    assert [one.uploaded for one in again] == [0, 0]
    assert {one.uri for one in first} == {f"s3://b/{key}" for key in bucket.objects} == {one.uri for one in again}


def test_pyspark_stays_at_home() -> None:
    assert "pyspark" not in package._requirements(PROJECT)
    assert "pyarrow==" in package._requirements(PROJECT)


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("NoSuchBucket", DatasetNotFound, "there is no bucket 'b'"),
        ("AccessDenied", AccessRefused, r"the permission s3:GetObject on arn:aws:s3:::b/artifacts/code-\w+\.tar\.gz is missing"),
        ("301", ConfigError, "the bucket b is in another region"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_told_in_one_sentence(account: Account, code: str, error: type[UserError], words: str) -> None:
    with pytest.raises(error, match=words):
        package.store([code_of(account)], "s3://b/artifacts", aws(Bucket(refuse=code)))


def test_a_package_over_the_limit_is_refused(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_MAX_BYTES", 1000)
    bucket = Bucket()
    with pytest.raises(UserError, match="more than the 0 GB that every node would have to unpack"):
        package.store([code_of(account)], "s3://b/artifacts", aws(bucket))
    assert not bucket.objects


def test_without_a_lock_nothing_is_shipped(account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package.framework, "__file__", str(tmp_path / "site-packages" / "framework" / "__init__.py"))
    with pytest.raises(ConfigError, match=r"there is no uv\.lock"):
        package._requirements(account.project.root)


def test_a_dependency_without_a_wheel_is_named() -> None:
    with pytest.raises(UserError, match=r"psycopg2 has no wheel for Python 3\.11 on x86_64-manylinux_2_34") as caught:
        package._install("psycopg2==2.9.9", MACHINE, Path("unused"))
    assert "bootstrap action" in str(caught.value)


def small_environment(folder: Path) -> Path:
    """An archive with one pure and one native package, unpacked as YARN would."""
    archive = folder / "env.tar.gz"
    package._write_env("numpy==2.2.6\npyyaml==6.0.2", package.LAUNCHER.format(version="3.11"), MACHINE, archive)
    target = folder / "environment"
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target


PROBE = "import sys, numpy, yaml, here; print(here.WHERE, numpy.__version__, numpy.__file__.startswith(sys.argv[1]), sys.version_info[:2])"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")
@pytest.mark.skipif(shutil.which("debootstrap") is None, reason="debootstrap is not installed")
def test_the_environment_runs_on_a_bare_debian_with_its_own_python(tmp_path: Path) -> None:
    root = bare_debian(tmp_path / "root")
    step = root / "step"
    step.mkdir()
    target = small_environment(tmp_path)
    shutil.copytree(target, step / "environment")
    (step / "project").mkdir()
    (step / "project" / "here.py").write_text("WHERE = 'project'\n")
    done = subprocess.run(
        ["chroot", str(root), "/bin/sh", "-c", f'cd /step && ./environment/bin/python -c "{PROBE}" /step'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("project 2.2.6 True (3, 11)\n", "")


def bare_debian(root: Path) -> Path:
    """debootstrap --variant=minbase with python3.11 and nothing else, from this machine's own apt sources."""
    folder = Path("/etc/apt")
    files = [*folder.rglob("*.sources"), *folder.rglob("*.list")]
    lines = [line for file in files for line in file.read_text().splitlines() if line.startswith(("URIs:", "deb ")) and "debian" in line]
    mirrors = [word for line in lines for word in line.split() if word.startswith("http")]
    if not mirrors:
        pytest.skip("this machine has no Debian apt source")
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=python3.11-minimal,libpython3.11-stdlib", "bookworm", str(root), mirrors[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"debootstrap does not work here: {done.stdout.splitlines()[-1:]}")
    return root


@pytest.mark.skipif(sys.version_info[:2] != (3, 11) or sys.platform != "linux", reason="the packages are for Python 3.11 on Linux")
def test_the_launcher_finds_python_packages_and_project_wherever_it_lies(tmp_path: Path) -> None:
    target = small_environment(tmp_path)
    step = tmp_path / "a step"
    (step / "project").mkdir(parents=True)
    (step / "project" / "here.py").write_text("WHERE = 'project'\n")
    # YARN links what it has unpacked elsewhere.
    (step / "environment").symlink_to(target)
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": "/spark/pyspark.zip"}
    done = subprocess.run(
        ["./environment/bin/python", "-c", PROBE + "; print(sys.path[1])", str(step)],
        cwd=step,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("project 2.2.6 True (3, 11)\n/spark/pyspark.zip\n", "")


def test_the_launcher_says_which_python_is_missing(tmp_path: Path) -> None:
    launcher = tmp_path / "environment" / "bin" / "python"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(package.LAUNCHER.format(version="3.99"))
    launcher.chmod(0o755)
    done = subprocess.run([str(launcher), "-V"], capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert "there is no python3.99 on" in done.stderr
