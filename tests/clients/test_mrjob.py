"""mrjob 0.7.4: its EMR runner counts words on a cluster that it makes and ends by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clients.conftest import BUCKET, Target, client

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]

JOB = """\
from mrjob.job import MRJob


class Words(MRJob):
    def mapper(self, _, line):
        for word in line.split():
            yield word, 1

    def reducer(self, word, counts):
        yield word, sum(counts)


if __name__ == "__main__":
    Words.run()
"""


def test_a_word_count_runs_on_a_cluster_of_its_own(target: Target, tmp_path: Path) -> None:
    # setuptools: mrjob still imports pkg_resources and distutils.
    python = client("mrjob", "mrjob[aws]==0.7.4", "setuptools<81") / "python"
    url = target.env["AWS_ENDPOINT_URL"]
    (tmp_path / "words.py").write_text(JOB)
    (tmp_path / "in.txt").write_text("to be or not\nto be\n")
    options = {
        "release_label": "emr-7.12.0",
        "region": "us-east-1",
        "cloud_tmp_dir": f"s3://{BUCKET}/mrjob/",
        "check_cluster_every": 1,
        "cloud_fs_sync_secs": 0,
        "iam_instance_profile": "EMR_EC2_DefaultRole",
        "iam_service_role": "EMR_DefaultRole",
        "max_mins_idle": 2,
        **{f"{service}_endpoint": url for service in ("emr", "s3", "iam", "ec2")},
    }
    conf = tmp_path / "mrjob.json"
    conf.write_text(json.dumps({"runners": {"emr": options}}))
    done = target.run([str(python), "words.py", "-r", "emr", "-c", str(conf), "in.txt"], cwd=tmp_path)
    counts = dict(line.split("\t") for line in done.out.splitlines())
    assert {json.loads(word): int(count) for word, count in counts.items()} == {"be": 2, "not": 1, "or": 1, "to": 2}
    clusters = [one for one in target.emr.list_clusters()["Clusters"] if one["Name"].startswith("words.")]
    assert clusters
    target.settled(clusters[0]["Id"])
