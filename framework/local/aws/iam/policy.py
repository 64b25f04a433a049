"""Identity-based policies: does a set of documents allow an action on a resource? Trust policies: may a service assume the role?

An explicit Deny wins, else any Allow, else it is denied (IAM User Guide, "Policy evaluation logic"). Permission boundaries,
session and other resource-based policies are not looked at.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

Document: TypeAlias = Mapping[str, Any]
Context: TypeAlias = Mapping[str, str]

ANY = "*"
"""The resource of an action that has none of its own: only a statement about every resource covers it."""


def allows(documents: Iterable[Document], action: str, resource: str, context: Context) -> bool:
    """Whether the documents together allow `action` on `resource`.

    Args:
        action: `service:Operation`, in any case.
        resource: an ARN, or `*`.
        context: condition keys of the request in lower case (`s3:prefix`, `aws:requestedregion`).
    """
    return _decide(documents, lambda statement: _concerns(statement, action, resource), context)


def trusts(document: Document, service: str, context: Context) -> bool:
    """Whether a role's trust policy lets a service assume the role.

    Args:
        service: its principal, such as `ec2.amazonaws.com`.
        context: as for `allows`; services give `aws:sourceaccount` and `aws:sourcearn`.
    """

    def concerns(statement: Document) -> bool:
        principal = statement.get("Principal", {})
        services = principal.get("Service") if isinstance(principal, Mapping) else principal
        return _any_like(services, service) and _any_like(statement.get("Action"), "sts:AssumeRole", fold=True)

    return _decide([document], concerns, context)


def _decide(documents: Iterable[Document], concerns: Callable[[Document], bool], context: Context) -> bool:
    allowed = False
    for document in documents:
        for statement in _listed(document.get("Statement")):
            if concerns(statement) and _holds(statement.get("Condition", {}), context):
                if statement.get("Effect") == "Deny":
                    return False
                allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def _concerns(statement: Document, action: str, resource: str) -> bool:
    if "NotAction" in statement:
        named = not _any_like(statement["NotAction"], action, fold=True)
    else:
        named = _any_like(statement.get("Action"), action, fold=True)
    if "NotResource" in statement:
        return named and not _any_like(statement["NotResource"], resource)
    return named and _any_like(statement.get("Resource"), resource)


def _any_like(patterns: Any, value: str, *, fold: bool = False) -> bool:
    return any(_like(str(pattern), value, fold) for pattern in _listed(patterns))


def _like(pattern: str, value: str, fold: bool = False) -> bool:
    return _compiled(pattern, fold).match(value) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str, fold: bool) -> re.Pattern[str]:
    # fnmatch knows * and ? as IAM does, and [] as it does not.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")), re.IGNORECASE if fold else 0)


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Every operator and every key in it must hold; one of a key's values is enough."""
    return all(
        _compare(operator, context.get(key.lower()), [str(value) for value in _listed(values)])
        for operator, keys in conditions.items()
        for key, values in keys.items()
    )


def _compare(operator: str, actual: str | None, expected: list[str]) -> bool:
    name = operator.rpartition(":")[2].lower()  # ForAnyValue: and ForAllValues: are the same for keys with one value
    if name == "null":
        return (actual is None) == (expected[0].lower() == "true")
    optional = name.endswith("ifexists")
    name = name.removesuffix("ifexists")
    if actual is None:
        return optional or "not" in name
    test = _OPERATORS.get(name)
    if test is None:  # an operator that we do not know grants nothing
        return False
    found = any(test(actual, value) for value in expected)
    return not found if name in _NEGATED else found


def _in_network(actual: str, network: str) -> bool:
    return ipaddress.ip_address(actual) in ipaddress.ip_network(network, strict=False)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "stringequals": lambda actual, value: actual == value,
    "stringequalsignorecase": lambda actual, value: actual.lower() == value.lower(),
    "stringlike": lambda actual, value: _like(value, actual),
    "arnequals": lambda actual, value: _like(value, actual),
    "arnlike": lambda actual, value: _like(value, actual),
    "bool": lambda actual, value: actual.lower() == value.lower(),
    "ipaddress": _in_network,
}
_OPERATORS |= {
    "stringnotequals": _OPERATORS["stringequals"],
    "stringnotequalsignorecase": _OPERATORS["stringequalsignorecase"],
    "stringnotlike": _OPERATORS["stringlike"],
    "arnnotequals": _OPERATORS["arnlike"],
    "arnnotlike": _OPERATORS["arnlike"],
    "notipaddress": _in_network,
}
_NEGATED = frozenset(name for name in _OPERATORS if "not" in name)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
