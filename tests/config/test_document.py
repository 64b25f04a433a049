"""YAML with lines: every mistake is one error that names file and line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from framework.config import document
from framework.errors import ConfigError, SuiteError


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        document.parse(text, name="a.yaml")
    return caught.value


def test_values_are_plain_and_keys_know_their_lines() -> None:
    found = document.parse("a: 1\nb:\n  c: [x, 2013-01-15]\n", name="a.yaml")
    assert found.data == {"a": 1, "b": {"c": ["x", dt.date(2013, 1, 15)]}}
    assert found.where(("b", "c")) == "a.yaml:3"
    assert found.where(("b", "nope")) == "a.yaml:2"
    assert found.where(("nope",)) == "a.yaml"


def test_lines_count_from_where_the_text_starts() -> None:
    assert document.parse("a: 1\nb: 2", name="x.sql", first_line=7).where(("b",)) == "x.sql:8"


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert document.parse("# nothing\n", name="a.yaml").data == {}


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert document.parse("\ufeffa: 1", name="a.yaml").data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: 1\n  b: 2\n", "a.yaml:2", "is not valid YAML"),
        ("a: [1, 2\n", "a.yaml:2", "is not valid YAML"),
        ("a: 'x\n", "a.yaml:2", "is not valid YAML"),
        ("a: *nope\n", "a.yaml:1", "is not valid YAML"),
        ("a:\tb:\n\t- c", "a.yaml:1", "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2", "is not valid YAML"),
        ("a: \x01\n", "a.yaml", "is not valid YAML"),
        ("a: \ud800\n", "a.yaml", "is not UTF-8"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3", "a: is given twice"),
        ("x:\n  a: 1\n  a: 3\n", "a.yaml:3", "x.a: is given twice"),
        ("? [a]\n: b\n", "a.yaml:1", "a key must be a plain word"),
        ("- a\n", "a.yaml:1", "must hold key: value pairs"),
        ("text\n", "a.yaml:1", "must hold key: value pairs"),
        ("a: 1\nb: 2013-02-30\n", "a.yaml:2", "b: '2013-02-30' cannot be read"),
        ("a: !!python/object/apply:os.system [ls]\nb: !!python/name:os.system x\n", "a.yaml:2", "could not determine a constructor"),
        ("a: !!timestamp x\n", "a.yaml:1", "a: 'x' cannot be read"),
        ("a: !!int ''\n", "a.yaml:1", "a: '' cannot be read"),
        ("a: &a\n  b: *a\n", "a.yaml", "refers to itself"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, where: str, message: str) -> None:
    error = refused(text)
    assert error.where == where
    assert message in error.message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read: No such file"):
        document.read(tmp_path / "no.yaml", error=SuiteError)


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"a: caf\xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        document.read(file, name="configs/a.yaml")
