"""Sources of settings, strongest last, and what is said when one of them is wrong."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from builders import BASE, Project, attempt, mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.config import loader
from framework.config.loader import Loaded
from framework.errors import ConfigError


def load(project: Project, *overrides: str, variables: dict[str, str] | None = None, env: str = "embedded") -> Loaded:
    return loader.load(project.root, env, overrides=overrides, variables=variables or {})


def refused(project: Project, *overrides: str, variables: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(project, *overrides, variables=variables)
    return caught.value


def origin(loaded: Loaded, key: str) -> tuple[Any, str]:
    return next((value, place) for name, value, place in loaded.leaves() if name == key)


class TestLayers:
    def test_each_layer_overrides_the_one_below_and_says_so(self, project: Project) -> None:
        key = "aws.region"
        assert origin(load(project), key) == ("us-east-1", "default")
        project.write("configs/base.yaml", BASE + "aws:\n  region: from-base\n")
        assert origin(load(project), key) == ("from-base", "configs/base.yaml:14")
        project.write("configs/env/embedded.yaml", "target: embedded\naws:\n  region: from-env\n")
        assert origin(load(project), key) == ("from-env", "configs/env/embedded.yaml:3")
        variables = {"EMRJOBS__AWS__REGION": "from-variable", "EMRJOBS_ENV": "x", "OTHER": "y"}
        assert origin(load(project, variables=variables), key) == ("from-variable", "EMRJOBS__AWS__REGION")
        assert origin(load(project, "aws.region=from-set", variables=variables), key) == ("from-set", "--set")

    def test_mappings_merge_and_lists_are_replaced(self, project: Project) -> None:
        project.write("configs/env/embedded.yaml", "paths:\n  extra: s3://extra\nlocal:\n  services: [s3]\n")
        found = load(project).settings
        assert found.paths == {"raw": "s3://raw", "extra": "s3://extra"}
        assert found.local.services == ["s3"]

    def test_a_heading_with_nothing_below_changes_nothing(self, project: Project) -> None:
        project.write("configs/env/embedded.yaml", "catalog:\nconnections:\n")
        assert load(project).settings.catalog.warehouse == "s3://warehouse"

    def test_references_follow_the_strongest_layer(self, project: Project) -> None:
        project.write("configs/base.yaml", BASE + "local:\n  seed: ${paths.raw}\n")
        assert load(project, "paths.raw=s3://other").settings.local.seed == "s3://other"

    def test_a_secret_stays_a_reference(self, project: Project) -> None:
        assert origin(load(project), "connections.ops.password")[0] == "${env:OPS_PASSWORD}"

    @pytest.mark.parametrize(
        ("given", "value"),
        [
            ("spark.cores=3", 3),
            ("spark.cores=*", "*"),
            ("local.seed=a: b", "a: b"),
            ("local.seed=", None),
            ("local.services=[s3, aws]", ["s3", "aws"]),
            ("spark.conf={spark.a.b: c}", "c"),
            ("connections.ops.host=${local:pg.host}", "${local:pg.host}"),
            ("local.seed=@x", "@x"),
        ],
    )
    def test_a_value_is_yaml_where_it_is_yaml(self, project: Project, given: str, value: object) -> None:
        key = given.split("=", maxsplit=1)[0]
        key = "spark.conf.spark.a.b" if key == "spark.conf" else key
        assert origin(load(project, given), key)[0] == value

    def test_where_a_value_could_be_given_is_told_strongest_first(self, project: Project) -> None:
        places = load(project).looked_in("connections.ops.password")
        assert places == ("--set", "EMRJOBS__CONNECTIONS__OPS__PASSWORD", "configs/env/embedded.yaml", "configs/base.yaml")


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "where", "message", "fix"),
        [
            ("target: embedded\nspark:\n  cors: 2\n", 3, "spark.cors: unknown key", "did you mean 'cores'?"),
            ("tarket: embedded\n", 1, "tarket: unknown key", "did you mean 'target'?"),
            ("connections:\n  ops:\n    pasword: ${env:X}\n", 3, "connections.ops.pasword: unknown key", "did you mean 'password'?"),
            ("connections:\n  ops:\n    password: hunter2\n", 3, "connections.ops.password: a secret must be a reference", None),
            ("connections:\n  ops:\n    port: 99999\n", 3, "connections.ops.port: input should be less than or equal to 65535", None),
            (
                "connections:\n  ops:\n    kind: postgres\n",
                3,
                "connections.ops.kind: input should be 'postgresql', 'mysql' or 'opensearch'",
                None,
            ),
            ("spark:\n  cores: 0\n", 2, "spark.cores: input should be greater than or equal to 1", None),
            ("target: aws\n", 1, "target: input should be 'embedded' or 'emr'", None),
            ("state: bucket/prefix\n", 1, "state: must be a URI such as s3://bucket/prefix", None),
            ("state: s3:///\n", 1, "state: must be a URI such as s3://bucket/prefix", None),
            ("state: file://data/state\n", 1, "state: a file:// URI has three slashes", None),
            ("paths:\n  raw: ${path.raw}\n", 2, "paths.raw: ${path.raw} names no key", "did you mean 'paths.raw'?"),
            ("aws: 5\n", 1, "aws: input should be a valid dictionary", None),
        ],
    )
    def test_a_mistake_in_a_file_is_told_with_its_line(
        self, project: Project, text: str, where: int, message: str, fix: str | None
    ) -> None:
        project.write("configs/env/embedded.yaml", text)
        error = refused(project)
        assert error.where == f"configs/env/embedded.yaml:{where}"
        assert error.message.startswith(message)
        assert error.fix == fix
        assert "hunter2" not in str(error)

    def test_bad_yaml_is_told_with_its_line(self, project: Project) -> None:
        project.write("configs/base.yaml", BASE + "paths: [\n")
        error = refused(project)
        assert str(error.where).startswith("configs/base.yaml:1")
        assert "is not valid YAML" in error.message

    def test_a_required_value_that_nobody_gives_lists_the_places(self, project: Project) -> None:
        project.write("configs/base.yaml", BASE.replace("state: s3://state\n", ""))
        error = refused(project)
        assert error.message == "state: is required and not given"
        assert error.details == ("looked in: --set, EMRJOBS__STATE, configs/env/embedded.yaml, configs/base.yaml",)

    def test_a_mistake_in_a_variable_names_the_variable(self, project: Project) -> None:
        error = refused(project, variables={"EMRJOBS__SPARK__CORS": "2"})
        assert str(error).splitlines()[0] == "EMRJOBS__SPARK__CORS: spark.cors: unknown key"

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("spark.cores", "--set spark.cores: must be key.path=value"),
            ("=3", "--set =3: must be key.path=value"),
            ("spark..cores=3", "--set: 'spark..cores' is not a key path"),
            ("spark.conf={a", "--set: is not valid YAML"),
            ("spark.cors=3", "--set: spark.cors: unknown key"),
        ],
    )
    def test_a_mistake_in_an_override_is_told(self, project: Project, override: str, message: str) -> None:
        assert str(refused(project, override)).startswith(message)

    def test_an_unknown_environment_gets_the_nearest(self, project: Project) -> None:
        project.write("configs/env/production.yaml", "")
        with pytest.raises(ConfigError, match="there is no environment 'prodution'") as caught:
            load(project, env="prodution")
        assert caught.value.fix == "did you mean 'production'?"

    def test_outside_a_project_the_fix_is_to_enter_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"configs/base\.yaml is not there") as caught:
            loader.load(tmp_path, "embedded")
        assert "--project" in str(caught.value.fix)


TEXT = BASE + "aws: {region: x}\nspark:\n  cores: 2\n  conf: {a: b}\nlocal:\n  services: [s3, aws]\n"
PIECES = [
    "${",
    "}",
    "${paths.raw}",
    "${state}",
    "${env:X}",
    ": ",
    "- ",
    "\n",
    "\t",
    "&a ",
    "*a",
    "!!int ",
    "[",
    "]",
    "{",
    "'",
    '"',
    "~",
    "|\n",
    "? ",
    "#",
    "%",
    "2013-99-99",
    "\x00",
]


@settings(deadline=None, max_examples=300)
@given(text=mutated(TEXT, PIECES, longest=30))
def test_mutated_yaml_is_settings_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.getbasetemp() / "mutated-yaml"
    (root / "configs" / "env").mkdir(parents=True, exist_ok=True)
    (root / "configs" / "base.yaml").write_text(text, encoding="utf-8", newline="")
    (root / "configs" / "env" / "embedded.yaml").write_text("", encoding="utf-8")
    outcome = attempt(lambda: loader.load(root, "embedded", variables={}))
    if isinstance(outcome, Loaded):
        assert list(outcome.leaves())
    else:
        assert (outcome.exit_code, bool(str(outcome))) == (2, True)


@settings(deadline=None, max_examples=100)
@given(key=st.text(alphabet="abcs._=$ {}:", max_size=12), value=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_any_override_is_settings_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, key: str, value: str) -> None:
    root = tmp_path_factory.getbasetemp() / "overridden"
    (root / "configs" / "env").mkdir(parents=True, exist_ok=True)
    (root / "configs" / "base.yaml").write_text(BASE, encoding="utf-8")
    (root / "configs" / "env" / "embedded.yaml").write_text("", encoding="utf-8")
    for override in (f"{key}={value}", f"local.seed={value}"):
        outcome = attempt(partial(loader.load, root, "embedded", overrides=[override], variables={}))
        assert isinstance(outcome, Loaded) or outcome.exit_code == 2
