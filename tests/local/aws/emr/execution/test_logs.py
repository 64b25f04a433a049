"""Logs in EMR's layout."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from framework.local.aws.emr.execution.logs import LogPusher
from framework.local.aws.emr.execution.workspace import Order, WorkFolder

from .builders import step


class Bucket:
    """What was put, by key; refuses as long as it is told to."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts = 0
        self.refusals = 0

    def put_object(self, **request: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("no server")
        self.objects[f"{request['Bucket']}/{request['Key']}"] = request["Body"].read()
        self.puts += 1

    def text(self, key: str) -> str:
        return gzip.decompress(self.objects[key]).decode()


def pusher(folder: Path, bucket: Bucket) -> tuple[WorkFolder, LogPusher]:
    work = WorkFolder(folder / "j-1/work/s-1")
    order = Order(step(), "j-1", "emr-7.12.0", "us-east-1", "s3://logs/emr/")
    work.create(order)
    return work, LogPusher(work, order, lambda: bucket)


def test_a_growing_log_is_one_text_and_an_unchanged_one_is_not_sent_again(tmp_path: Path) -> None:
    bucket = Bucket()
    work, logs = pusher(tmp_path, bucket)
    work.log("stdout").write_text("one\n")
    logs.push()
    with work.log("stdout").open("a") as out:
        out.write("two\n")
    logs.push(last=True)
    logs.push(last=True)
    assert bucket.text("logs/emr/j-1/steps/s-1/stdout.gz") == "one\ntwo\n"
    assert bucket.puts == 2


def test_container_logs_lie_beside_the_steps_of_their_cluster(tmp_path: Path) -> None:
    bucket = Bucket()
    work, logs = pusher(tmp_path, bucket)
    container = work.containers / "application_1_0001/container_1_0001_01_000001"
    container.mkdir(parents=True)
    (container / "stderr").write_text("driver\n")
    logs.push(last=True)
    assert bucket.text("logs/emr/j-1/containers/application_1_0001/container_1_0001_01_000001/stderr.gz") == "driver\n"


def test_the_last_logs_arrive_although_the_server_is_away_for_a_moment(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.refusals = 2
    work, logs = pusher(tmp_path, bucket)
    work.log("stderr").write_text("why\n")
    assert logs.finish(seconds=10)
    assert bucket.text("logs/emr/j-1/steps/s-1/stderr.gz") == "why\n"


def test_a_server_that_stays_away_does_not_keep_the_outcome(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.refusals = 1000
    work, logs = pusher(tmp_path, bucket)
    work.log("stderr").write_text("why\n")
    assert not logs.finish(seconds=0.1)
