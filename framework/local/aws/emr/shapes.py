"""Checks a request against the shapes of its service, in the words of AWS's services.

The shapes are those that botocore ships. Its own ParamValidator serves clients: it leaves enum, maximum and pattern to the
server. One difference from AWS: a member that the model does not have is refused, not ignored, so that a typo is seen.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from framework.local.aws.answers import ApiError

_TOKENS = {
    str: "STRING_VALUE",
    bool: "BOOLEAN_VALUE",
    int: "NUMBER_VALUE",
    float: "NUMBER_VALUE",
    dict: "START_OBJECT",
    list: "START_ARRAY",
}


@dataclass(frozen=True)
class Model:
    """What botocore's model says of one service, without its documentation.

    Attributes:
        operations: by name; `input`, `output`, `http` as in the model file.
        shapes: by name.
    """

    operations: Mapping[str, Mapping[str, Any]]
    shapes: Mapping[str, Mapping[str, Any]]

    def check(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request without its null members, timestamps as seconds since the epoch.

        Raises:
            ApiError: SerializationException for a wrong type, ValidationException that lists every other problem.
        """
        shape = self.operations[operation].get("input", {}).get("shape")
        if shape is None:
            return {}
        problems: list[str] = []
        checked: dict[str, Any] = self._walk(shape, request, "", problems)
        if problems:
            count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected"
            raise ApiError("ValidationException", f"{count}: {'; '.join(problems)}")
        return checked

    def members(self, operation: str) -> list[str]:
        """Names of the members of an operation's request."""
        shape = self.operations[operation].get("input", {}).get("shape")
        return list(self.shapes[shape]["members"]) if shape else []

    def _walk(self, name: str, value: Any, path: str, problems: list[str]) -> Any:
        shape = self.shapes[name]
        kind = shape["type"]
        if kind == "structure":
            return value if shape.get("document") else self._structure(shape, value, path, problems)
        if kind == "list":
            _expect(value, list, "List")
            problems.extend(_length(shape, value, path))
            member = shape["member"]["shape"]
            return [self._walk(member, item, f"{path}.{number}.member", problems) for number, item in enumerate(value, 1)]
        if kind == "map":
            _expect(value, dict, "Map")
            problems.extend(_length(shape, value, path))
            for key in value:
                self._walk(shape["key"]["shape"], key, f"{path}.key", problems)
            item_shape = shape["value"]["shape"]
            return {key: self._walk(item_shape, item, f"{path}.{key}.member", problems) for key, item in value.items() if item is not None}
        return _scalar(shape, value, path, problems)

    def _structure(self, shape: Mapping[str, Any], value: Any, path: str, problems: list[str]) -> dict[str, Any]:
        _expect(value, dict, "Structure")
        members = shape["members"]
        for name in shape.get("required", ()):
            if value.get(name) is None:
                problems.append(f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null")
        result = {}
        for name, item in value.items():
            member = members.get(name)
            if member is None:
                problems.append(f"Value at '{_join(path, name)}' failed to satisfy constraint: Member is not known")
            elif item is not None:
                result[name] = self._walk(member["shape"], item, _join(path, name), problems)
        return result


@cache
def load(service: str) -> Model:
    """The model of a service by botocore's name for it ("emr", "emr-serverless"). Read at the first call: 0.1 CPU s."""
    from botocore.loaders import Loader

    content = Loader().load_service_model(service, "service-2")
    return Model(_bare(content["operations"]), _bare(content["shapes"]))


def _bare(value: Any) -> Any:
    """Without documentation, which is nine tenths of a model. A member that is named so is a mapping, not a text."""
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items() if key != "documentation" or not isinstance(item, str)}
    return value


def _expect(value: Any, kind: type | tuple[type, ...], name: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ApiError("SerializationException", f"{_TOKENS.get(type(value), 'VALUE')} can not be converted to {name}")


def _scalar(shape: Mapping[str, Any], value: Any, path: str, problems: list[str]) -> Any:
    kind = shape["type"]
    if kind == "string":
        _expect(value, str, "a String")
        problems.extend(_string(shape, value, path))
    elif kind in ("integer", "long"):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        _expect(value, int, "an Integer" if kind == "integer" else "a Long")
        problems.extend(_range(shape, value, path))
    elif kind in ("float", "double"):
        _expect(value, (int, float), "a Double")
        problems.extend(_range(shape, value, path))
    elif kind == "boolean":
        _expect(value, bool, "a Boolean")
    elif kind == "timestamp":
        return _timestamp(value)
    return value


def _string(shape: Mapping[str, Any], value: str, path: str) -> Iterator[str]:
    if "enum" in shape and value not in shape["enum"]:
        yield _failed(value, path, f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]")
    yield from _length(shape, value, path)
    if "pattern" in shape and not _pattern(shape["pattern"]).fullmatch(value):
        yield _failed(value, path, f"Member must satisfy regular expression pattern: {shape['pattern']}")


def _length(shape: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    if len(value) < shape.get("min", 0):
        yield _failed(value, path, f"Member must have length greater than or equal to {shape['min']}")
    if len(value) > shape.get("max", len(value)):
        yield _failed(value, path, f"Member must have length less than or equal to {shape['max']}")


def _range(shape: Mapping[str, Any], value: float, path: str) -> Iterator[str]:
    if value < shape.get("min", value):
        yield _failed(value, path, f"Member must have value greater than or equal to {shape['min']}")
    if value > shape.get("max", value):
        yield _failed(value, path, f"Member must have value less than or equal to {shape['max']}")


def _timestamp(value: Any) -> float:
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None:
            raise ApiError("SerializationException", "STRING_VALUE can not be converted to a Timestamp")
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    _expect(value, (int, float), "a Timestamp")
    return float(value)


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    # The models write characters beyond U+FFFF as Java's surrogate pairs.
    return re.compile(pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff"))


def _failed(value: Any, path: str, constraint: str) -> str:
    shown = str(value) if isinstance(value, str | int | float) else f"[{len(value)} items]"
    return f"Value '{shown[:200]}' at '{path}' failed to satisfy constraint: {constraint}"


def _join(path: str, name: str) -> str:
    name = name[:1].lower() + name[1:]
    return f"{path}.{name}" if path else name
