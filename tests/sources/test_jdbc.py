"""Databases: a connection's driver options, and the relation that the database runs."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from framework import Jdbc
from framework.config.model import Connection
from framework.config.references import MASK, Resolver
from framework.errors import ConfigError, DatasetNotFound, SecretUnresolved
from framework.sources import jdbc


def connection(**changes: Any) -> Connection:
    return Connection(
        **{"kind": "postgresql", "host": "db", "database": "ops", "user": "reader", "password": "${env:OPS_PASSWORD}", **changes}
    )


def resolve(dataset: Jdbc, params: dict[str, Any] | None = None, resolver: Resolver | None = None, **changes: Any) -> jdbc.JdbcRead:
    return jdbc.resolve(
        "rows", dataset, params or {}, {"ops": connection(**changes)}, resolver or Resolver(), where="jobs/a.py:3", looked_in=("--set",)
    )


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_PASSWORD", "hunter2")


def test_the_predicate_runs_in_the_database() -> None:
    read = resolve(Jdbc("ops", "public.flights", where="flight_date = {date}"), {"date": dt.date(2013, 1, 15)})
    assert read.relation == "(SELECT * FROM public.flights WHERE flight_date = DATE '2013-01-15'\n) AS flights"
    assert read.url == "jdbc:postgresql://db:5432/ops"
    assert read.properties["driver"] == "org.postgresql.Driver"


def test_without_a_predicate_the_table_is_read_as_it_is() -> None:
    assert resolve(Jdbc("ops", "flights")).relation == "flights"


def test_a_text_is_quoted_as_the_database_quotes() -> None:
    dataset, params = Jdbc("ops", "t", where="a = {a}"), {"a": "\\' OR 1=1 --"}
    assert resolve(dataset, params).relation == "(SELECT * FROM t WHERE a = '\\'' OR 1=1 --'\n) AS t"
    assert resolve(dataset, params, kind="mysql").relation == "(SELECT * FROM t WHERE a = '\\\\'' OR 1=1 --'\n) AS t"


@pytest.mark.parametrize("name", ["flights; DROP TABLE x", "(SELECT 1)", "a.b.c", "t -- x", "", "'t'", "t\n"])
def test_a_table_is_a_plain_name(name: str) -> None:
    with pytest.raises(DatasetNotFound, match="is not a table name"):
        resolve(Jdbc("ops", name))


def test_an_unknown_connection_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="there is no connection 'opps'") as caught:
        resolve(Jdbc("opps", "t"))
    assert (caught.value.where, caught.value.fix) == ("jobs/a.py:3", "did you mean 'ops'?")


def test_a_password_that_cannot_be_resolved_says_where_it_could_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPS_PASSWORD")
    with pytest.raises(SecretUnresolved, match=r"connections\.ops\.password: cannot resolve \$\{env:OPS_PASSWORD\}") as caught:
        resolve(Jdbc("ops", "t"))
    assert caught.value.details == ("looked in: --set",)


def test_a_password_is_nowhere_in_what_is_printed() -> None:
    resolver = Resolver()
    read = resolve(Jdbc("ops", "t"), resolver=resolver)
    assert read.properties["password"] == "hunter2"
    assert "hunter2" not in repr(read) + read.url + read.relation
    assert resolver.mask("FATAL: hunter2") == f"FATAL: {MASK}"


def test_a_connection_without_a_password_has_none() -> None:
    assert "password" not in resolve(Jdbc("ops", "t"), password=None).properties


def test_ports_follow_the_kind_unless_given() -> None:
    assert resolve(Jdbc("ops", "t"), kind="mysql").url == "jdbc:mysql://db:3306/ops"
    assert resolve(Jdbc("ops", "t"), port=6000).url == "jdbc:postgresql://db:6000/ops"
    local = Resolver(local=lambda service: {"port": "7000"})
    assert resolve(Jdbc("ops", "t"), resolver=local, port="${local:postgres.port}").url == "jdbc:postgresql://db:7000/ops"


def test_a_connection_that_is_no_database_is_refused() -> None:
    connections = {"search": Connection(kind="opensearch", host="search.example.internal")}
    with pytest.raises(ConfigError, match=r"connection search is opensearch, which has no JDBC driver"):
        jdbc.resolve("documents", Jdbc("search", "airports"), {}, connections, Resolver(), where="jobs/x.py:3")


def test_a_database_connection_names_its_database_and_user() -> None:
    with pytest.raises(ValueError, match="kind mysql needs database and user"):
        Connection(kind="mysql", host="shop.example.internal")
