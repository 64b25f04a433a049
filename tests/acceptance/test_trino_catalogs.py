"""The Trino catalog files that come of the project's own configuration, word for word, and the same as EMR classifications."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework.config.loader import load
from framework.sources import trino_catalogs

PROJECT = Path(__file__).parents[2]
EXPECTED = Path(__file__).parent / "trino_catalogs"

# Every kind of connection, beside the project's own.
MORE = [
    "connections.fleet.kind=mysql",
    "connections.fleet.host=fleet.example.internal",
    "connections.fleet.database=fleet",
    "connections.fleet.user=etl",
    "connections.fleet.password=${env:FLEET}",
    "connections.airline_ops.options.ApplicationName=a b",
]


def shown(value: str, key: str) -> str:
    """Late references stay as they are, except that secrets come with their value, which must not appear."""
    return "SECRET-VALUE" if "secretsmanager" in value or "env:" in value or "_key" in value else value


@pytest.mark.parametrize("env", ["embedded", "prod"])
def test_the_catalogs_of_an_environment_are_as_expected(env: str, request: pytest.FixtureRequest) -> None:
    catalogs = trino_catalogs.render(load(PROJECT, env, overrides=MORE, variables={}).settings, shown)
    parts = [f"# {name}\n{text}" for name, text in catalogs.files().items()]
    found = "\n".join([*parts, "# as EMR takes them", json.dumps(catalogs.classifications(), indent=2), ""])
    assert "SECRET-VALUE" not in found
    assert set(catalogs.environment.values()) == {"SECRET-VALUE"}
    expected = EXPECTED / f"{env}.txt"
    if request.config.getoption("--update-acceptance"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")
