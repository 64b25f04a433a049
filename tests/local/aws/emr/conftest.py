"""EMR of an endpoint that is served in this process, and boto3 in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from emr_endpoint import PROVISIONING, Emr, group, step, wait

__all__ = ["PROVISIONING", "Emr", "group", "step", "wait"]


@pytest.fixture(scope="module")
def emr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emr]:
    """One endpoint for the tests of a module."""
    one = Emr(tmp_path_factory.mktemp("emr") / "state")
    one.start()
    yield one
    one.stop()


@pytest.fixture(autouse=True)
def _no_faults_are_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "emr" in request.fixturenames:
        request.getfixturevalue("emr").faults("DELETE")
