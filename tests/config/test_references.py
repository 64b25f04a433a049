"""`${...}`: other keys now, secrets as late as possible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from builders import attempt
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.config.references import MASK, Resolver, interpolate, is_late
from framework.errors import ConfigError, SecretUnresolved

KEYS = st.sampled_from(["a", "b", "c"])
PIECES = st.sampled_from(["${a}", "${b}", "${a.b}", "${c.a}", "${env:X}", "${no}", "${", "}", "$", "x", "${x:y}"])
TREES = st.recursive(
    st.one_of(st.lists(PIECES, max_size=3).map("".join), st.none(), st.integers()),
    lambda inner: st.dictionaries(KEYS, inner) | st.lists(inner, max_size=2),
    max_leaves=8,
)


def filled(data: Mapping[str, Any]) -> dict[str, Any]:
    return interpolate(data, lambda path: "a.yaml:" + ".".join(map(str, path)))


class TestInterpolate:
    def test_other_keys_are_filled_in_to_any_depth(self) -> None:
        data = {"a": "${b.c}/x", "b": {"c": "${d}", "l": ["${d}", {"e": "${a}"}]}, "d": 5}
        assert filled(data) == {"a": "5/x", "b": {"c": "5", "l": ["5", {"e": "5/x"}]}, "d": 5}

    def test_late_references_stay(self) -> None:
        assert filled({"a": "${env:HOME}", "b": "${a}/x"}) == {"a": "${env:HOME}", "b": "${env:HOME}/x"}

    @pytest.mark.parametrize(
        ("data", "where", "message"),
        [
            ({"a": "${b}"}, "a.yaml:a", r"a: \$\{b\} names no key"),
            ({"a": {"b": "${a.b.c}"}}, "a.yaml:a.b", "refers to itself|names no key"),
            ({"a": "${b}", "b": "${c}", "c": "${a}"}, "a.yaml:a", "refers to itself: a -> b -> c -> a"),
            ({"a": {"b": "${a}"}}, "a.yaml:a", "refers to itself"),
            ({"a": "${b}", "b": {"c": 1}}, "a.yaml:a", "is a group of keys"),
            ({"a": "${b}", "b": None}, "a.yaml:a", r"\$\{b\} is empty"),
            ({"a": "${vault:x}"}, "a.yaml:a", "unknown reference"),
            ({"a": ["${b.0}"], "b": ["x"]}, "a.yaml:a.0", "names no key"),
        ],
    )
    def test_what_leads_nowhere_is_told_with_its_place(self, data: dict[str, Any], where: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            filled(data)
        assert caught.value.where == where

    def test_a_misspelt_key_gets_the_nearest(self) -> None:
        with pytest.raises(ConfigError) as caught:
            filled({"a": "${paths.rw}", "paths": {"raw": "x"}})
        assert caught.value.fix == "did you mean 'paths.raw'?"

    @settings(deadline=None, max_examples=100)
    @given(data=st.dictionaries(KEYS, TREES))
    def test_any_tree_is_filled_in_or_refused(self, data: dict[str, Any]) -> None:
        outcome = attempt(lambda: filled(data))
        assert outcome.where if isinstance(outcome, ConfigError) else filled(outcome) == outcome


def test_only_a_whole_reference_is_late() -> None:
    assert is_late("${env:X}")
    assert not is_late("x${env:X}")
    assert not is_late("${paths.raw}")
    assert not is_late("${vault:x}")
    assert not is_late(5)


class TestResolver:
    def test_environment_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PW", "s3cret-value")
        assert Resolver().text("${env:PW}") == "s3cret-value"

    def test_a_variable_that_is_not_set_says_where_was_looked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PW", raising=False)
        with pytest.raises(SecretUnresolved) as caught:
            Resolver().text("${env:PW}", key="connections.ops.password", looked_in=("--set", "configs/base.yaml"))
        assert str(caught.value) == (
            "connections.ops.password: cannot resolve ${env:PW}: the environment variable PW is not set\n"
            "  looked in: --set, configs/base.yaml\n"
            "  fix: export PW=..."
        )
        assert caught.value.exit_code == 2

    def test_files_relative_to_the_project_without_their_last_newline(self, tmp_path: Path) -> None:
        (tmp_path / "pw").write_text(" top secret \n", encoding="utf-8")
        assert Resolver(root=tmp_path).text("${file:pw}") == " top secret "

    @pytest.mark.parametrize("name", ["no/such", ".", "~nobody_of_that_name/x", "zero\x00byte", "latin1"])
    def test_a_file_that_cannot_be_read_is_told(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "latin1").write_bytes(b"caf\xe9")
        with pytest.raises(SecretUnresolved, match="cannot be read"):
            Resolver(root=tmp_path).text(f"${{file:{name}}}")

    def test_local_services_only_where_there_are_any(self) -> None:
        assert Resolver(local=lambda service: {"port": "1234"}).text("${local:postgres.port}") == "1234"
        with pytest.raises(SecretUnresolved, match="only in the embedded target"):
            Resolver().text("${local:postgres.port}")
        with pytest.raises(SecretUnresolved, match="has no value 'prt'") as caught:
            Resolver(local=lambda service: {"port": "1234"}).text("${local:postgres.prt}")
        assert caught.value.fix == "did you mean 'port'?"

    def test_what_was_resolved_is_masked_longest_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("A", "hunter2")
        monkeypatch.setenv("B", "hunter2-and-more")
        resolver = Resolver()
        resolver.text("${env:A} ${env:B}")
        assert resolver.mask("login hunter2-and-more failed, hunter2 too") == f"login {MASK} failed, {MASK} too"

    def test_a_service_s_password_is_masked_and_its_port_is_not(self) -> None:
        resolver = Resolver(local=lambda service: {"port": "5432", "password": "hunter2"})
        resolver.text("${local:postgres.port} ${local:postgres.password}")
        assert resolver.mask("5432 hunter2") == f"5432 {MASK}"


def stubbed(service: str, operation: str, **answer: Any) -> Resolver:
    client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    stub = Stubber(client)
    if "code" in answer:
        stub.add_client_error(operation, service_error_code=answer["code"])
    else:
        stub.add_response(operation, answer)
    stub.activate()
    return Resolver(secrets_client=lambda name: client)


class TestSecretsManager:
    def test_a_text_secret_and_a_key_of_a_json_one(self) -> None:
        assert stubbed("secretsmanager", "get_secret_value", SecretString="pw").text("${secretsmanager:prod/x}") == "pw"
        secret = json.dumps({"user": "u", "password": "hunter2"})
        assert stubbed("secretsmanager", "get_secret_value", SecretString=secret).text("${secretsmanager:x#password}") == "hunter2"

    def test_it_is_asked_once(self) -> None:
        resolver = stubbed("secretsmanager", "get_secret_value", SecretString="hunter2")
        assert resolver.text("${secretsmanager:x}") == resolver.text("${secretsmanager:x}")

    @pytest.mark.parametrize(
        ("answer", "message", "fix"),
        [
            ({"SecretString": '{"pasword": "x"}'}, "has no key 'password'", "did you mean 'pasword'?"),
            ({"SecretString": "plain"}, "is not a JSON object", "leave out #password"),
            ({"SecretString": "[1]"}, "is not a JSON object", "leave out #password"),
            ({"SecretBinary": b"x"}, "is binary", None),
            ({"code": "ResourceNotFoundException"}, r"answered ResourceNotFoundException \(region eu-west-1\)", "create x, allow"),
            ({"code": "AccessDeniedException"}, "answered AccessDeniedException", "create x, allow"),
        ],
    )
    def test_what_leads_nowhere_is_told(self, answer: dict[str, Any], message: str, fix: str | None) -> None:
        with pytest.raises(SecretUnresolved, match=message) as caught:
            stubbed("secretsmanager", "get_secret_value", **answer).text("${secretsmanager:x#password}")
        assert (caught.value.fix or "").startswith(fix or "")
        assert "plain" not in str(caught.value)

    def test_a_service_that_does_not_answer_is_told(self) -> None:
        class Down:
            def get_secret_value(self, **arguments: Any) -> Any:
                raise EndpointConnectionError(endpoint_url="https://secretsmanager")

        with pytest.raises(SecretUnresolved, match="could not be asked"):
            Resolver(secrets_client=lambda name: Down()).text("${secretsmanager:x}")


def test_parameters_of_ssm() -> None:
    assert stubbed("ssm", "get_parameter", Parameter={"Value": "pw"}).text("${ssm:/prod/pw}") == "pw"
    with pytest.raises(SecretUnresolved, match="SSM answered ParameterNotFound"):
        stubbed("ssm", "get_parameter", code="ParameterNotFound").text("${ssm:/prod/pw}")
