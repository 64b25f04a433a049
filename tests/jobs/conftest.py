"""A small Spark session: all that a job's function needs in a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.engines.spark import session
from framework.local import spark_jvm
from framework.testing.run import conf


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    launch = spark_jvm.own_jvm(tmp_path_factory.mktemp("spark"), memory="1g", on_progress=lambda text, done=None, total=None: None)
    with session.start(conf(tmp_path_factory.mktemp("warehouse")), launch=launch) as started:
        yield started


@pytest.fixture(scope="session")
def project() -> Path:
    return Path(__file__).parents[2]
