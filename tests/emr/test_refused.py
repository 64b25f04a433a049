"""What a submit refuses: one clear sentence, exit code 2, and nothing is created."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from emr_cloud import Cloud, Command

from framework.emr import package

pytestmark = pytest.mark.slow  # two servers are started for all of these

Refused = Callable[..., list[str]]


@pytest.fixture
def refused(cloud: Cloud, emrjobs: Command) -> Refused:
    """Submit daily_etl, and give the lines of the refusal; nothing was uploaded, and no cluster was asked for."""

    def submit(*options: str, job: str = "daily_etl") -> list[str]:
        before, made = cloud.objects(), len(cloud.emr.api.list_clusters()["Clusters"])
        done = emrjobs("submit", job, *options)
        assert (done.code, done.out) == (2, ""), done.err
        assert [key for key in cloud.objects() if key not in before and "/submits/" not in key] == []
        assert len(cloud.emr.api.list_clusters()["Clusters"]) == made
        return done.err.splitlines()

    return submit


def test_a_release_without_the_application_that_the_job_needs(refused: Refused) -> None:
    assert refused("--set", "release=emr-spark-8.0.0", job="carrier_360") == [
        "error: configs/clusters/transient_spot.yaml: emr-spark-8.0.0 has no application Trino (engine trino needs it)",
        "  fix: use emr-7.14.0",
    ]


def test_fleets_with_groups(cloud: Cloud, refused: Refused) -> None:
    preset = cloud.root / "configs" / "clusters" / "both.yaml"
    preset.write_text("fleets: {primary: {on_demand: 1, types: [m5.xlarge]}}\ngroups: {primary: {type: m5.xlarge}}\n")
    (line,) = refused("--preset", "both")
    preset.unlink()
    assert line.startswith("error: configs/clusters/both.yaml")
    assert "give either fleets or groups, and not both: EMR does not mix them in one cluster" in line


def test_a_bucket_that_is_not_there(refused: Refused) -> None:
    assert refused("--set", "state=s3://cloud-nowhere/state") == [
        "error: could not look at the bucket cloud-nowhere: there is no bucket 'cloud-nowhere'",
        "  fix: create it, or change emr.artifacts (or state)",
    ]


PUBLIC = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::cloud-open/*"}


@pytest.fixture
def open_bucket(cloud: Cloud) -> Iterator[str]:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="cloud-open")
    yield "cloud-open"
    s3.delete_bucket(Bucket="cloud-open")


@pytest.mark.parametrize("how", ["policy", "acl"])
def test_a_bucket_that_everybody_can_read(how: str, open_bucket: str, cloud: Cloud, refused: Refused) -> None:
    s3 = cloud.client("s3")
    if how == "policy":
        s3.put_bucket_policy(Bucket=open_bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [PUBLIC]}))
    else:
        s3.put_bucket_acl(Bucket=open_bucket, ACL="public-read")
    assert refused("--set", f"emr.logs=s3://{open_bucket}/logs") == [
        "error: the bucket cloud-open is public: everybody could read code, logs and run records",
        "  fix: turn on its Block Public Access, or name another bucket",
    ]


def test_an_acl_that_the_buckets_own_settings_ignore_is_no_matter(open_bucket: str, cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.put_bucket_acl(Bucket=open_bucket, ACL="public-read")
    assert package.is_public(s3, open_bucket)
    blocked = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_public_access_block(Bucket=open_bucket, PublicAccessBlockConfiguration=blocked)
    assert not package.is_public(s3, open_bucket)


def test_no_credentials(cloud: Cloud, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(cloud.folder / "nothing"))
    assert refused("--set", "aws.access_key_id=null", "--set", "aws.secret_access_key=null") == [
        "error: could not look at the bucket cloud-state: there are no AWS credentials",
        "  fix: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ]


def test_a_region_that_there_is_not(refused: Refused) -> None:
    own_endpoints = ("--set", "aws.endpoint_url=null", "--set", "aws.s3_endpoint_url=null")
    assert refused("--set", "aws.region=eu-wst-1", *own_endpoints) == [
        "error: aws.region: AWS has no region 'eu-wst-1' with EMR",
        "  fix: did you mean 'eu-west-1'?",
    ]


def test_what_emr_itself_refuses(refused: Refused) -> None:
    assert refused("--set", "emr.security_configuration=secret-place")[-2:] == [
        "error: could not run job flow: EMR refused it: Security configuration with name 'secret-place' does not exist.",
        "  fix: correct the preset in configs/clusters/ or `emr:` of the environment",
    ]


ALLOWED = {"Effect": "Allow", "Action": ["s3:*", "elasticmapreduce:*", "iam:PassRole"], "Resource": "*"}
MISSING = {
    "s3:ListBucket": "could not look at the bucket cloud-state: the permission s3:ListBucket on arn:aws:s3:::cloud-state is missing",
    "s3:GetObject": "is missing",
    "elasticmapreduce:RunJobFlow": "could not run job flow: the permission elasticmapreduce:RunJobFlow is missing",
    "elasticmapreduce:ListClusters": "could not list clusters: the permission elasticmapreduce:ListClusters is missing",
    "iam:PassRole": "the permission iam:PassRole on arn:aws:iam::123456789012:role/emrjobs-",
}


@pytest.mark.parametrize("action", MISSING)
def test_a_permission_that_is_missing_is_named(action: str, cloud: Cloud, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    iam, name = cloud.client("iam"), f"submitter-{action.replace(':', '-')}"
    iam.create_user(UserName=name)
    statements = [ALLOWED, {"Effect": "Deny", "Action": [action], "Resource": "*"}]
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("CLOUD_KEY", keys["AccessKeyId"])
    monkeypatch.setenv("CLOUD_SECRET", keys["SecretAccessKey"])
    first, *rest = [line for line in refused("-p", "date=2013-01-02") if not line.startswith("start a cluster")]
    assert MISSING[action] in first
    assert action in first
    assert rest[-1].startswith("  fix: allow ")


def test_a_package_over_the_limit(cloud: Cloud, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_MAX_BYTES", 10_000)
    (cloud.root / "jobs" / "model.bin").write_bytes(b"x")
    *_, error, fix = refused()
    (cloud.root / "jobs" / "model.bin").unlink()
    assert error.startswith("error: code-")
    assert "more than the 0 GB that every node would have to unpack" in error
    assert fix == "  fix: move data files out of jobs/ and configs/, and large models to S3"


def test_a_dependency_without_a_wheel_for_the_cluster(cloud: Cloud, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_requirements", lambda root: "psycopg2==2.9.9")
    (cloud.root / "jobs" / "other.txt").write_text("code is new too, and is not uploaded either\n")
    lines = refused()
    (cloud.root / "jobs" / "other.txt").unlink()
    assert any(line.startswith("error: psycopg2 has no wheel for Python 3.11 on x86_64-manylinux_2_34") for line in lines)
    assert lines[-1] == "  fix: lock another version of it (`uv lock --upgrade-package NAME`), or install it in a bootstrap action"
