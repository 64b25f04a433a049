"""Choosing free ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from framework.local import ports
from framework.local.service import HOST, PortSpec


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on which something listens."""
    with socket.create_server((HOST, 0)) as server:
        yield int(server.getsockname()[1])


def test_a_port_that_somebody_listens_on_is_not_free(listener: int) -> None:
    assert not ports.is_free(listener)


def test_a_port_listened_on_at_all_addresses_is_not_free() -> None:
    with socket.create_server(("", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def test_a_free_remembered_port_is_chosen_again() -> None:
    specs = [PortSpec("http")]
    first = ports.choose(specs, {}, [])
    assert ports.choose(specs, first, []) == first


def test_a_remembered_port_that_was_taken_meanwhile_is_replaced(listener: int) -> None:
    chosen = ports.choose([PortSpec("http")], {"http": listener}, [])
    assert chosen["http"] != listener
    assert ports.is_free(chosen["http"])


def test_a_port_of_another_service_is_left_to_it_even_while_that_one_is_stopped() -> None:
    remembered = ports.choose([PortSpec("http")], {}, [])
    assert ports.choose([PortSpec("http")], remembered, remembered.values()) != remembered


def test_a_port_whose_second_port_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    free = ports.choose([PortSpec("http", also=(10_000,))], {}, [])["http"]
    monkeypatch.setattr(ports, "is_free", lambda port: port != free + 10_000)
    assert ports.choose([PortSpec("http", also=(10_000,))], {"http": free}, [])["http"] != free


def test_several_ports_of_one_service_differ_and_stay_below_22000() -> None:
    specs = [PortSpec(name, also=(10_000,)) for name in ("s3", "master", "volume", "filer")]
    chosen = ports.choose(specs, {}, [])
    assert len(set(chosen.values())) == 4
    assert max(chosen.values()) < 22_000
