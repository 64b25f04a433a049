"""Merge the sources of one environment and remember where each value came from.

`configs/base.yaml` < `configs/env/<name>.yaml` < `EMRJOBS__A__B=...` environment variables < `--set a.b=...`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.config import document, references
from framework.config.document import Document, KeyPath
from framework.config.model import Settings
from framework.errors import ConfigError, nearest

PREFIX = "EMRJOBS__"


@dataclass(frozen=True)
class Loaded:
    """One environment's settings with their origins.

    Attributes:
        settings: validated; late references (secrets, local services) are still references.
        env: name of the environment.
        root: the project's folder.
        origins: where each leaf came from: `configs/base.yaml:12`, `EMRJOBS__SPARK__CORES`, `--set`.
    """

    settings: Settings
    env: str
    root: Path
    origins: Mapping[KeyPath, str]

    def leaves(self) -> Iterator[tuple[str, Any, str]]:
        """(dotted key, value, origin) of every value, defaults included; secrets as their references."""
        yield from self._leaves(self.settings.model_dump(), ())

    def _leaves(self, node: Any, path: KeyPath) -> Iterator[tuple[str, Any, str]]:
        if isinstance(node, dict) and node:
            for key in node:
                yield from self._leaves(node[key], (*path, key))
        else:
            yield ".".join(map(str, path)), node, self.origins.get(path, "default")

    def origin(self, dotted: str) -> str | None:
        """Where a key's value came from; None for a default."""
        return self.origins.get(tuple(dotted.split(".")))

    def looked_in(self, dotted: str) -> tuple[str, ...]:
        """Every place where a key can be given, strongest first."""
        variable = PREFIX + "__".join(dotted.split(".")).upper()
        return ("--set", variable, f"configs/env/{self.env}.yaml", "configs/base.yaml")


def environments(root: Path) -> list[str]:
    """Names of the environments in configs/env/."""
    return sorted(file.stem for file in (root / "configs" / "env").glob("*.yaml"))


def load(root: Path, env: str, *, overrides: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> Loaded:
    """Read, merge, fill in and validate one environment.

    Args:
        root: the project's folder, which has `configs/`.
        overrides: `key.path=value` texts of `--set`, values in YAML.
        variables: environment variables; this process's own when None.

    Raises:
        ConfigError: a source is wrong; with file, line, key and the nearest key.
    """
    base = _file(root, "base.yaml", required=True)
    file = root / "configs" / "env" / f"{env}.yaml"
    if not file.is_file():
        raise ConfigError(
            f"there is no environment {env!r}", where="configs/env/", fix=nearest(env, environments(root), what="file in configs/env/")
        )
    layers = [base, _file(root, f"env/{env}.yaml")]
    layers += _from_variables(os.environ if variables is None else variables)
    layers += [_from_override(text) for text in overrides]

    merged: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    for layer in layers:
        _merge(merged, layer.data, layer, (), origins)

    def where(path: KeyPath) -> str:
        for length in range(len(path), 0, -1):
            if path[:length] in origins:
                return origins[path[:length]]
        return f"configs/env/{env}.yaml"

    filled = references.interpolate(merged, where)
    return Loaded(_validate(filled, where, env), env, root, origins)


def _validate(data: Mapping[str, Any], where: Any, env: str) -> Settings:
    from pydantic import ValidationError

    try:
        return Settings.model_validate(data)
    except ValidationError as exc:
        error = document.explain(exc, Settings, where)
        missing = [item for item in exc.errors(include_url=False, include_input=False) if item["type"] == "missing"]
        if missing and len(missing) == len(exc.errors()):
            dotted = ".".join(map(str, missing[0]["loc"]))
            places = ("--set", PREFIX + dotted.replace(".", "__").upper(), f"configs/env/{env}.yaml", "configs/base.yaml")
            raise ConfigError(
                f"{dotted}: is required and not given",
                details=["looked in: " + ", ".join(places)],
                fix=f"add {dotted} to configs/env/{env}.yaml",
            ) from exc
        raise error from exc


def _file(root: Path, name: str, *, required: bool = False) -> Document:
    path = root / "configs" / name
    if required and not path.is_file():
        raise ConfigError(f"configs/{name} is not there", where=str(root), fix="run the command inside a project, or give --project")
    return document.read(path, name=f"configs/{name}")


def _from_variables(variables: Mapping[str, str]) -> list[Document]:
    documents = []
    for variable in sorted(variables):
        if variable.startswith(PREFIX):
            path = [part.lower() for part in variable[len(PREFIX) :].split("__")]
            documents.append(_single(path, variables[variable], variable))
    return documents


def _from_override(text: str) -> Document:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: must be key.path=value")
    return _single(key.strip().split("."), value, "--set")


def _single(path: Sequence[str], value: str, origin: str) -> Document:
    if not all(path):
        raise ConfigError(f"{origin}: {'.'.join(path)!r} is not a key path")
    nested: Any = _value(value, origin)
    for part in reversed(path):
        nested = {part: nested}
    return Document(origin, nested)


def _value(text: str, origin: str) -> Any:
    """A value given on the command line or in the environment: YAML where it is YAML, else the text itself (`*`, `a: b`)."""
    if "${" in text or "\n" in text:
        return text
    try:
        return document.parse(f"value: {text}", name=origin).data.get("value")
    except ConfigError as exc:
        if text.lstrip().startswith(("[", "{", "'", '"')):  # meant as YAML
            raise ConfigError(exc.message, where=origin, fix="check the brackets and quotes") from exc
        return text


def _merge(target: dict[str, Any], source: Mapping[str, Any], layer: Document, path: KeyPath, origins: dict[KeyPath, str]) -> None:
    for key, value in source.items():
        here = (*path, key)
        if isinstance(value, dict) and value:
            # Names below `connections:` and `paths:` come from variables in lower case; files decide the spelling.
            if not isinstance(target.get(key), dict):
                target[key] = {}
            origins.setdefault(here, layer.where(here))
            _merge(target[key], value, layer, here, origins)
        elif value is None and isinstance(target.get(key), dict):
            continue  # `aws:` with nothing below it changes nothing
        else:
            for stale in [known for known in origins if known[: len(here)] == here]:
                del origins[stale]
            target[key] = value
            origins[here] = layer.where(here)
