"""YAML documents that remember their lines, and pydantic validation that reports them.

Everything a user writes in YAML (configs/, configs/checks/, the header of a .sql job) is read here, so that every mistake
in it is reported the same way: `file:line: dotted.key: what is wrong`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from framework.errors import ConfigError, EmrjobsError, nearest
from framework.yaml_loader import YamlLoader

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound="BaseModel")
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """One YAML mapping and where each of its keys stands.

    Attributes:
        name: the file as the user would open it (relative to the project where possible).
        data: plain dicts, lists and scalars.
        lines: line number (1-based) of each key path, `("connections", "airline_ops", "host") -> 14`.
    """

    name: str
    data: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """Line of a key, or of the nearest key above it that the file has."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def where(self, path: KeyPath = ()) -> str:
        """`file:line` of a key, for error messages."""
        line = self.line(path)
        return f"{self.name}:{line}" if line else self.name


def read(path: Path, *, name: str | None = None, error: type[EmrjobsError] = ConfigError) -> Document:
    """Read one YAML file that holds a mapping (or nothing).

    Raises:
        ConfigError (or `error`): not readable, not YAML, a key twice, or not a mapping; with file and line.
    """
    label = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise error(f"cannot be read: {exc.strerror}", where=label) from exc
    except UnicodeDecodeError as exc:
        raise error("is not UTF-8 text", where=label, fix="save the file as UTF-8") from exc
    return parse(text, name=label, error=error)


def parse(text: str, *, name: str, first_line: int = 1, error: type[EmrjobsError] = ConfigError) -> Document:
    """Parse YAML text that holds a mapping; `first_line` is where the text starts in its file."""
    offset = first_line
    try:
        root = yaml.compose(text, Loader=YamlLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"{name}:{mark.line + offset}" if mark else name
        raise error(f"is not valid YAML: {exc.problem or exc.context}", where=where, fix="check the indentation and quotes") from exc
    except yaml.YAMLError as exc:
        raise error(f"is not valid YAML: {exc}", where=name) from exc
    except UnicodeError as exc:
        raise error("is not UTF-8 text", where=name, fix="save it as UTF-8") from exc
    if root is None:
        return Document(name, {})
    if not isinstance(root, yaml.MappingNode):
        raise error("must hold key: value pairs at its top level", where=f"{name}:{root.start_mark.line + offset}")
    lines: dict[KeyPath, int] = {}
    try:
        data = _plain(root, (), lines, name, offset, error)
    except RecursionError as exc:
        raise error("is nested too deep, or refers to itself", where=name) from exc
    return Document(name, data, lines)


def _plain(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], name: str, offset: int, error: type[EmrjobsError]) -> Any:
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + offset
            if not isinstance(key_node, yaml.ScalarNode):
                raise error("a key must be a plain word", where=f"{name}:{line}")
            key = str(key_node.value)
            if key in result:
                raise error(f"{'.'.join(map(str, (*path, key)))}: is given twice", where=f"{name}:{line}", fix="remove one of the two")
            lines[(*path, key)] = line
            result[key] = _plain(value_node, (*path, key), lines, name, offset, error)
        return result
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + offset
            items.append(_plain(item, (*path, index), lines, name, offset, error))
        return items
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except Exception as exc:  # PyYAML lets whatever its conversions raise through: `2013-02-30`, `!!int x`, `!!timestamp x`
        reason = exc.problem if isinstance(exc, yaml.MarkedYAMLError) else exc
        dotted = ".".join(map(str, path))
        raise error(
            f"{dotted}: {node.value!r} cannot be read: {reason}", where=f"{name}:{node.start_mark.line + offset}", fix="put it in quotes"
        ) from exc


def validate(
    model: type[M], data: Mapping[str, Any], *, document: Document, at: KeyPath = (), error: type[EmrjobsError] = ConfigError
) -> M:
    """Build `model` from `data`, turning pydantic's complaints into one error with file, line, key and nearest key.

    Args:
        at: where `data` stands inside `document`.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise explain(exc, model, lambda path: document.where((*at, *path)), error=error, prefix=at) from exc


def explain(
    exc: ValidationError, model: type[BaseModel], where: Any, *, error: type[EmrjobsError] = ConfigError, prefix: KeyPath = ()
) -> EmrjobsError:
    """The first of pydantic's complaints as one of ours; the others become details.

    Args:
        where: maps a key path to `file:line`.
    """
    complaints = exc.errors(include_url=False, include_input=False)
    # An unknown key is most often the cause of the others (a misspelt key is also a missing one).
    complaints.sort(key=lambda item: item["type"] != "extra_forbidden")
    first = complaints[0]
    path = _without_tags(first["loc"])
    dotted = ".".join(map(str, (*prefix, *path))) or "(top level)"
    fix = None
    if first["type"] == "extra_forbidden":
        message = f"{dotted}: unknown key"
        fix = nearest(str(path[-1]), _fields_at(model, first["loc"][:-1]), what="key")
    elif first["type"] == "missing":
        message = f"{dotted}: is required and not given"
    else:
        message = f"{dotted}: {_sentence(first['msg'])}"
    others = [
        f"also {'.'.join(map(str, (*prefix, *_without_tags(item['loc']))))}: {_sentence(item['msg'])}"
        for item in complaints[1:6]
        if first["type"] != "extra_forbidden"
    ]
    return error(message, where=where(path), details=others, fix=fix)


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:]


def _without_tags(loc: Sequence[str | int]) -> KeyPath:
    # pydantic puts the branch of a union and function names into the location; users did not write those.
    tags = ("tagged-union", "function-", "constrained-", "literal[", "[key]")
    return tuple(part for part in loc if not (isinstance(part, str) and part.startswith(tags)))


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Names of the fields that are allowed where `loc` points; empty when that cannot be told."""
    import typing

    from pydantic import BaseModel as Base

    def models(annotation: Any) -> list[type[Base]]:
        if isinstance(annotation, type) and issubclass(annotation, Base):
            return [annotation]
        return [found for argument in typing.get_args(annotation) for found in models(argument)]

    current: list[type[Base]] = [model]
    for part in loc:
        stepped = [
            found
            for one in current
            for key, info in one.model_fields.items()
            if part in (key, info.alias)
            for found in models(info.annotation)
        ]
        # A key of a mapping or an index of a list does not narrow the model.
        current = stepped or current
    return sorted({info.alias or key for one in current for key, info in one.model_fields.items()})
