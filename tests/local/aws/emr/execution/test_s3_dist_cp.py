"""s3-dist-cp: which files are written from which, and that they are."""

from __future__ import annotations

import gzip
import json

import pytest

from framework.errors import UserError
from framework.local.aws.emr.execution.commands.s3_dist_cp import Source, options, plan

from .builders import step
from .conftest import Cluster

MIB = 1024 * 1024


def sources(**sizes: int) -> list[Source]:
    return [Source(f"s3://b/in/{name.replace('__', '.')}", name.replace("__", "."), size) for name, size in sizes.items()]


def written(*found: Source, **settings: object) -> dict[str, list[str]]:
    given = {"pattern": None, "group_by": None, "target_size": None, "codec": None, **settings}
    return {target.relative: [source.relative for source in target.sources] for target in plan(found, **given)}  # type: ignore[arg-type]


def test_without_options_every_file_keeps_its_name() -> None:
    assert written(*sources(a__log=1, b__gz=1)) == {"a.log": ["a.log"], "b.gz": ["b.gz"]}


def test_a_pattern_matches_the_whole_uri() -> None:
    assert written(*sources(a__log=1, b__txt=1), pattern=r".*\.log") == {"a.log": ["a.log"]}


def test_grouped_files_are_joined_under_what_the_group_matches() -> None:
    found = written(*sources(x_2026=1, y_2026=1, x_2025=1, z=1), group_by=r".*_(\d+)")
    assert found == {"2025": ["x_2025"], "2026": ["x_2026", "y_2026"]}


def test_a_joined_file_is_full_at_its_target_size() -> None:
    found = written(*sources(a_1=3 * MIB, b_1=3 * MIB, c_1=3 * MIB), group_by=r".*_(\d)", target_size=6)
    assert found == {"10": ["a_1", "b_1"], "11": ["c_1"]}


def test_an_output_codec_changes_the_extension() -> None:
    assert list(written(*sources(a__gz=1, b__log=1), codec="none")) == ["a", "b.log"]
    assert list(written(*sources(a__log=1), codec="gzip")) == ["a.log.gz"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--src=a"], "--src and --dest are required"),
        (["--src=a", "--dest=b", "--nope"], "Unknown option --nope"),
        (["--src=a", "--dest=b", "--outputCodec=lzo"], "does not support the LZO codec"),
        (["--src=a", "--dest=b", "--groupBy=.*"], "must have a group"),
        (["--src=a", "--dest=b", "--storageClass=STANDARD_IA"], "does not support storage classes"),
    ],
)
def test_what_cannot_be_done_is_refused(args: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        options(args)


def test_a_pattern_may_be_quoted_once_more() -> None:
    assert options(["--src", "a", "--dest", "b", "--groupBy='.*(x).*'"]).groupBy == ".*(x).*"


@pytest.mark.services
def test_files_are_joined_compressed_listed_and_deleted(cluster: Cluster) -> None:
    for name in ("a-1.log", "b-1.log", "other.txt"):
        cluster.put(f"cp/in/{name}", f"{name}\n")
    args = ("--src=s3://bucket/cp/in/", "--dest=s3://bucket/cp/out/", r"--groupBy=.*-(\d)\.log", "--outputCodec=gz")
    outcome = cluster.run(step("s3-dist-cp", *args, "--outputManifest=manifest.gz", "--deleteOnSuccess"))
    assert outcome.succeeded, outcome.message
    assert gzip.decompress(cluster.get("cp/out/1.gz")) == b"a-1.log\nb-1.log\n"
    manifest = [json.loads(line) for line in gzip.decompress(cluster.get("cp/out/manifest.gz")).splitlines()]
    assert [entry["path"] for entry in manifest] == ["s3://bucket/cp/out/1.gz"] * 2
    left = [item["Key"] for item in cluster.s3.list_objects_v2(Bucket="bucket", Prefix="cp/in/")["Contents"]]
    assert left == ["cp/in/other.txt"]


@pytest.mark.services
def test_a_copy_goes_to_hdfs_and_skips_what_a_manifest_names(cluster: Cluster) -> None:
    cluster.put("cp2/in/a", "a")
    again = ("--src=s3://bucket/cp2/in", "--dest=hdfs:///data", "--outputManifest=m", "--previousManifest=hdfs:///data/m")
    assert cluster.run(step("s3-dist-cp", *again)).succeeded
    data = cluster.root / "j-1/hdfs/data"
    assert (data / "a").read_text() == "a"
    (data / "a").unlink()
    cluster.put("cp2/in/b", "b")
    assert cluster.run(step("s3-dist-cp", *again, work_id="s-2")).succeeded
    assert sorted(path.name for path in data.iterdir()) == ["b", "m"]


@pytest.mark.services
def test_a_source_that_is_not_there_fails(cluster: Cluster) -> None:
    outcome = cluster.run(step("s3-dist-cp", "--src=s3://bucket/nothing/", "--dest=hdfs:///x"))
    assert outcome.exit_code == 1
    assert outcome.reason == "Input path does not exist."
