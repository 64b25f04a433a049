from __future__ import annotations

import collections
import threading
from typing import Any

import pytest

from framework.local.aws import pickling


class Backend:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.by_name: Any = collections.defaultdict(lambda: collections.defaultdict(list))
        self.other: Any = None


class Parameters(collections.defaultdict[str, list[int]]):
    """Like SSM's: its constructor needs an argument, its items their attributes."""

    def __init__(self, region: str) -> None:
        super().__init__(list)
        self.region = region

    def __setitem__(self, key: str, value: list[int]) -> None:
        super().__setitem__(f"{self.region}/{key}", value)


def _no_reference(value: object) -> None:
    return None


def _through(value: object) -> Any:
    content, _ = pickling.dumps(value, _no_reference)
    return pickling.loads(content, lambda reference: reference)


def test_locks_and_lambdas_of_a_constructor_survive() -> None:
    backend = Backend()
    backend.by_name["a"]["b"].append(1)
    loaded = _through(vars(backend))
    assert loaded["by_name"]["a"]["b"] == [1]
    assert loaded["by_name"]["new"]["new"] == []
    with loaded["lock"]:
        pass


def test_a_dictionary_with_a_constructor_of_its_own_survives() -> None:
    parameters = Parameters("eu")
    parameters["a"] = [1]
    loaded = _through(parameters)
    assert dict(loaded) == {"eu/a": [1]}
    assert loaded["new"] == []
    assert isinstance(loaded, Parameters)


def test_a_reference_is_stored_by_name_and_resolved_to_the_living_object() -> None:
    one, other = Backend(), Backend()
    one.other = other
    content, _ = pickling.dumps(vars(one), lambda value: "other" if value is other else None)
    living = Backend()
    assert pickling.loads(content, {"other": living}.__getitem__)["other"] is living


def test_a_private_key_survives() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    loaded = _through({"key": key})
    assert loaded["key"].private_numbers() == key.private_numbers()


def test_what_lives_only_in_this_process_is_refused() -> None:
    with pytest.raises((TypeError, AttributeError)):
        pickling.dumps({"generator": (number for number in range(3))}, _no_reference)
