"""What an exception of the JVM means to who runs a job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from framework.engines.spark import failures
from framework.errors import ServiceUnavailable


@pytest.fixture
def spark() -> Any:
    """A session that answers; the exceptions of these tests are Python's own."""
    context = SimpleNamespace(_jsc=SimpleNamespace(sc=lambda: SimpleNamespace(isStopped=lambda: False)))
    return SimpleNamespace(sparkContext=context, _jvm=None)


@pytest.mark.parametrize(
    "message",
    [
        "Slow Down (Service: S3, Status Code: 503, Request ID: null)",
        "We encountered an internal error (Service: Amazon S3; Status Code: 500; Error Code: InternalError; Request ID: 1)",
    ],
)
def test_a_service_that_cannot_serve_is_told_in_its_words_and_may_be_tried_again(message: str, spark: Any) -> None:
    said = failures.explain_other(Exception(message), spark, "jobs/daily.py:3")
    assert isinstance(said, ServiceUnavailable)
    assert said.message == f"S3 or the catalog cannot serve: {message}"
    assert said.where == "jobs/daily.py:3"


def test_what_a_service_says_of_the_request_itself_is_no_outage(spark: Any) -> None:
    assert (
        failures.explain_other(Exception("no such table (Service: Glue, Status Code: 400, Request ID: 1)"), spark, "jobs/daily.py:3")
        is None
    )
