"""How errors read."""

from __future__ import annotations

from framework.errors import UserError, nearest


def test_a_near_miss_is_named() -> None:
    assert nearest("dayly_etl", ["daily_etl", "ingest"]) == "did you mean 'daily_etl'?"


def test_a_far_miss_gets_the_known_names() -> None:
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_a_long_list_is_cut() -> None:
    assert nearest("zzz", [f"n{i:02}" for i in range(20)]).endswith("n11, ...")


def test_an_empty_list_says_so() -> None:
    assert nearest("x", [], what="job") == "there is no job yet"


def test_an_error_reads_place_message_details_fix() -> None:
    error = UserError("is wrong", where="a.yaml:3", details=["looked in: b"], fix="change it")
    assert str(error) == "a.yaml:3: is wrong\n  looked in: b\n  fix: change it"
