"""PyYAML's safe loader: the C one, ten times as fast, which is not in every build of it."""

from __future__ import annotations

try:
    from yaml import CSafeLoader as YamlLoader
except ImportError:  # pragma: no cover
    from yaml import SafeLoader as YamlLoader  # type: ignore[assignment]

__all__ = ["YamlLoader"]
