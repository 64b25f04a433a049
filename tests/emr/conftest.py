"""A project with a cluster preset and an account, and nothing that is asked."""

from __future__ import annotations

import pytest
from builders import Project
from clusters import Account


@pytest.fixture
def account(project: Project) -> Account:
    return Account(project)
