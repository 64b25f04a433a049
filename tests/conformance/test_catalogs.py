"""The sample job, unchanged, against either catalog. Apart from the suites that hold a session: each run opens its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.config.loader import load
from framework.discovery import discover
from framework.engines.spark import conf, read
from framework.ledger import RunRecord
from framework.local.target import open_platform
from framework.platform import Platform
from framework.runner import run_job

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.slow]


@pytest.fixture
def metastore(root: Path, platform: Platform) -> Iterator[Platform]:
    with open_platform(load(root, "embedded", overrides=["catalog.kind=hive"], variables={}), lambda event: None) as opened:
        yield opened


def test_the_sample_job_gives_the_same_rows_on_both_catalogs(platform: Platform, metastore: Platform) -> None:
    def rows(one: Platform) -> tuple[RunRecord, list[Any]]:
        record = run_job(discover(one.root).get("daily_etl"), {}, one)
        info = one.table("marts.daily_performance")
        with one.spark() as session:
            conf.prepare(session, one.aws)
            read.mount(session, one.read_of(info.name))
            return record, sorted(map(str, session.table(info.name).collect()))

    first, second = rows(platform), rows(metastore)
    assert first[0].status == second[0].status == "succeeded"
    assert len(first[1]) == 32
    assert first[1] == second[1]
