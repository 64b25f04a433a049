"""`${...}` in configuration values.

`${paths.raw}` names another key and is filled in when the configuration is read. `${env:X}`, `${file:P}`,
`${secretsmanager:NAME#KEY}`, `${ssm:NAME}` and `${local:SERVICE.VALUE}` are late: they stay references, are shown as such,
and a `Resolver` turns them into values where they are used.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from framework.errors import ConfigError, SecretUnresolved, nearest

LATE_KINDS = ("env", "file", "secretsmanager", "ssm", "local")
_REFERENCE = re.compile(r"\$\{(?:(?P<kind>[a-z]+):)?(?P<name>[^${}]+)\}")
MASK = "********"


def is_late(value: object) -> bool:
    """True for a text that is one late reference and nothing else."""
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return bool(match and match["kind"] in LATE_KINDS)


def local_services(text: str) -> set[str]:
    """Names of the local services that a value refers to."""
    return {match["name"].split(".")[0] for match in _REFERENCE.finditer(text) if match["kind"] == "local"}


def interpolate(data: Mapping[str, Any], where: Callable[[tuple[str | int, ...]], str]) -> dict[str, Any]:
    """`data` with every `${other.key}` filled in; late references stay.

    Args:
        where: maps a key path to the place it came from, for errors.

    Raises:
        ConfigError: a key is not there, is not a plain value, or refers to itself.
    """
    done: dict[tuple[str | int, ...], Any] = {}

    def value_at(path: tuple[str | int, ...], trail: tuple[tuple[str | int, ...], ...]) -> Any:
        if path in done:
            return done[path]
        if path in trail:
            circle = " -> ".join(".".join(map(str, step)) for step in (*trail[trail.index(path) :], path))
            raise ConfigError(f"{'.'.join(map(str, path))}: refers to itself: {circle}", where=where(path))
        node: Any = data
        for part in path:
            node = node[part]
        result = expand(node, path, (*trail, path))
        done[path] = result
        return result

    def expand(node: Any, path: tuple[str | int, ...], trail: tuple[tuple[str | int, ...], ...]) -> Any:
        if isinstance(node, Mapping):
            return {key: value_at((*path, key), trail) for key in node}
        if isinstance(node, list):
            return [expand(item, (*path, index), trail) for index, item in enumerate(node)]
        if not isinstance(node, str) or "${" not in node:
            return node

        def one(match: re.Match[str]) -> str:
            kind, name = match["kind"], match["name"]
            if kind is not None:
                if kind not in LATE_KINDS:
                    raise ConfigError(
                        f"{'.'.join(map(str, path))}: unknown reference ${{{kind}:...}}", where=where(path), fix=nearest(kind, LATE_KINDS)
                    )
                return match[0]
            target = tuple(name.strip().split("."))
            try:
                found = value_at(target, trail)
            except (KeyError, TypeError, IndexError):
                raise ConfigError(
                    f"{'.'.join(map(str, path))}: ${{{name}}} names no key", where=where(path), fix=nearest(name, _leaves(data), what="key")
                ) from None
            if isinstance(found, Mapping | list):
                raise ConfigError(f"{'.'.join(map(str, path))}: ${{{name}}} is a group of keys, not a value", where=where(path))
            if found is None:
                raise ConfigError(f"{'.'.join(map(str, path))}: ${{{name}}} is empty", where=where(path), fix=f"give {name} a value")
            return str(found)

        return _REFERENCE.sub(one, node)

    return {key: value_at((key,), ()) for key in data}


def _leaves(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    leaves: list[str] = []
    for key, value in data.items():
        leaves += _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return leaves


class Resolver:
    """Turns late references into values, and remembers the secret ones so that they can be masked.

    Args:
        secrets_client: maps `secretsmanager` or `ssm` to a boto3 client, called when the first such reference is met.
        local: maps a service's name to its endpoint's values, called when the first `${local:...}` is met.
        root: what a relative `${file:...}` is relative to.
        origin: maps a dotted configuration key to the place that gave its value, for errors.
    """

    def __init__(
        self,
        *,
        secrets_client: Callable[[str], Any] | None = None,
        local: Callable[[str], Mapping[str, str]] | None = None,
        root: Path | None = None,
        origin: Callable[[str], str | None] = lambda key: None,
    ) -> None:
        self._secrets_client = secrets_client
        self._local = local
        self._root = root or Path()
        self._origin = origin
        self._known: dict[str, str] = {}

    def text(self, value: object, *, key: str = "", looked_in: tuple[str, ...] = ()) -> str:
        """The value with its late references resolved.

        Args:
            key: dotted configuration key, for errors.
            looked_in: places where the key could have been given, for errors.

        Raises:
            SecretUnresolved: a reference leads nowhere.
        """

        def one(match: re.Match[str]) -> str:
            if match["kind"] not in LATE_KINDS:
                return match[0]
            try:
                return self._resolve(match["kind"], match["name"])
            except SecretUnresolved as exc:
                details = [*(["looked in: " + ", ".join(looked_in)] if looked_in else []), *exc.details]
                label = f"{key}: " if key else ""
                raise SecretUnresolved(
                    f"{label}cannot resolve {match[0]}: {exc.message}", where=self._origin(key), details=details, fix=exc.fix
                ) from exc.__cause__

        return _REFERENCE.sub(one, str(value))

    def mask(self, text: str) -> str:
        """`text` without any secret that was resolved so far."""
        for secret in sorted(set(self._known.values()), key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text

    def hide(self, secret: str) -> str:
        """Remember a secret that did not come from a reference; returns it."""
        if len(secret) >= 4:  # shorter ones would mask half of every text
            self._known[f"given:{secret}"] = secret
        return secret

    def _resolve(self, kind: str, name: str) -> str:
        reference = f"{kind}:{name}"
        if reference in self._known:
            return self._known[reference]
        if kind == "local":
            return self._from_service(name)
        value = {"env": self._from_env, "file": self._from_file, "secretsmanager": self._from_manager, "ssm": self._from_ssm}[kind](name)
        if len(value) >= 4:
            self._known[reference] = value
        return value

    def _from_service(self, name: str) -> str:
        service, _, value = name.partition(".")
        if self._local is None:
            raise SecretUnresolved("local services exist only in the embedded target", fix="use another reference in this environment")
        values = self._local(service)
        if value not in values:
            raise SecretUnresolved(f"the local service {service} has no value {value!r}", fix=nearest(value, values))
        if "password" in value or "secret" in value:
            self.hide(values[value])
        return values[value]

    def _from_env(self, name: str) -> str:
        if name not in os.environ:
            raise SecretUnresolved(f"the environment variable {name} is not set", fix=f"export {name}=...")
        return os.environ[name]

    def _from_file(self, name: str) -> str:
        path = Path(name)
        try:
            path = self._root / path.expanduser()
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError, RuntimeError) as exc:  # not there, not UTF-8 or a zero byte in the name, no such user
            raise SecretUnresolved(
                f"{path} cannot be read ({exc.__class__.__name__})", fix="create the file, readable by you only"
            ) from exc

    def _from_manager(self, name: str) -> str:
        secret_id, _, key = name.partition("#")
        answer = self._call("secretsmanager", "Secrets Manager", lambda client: client.get_secret_value(SecretId=secret_id), secret_id)
        text = answer.get("SecretString")
        if text is None:
            raise SecretUnresolved("the secret is binary, not text")
        if not key:
            return str(text)
        try:
            fields = json.loads(text)
            return str(fields[key])
        except (ValueError, TypeError):
            raise SecretUnresolved(f"the secret is not a JSON object, so it has no key {key!r}", fix="leave out #" + key) from None
        except KeyError:
            raise SecretUnresolved(f"the secret has no key {key!r}", fix=nearest(key, fields)) from None

    def _from_ssm(self, name: str) -> str:
        answer = self._call("ssm", "SSM", lambda client: client.get_parameter(Name=name, WithDecryption=True), name)
        return str(answer["Parameter"]["Value"])

    def _call(self, service: str, label: str, call: Callable[[Any], Any], name: str) -> Any:
        if self._secrets_client is None:
            raise SecretUnresolved(f"{label} cannot be asked here")
        from botocore.exceptions import BotoCoreError, ClientError

        client = self._secrets_client(service)
        try:
            return call(client)
        except ClientError as exc:
            code = exc.response.get("Error", {}).get("Code", "error")
            raise SecretUnresolved(
                f"{label} answered {code} (region {client.meta.region_name})",
                fix=f"create {name}, allow this identity to read it, or point the reference at an existing one",
            ) from exc
        except BotoCoreError as exc:
            raise SecretUnresolved(
                f"{label} could not be asked: {exc}", fix="check the network, the region and the AWS credentials"
            ) from exc
