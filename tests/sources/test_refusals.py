"""What a SQLSTATE means."""

from __future__ import annotations

import pytest

from framework.sources.refusals import Refusal, of_state


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        ("28P01", Refusal.LOGIN),
        ("42501", Refusal.GRANT),
        ("42P01", Refusal.OTHER),
        ("3D000", Refusal.NO_DATABASE),
        ("22003", Refusal.DATA),
        ("23505", Refusal.DATA),
        ("40001", Refusal.CONFLICT),
        ("55P03", Refusal.CONFLICT),
        ("55006", Refusal.OTHER),
        ("57P01", Refusal.DOWN),
        ("", Refusal.DOWN),
    ],
)
def test_a_state_means_what_its_class_does_but_for_a_few(state: str, refusal: Refusal) -> None:
    assert of_state(state) is refusal
