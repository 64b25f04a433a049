"""A project with a cluster preset and an account, and nothing that is asked; and an account in this process that answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builders import Project
from clusters import Account
from emr_cloud import Cloud, Command

from framework.emr import watch


@pytest.fixture
def account(project: Project) -> Account:
    return Account(project)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud.served(tmp_path_factory.mktemp("cloud")) as cloud:
        cloud.ship()
        yield cloud


@pytest.fixture
def cloud(served: Cloud) -> Iterator[Cloud]:
    """An account without clusters, in this process; the artifacts of the project are there already."""
    yield served
    served.emr.faults("DELETE")
    served.emr.executor.releasing.set()
    served.end()
    served.emr.executor.otherwise = "hold"


@pytest.fixture
def emrjobs(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command in the cloud's project; who follows a step looks often."""
    monkeypatch.setattr(watch, "SHORTEST", 0.02)
    monkeypatch.setattr(watch, "LONGEST", 0.1)
    monkeypatch.setattr(watch, "_LOGS_AFTER_END", 0.2)
    return Command(cloud, monkeypatch, capfd)
