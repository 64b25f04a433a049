"""What Great Expectations can check, as data: its expectations and their arguments.

`expectations.json` is written from the installed Great Expectations by `python -m framework.quality.catalogue`, so that a
suite can be validated without the seconds that importing Great Expectations takes. A test holds the two together.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("expectations.json")

# Great Expectations' own plumbing, or said in another way here (severity, note, the SQL of row_condition).
_HIDDEN = frozenset(
    {
        "batch_id",
        "catch_exceptions",
        "condition_parser",
        "description",
        "id",
        "library_metadata",
        "meta",
        "notes",
        "rendered_content",
        "result_format",
        "severity",
        "windows",
    }
)


@dataclass(frozen=True)
class Argument:
    """One argument of an expectation.

    Attributes:
        kinds: what a value may be: string, number, integer, fraction (0 to 1), boolean, date, list, mapping, null.
        choices: the words that are allowed, when it is one of a few.
    """

    required: bool
    kinds: frozenset[str]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """One expectation that Great Expectations knows.

    Attributes:
        engines: `spark`, `sql`: where it can be computed.
        any_of: arguments of which at least one must be given.
        per_row: it judges rows (and so has offending ones), not the table or a column as a whole.
    """

    arguments: Mapping[str, Argument]
    engines: frozenset[str]
    any_of: tuple[str, ...]
    per_row: bool


@cache
def load() -> Mapping[str, Known]:
    """The expectations of the shipped catalogue, by type."""
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: Known(
            arguments={
                key: Argument(argument.get("required", False), frozenset(argument["kinds"]), tuple(argument.get("choices", ())))
                for key, argument in known["arguments"].items()
            },
            engines=frozenset(known["engines"]),
            any_of=tuple(known.get("any_of", ())),
            per_row=known.get("per_row", False),
        )
        for name, known in data["expectations"].items()
    }


def generate() -> dict[str, Any]:
    """The catalogue of the installed Great Expectations (imports it: about 2 CPU seconds)."""
    from framework.quality.gx import import_gx

    import_gx()
    from great_expectations.expectations.registry import get_expectation_impl, list_registered_expectation_implementations

    names = sorted(list_registered_expectation_implementations())
    return {"expectations": {name: _describe(get_expectation_impl(name)) for name in names if _is_core(get_expectation_impl(name))}}


def _is_core(implementation: Any) -> bool:
    return str(implementation.__module__).startswith("great_expectations.expectations.core.")


def _describe(implementation: Any) -> dict[str, Any]:
    arguments = {}
    for key, field in sorted(implementation.__fields__.items()):
        if key in _HIDDEN:
            continue
        kinds, choices = _kinds(field.outer_type_)
        # A dict also stands for Great Expectations' own parameters, which we write as "{name}".
        kinds = (kinds - {"mapping"}) or kinds
        if key == "row_condition":
            kinds = {"string"}
        arguments[key] = {
            **({"required": True} if field.required else {}),
            "kinds": sorted(kinds),
            **({"choices": choices} if choices else {}),
        }
    return {
        "arguments": arguments,
        "engines": _engines(implementation),
        **({"any_of": ["min_value", "max_value"]} if _needs_a_bound(implementation) else {}),
        **({"per_row": True} if getattr(implementation, "map_metric", None) or "unexpected_rows_query" in arguments else {}),
    }


def _kinds(annotation: Any) -> tuple[set[str], list[str]]:
    """Kinds and choices of a type annotation of pydantic 1, which Great Expectations' models use."""
    import datetime

    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kinds(arguments[0])
    if origin is typing.Union:
        found = [_kinds(argument) for argument in arguments]
        return set().union(*(kinds for kinds, _ in found)), [choice for _, choices in found for choice in choices]
    if origin is typing.Literal:
        return {"string"}, [str(choice) for choice in arguments]
    if not isinstance(origin or annotation, type):
        raise TypeError(f"no kind is known for {annotation!r}")
    plain: type = origin or annotation
    if (getattr(plain, "ge", None), getattr(plain, "le", None)) == (0, 1):
        return {"fraction"}, []
    table: list[tuple[type | tuple[type, ...], str]] = [
        (type(None), "null"),
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        ((datetime.datetime, datetime.date), "date"),
        (typing.cast("tuple[type, ...]", (list, set, tuple)), "list"),
    ]
    for types, kind in table:
        if issubclass(plain, types):
            return {kind}, []
    return ({"list"} if issubclass(plain, Iterable) and not issubclass(plain, Mapping) and origin else {"mapping"}), []


def _engines(implementation: Any) -> list[str]:
    from great_expectations.expectations.registry import _registered_metrics as registered

    metric = getattr(implementation, "map_metric", None)
    needed = [f"{metric}.unexpected_count"] if metric else list(getattr(implementation, "metric_dependencies", ()))
    if "other_table_name" in implementation.__fields__:  # the Spark engine knows one frame only
        return ["sql"]
    # Expectations about types bring a method for each engine instead of a metric.
    kinds = {"spark": ("SparkDFExecutionEngine", "_validate_spark"), "sql": ("SqlAlchemyExecutionEngine", "_validate_sqlalchemy")}
    return [
        engine
        for engine, (name, method) in kinds.items()
        if hasattr(implementation, method) or all(name in registered.get(metric, {}).get("providers", {}) for metric in needed)
    ]


def _needs_a_bound(implementation: Any) -> bool:
    """Whether Great Expectations refuses this expectation without both min_value and max_value."""
    fields = implementation.__fields__
    if not {"min_value", "max_value"} <= fields.keys() or fields["min_value"].required:
        return False
    needed = {key: "x" for key, field in fields.items() if field.required}
    try:
        implementation(**needed)
    except ValueError:
        return True
    return False


def text(data: Mapping[str, Any]) -> str:
    """A catalogue as the shipped file writes it: one line for each argument, so that an upgrade is a readable diff."""
    blocks = []
    for name, known in data["expectations"].items():
        rest = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in known.items() if key != "arguments")
        arguments = ",\n".join(f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in known["arguments"].items())
        blocks.append(f' {json.dumps(name)}: {{{rest}, "arguments": {{\n{arguments}}}}}')
    return '{"expectations": {\n' + ",\n".join(blocks) + "\n}}\n"


def write() -> None:
    """Write the shipped file anew, from the installed Great Expectations."""
    _FILE.write_text(text(generate()), encoding="utf-8")


if __name__ == "__main__":
    write()
