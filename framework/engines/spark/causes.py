"""What Spark, the JVM and Python workers say when something fails, as plain values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from framework.errors import nearest

MAX = 300  # characters of a foreign message that one of ours carries

_TRACEBACK = "Traceback (most recent call last):"
_DEEPEST = 20
# Their names say nothing that their messages do not say.
_PLAIN_KINDS = ("RuntimeException", "Exception", "SparkException", "AnalysisException", "ExtendedAnalysisException", "ParseException")
_SUGGESTION = re.compile(r"\s*Did you mean one of the following\? \[(?P<names>[^\]]*)\]\.?")
_NOISE = re.compile(r"\s*;?\s*line \d+,? pos \d+;?\s*$|\s*\(line \d+, pos(?:ition)? \d+\)|\s*SQLSTATE: \w+|;\s*$")


@dataclass(frozen=True)
class Cause:
    """One exception of a chain.

    Attributes:
        kind: its class, without the package.
        sqlstate: of an exception that a JDBC driver raised, else None.
    """

    kind: str
    message: str
    sqlstate: str | None = None

    @property
    def sentence(self) -> str:
        """One line without Spark's error class, position, plan and suggestions."""
        text = one_line(re.sub(r"\A\s*\[[A-Z0-9_.]+\]\s*", "", self.message))
        text = _NOISE.sub("", _SUGGESTION.sub("", text)) or self.kind
        plain = self.kind in _PLAIN_KINDS or self.message.lstrip().startswith("[")
        return text if plain or text == self.kind else f"{self.kind}: {text}"

    @property
    def suggestion(self) -> str | None:
        """What Spark suggests instead of an unknown name: `did you mean 'carrier'?`."""
        found, unknown = _SUGGESTION.search(self.message), re.search(r"`[^`]+`(?:\.`[^`]+`)*", self.message)
        if not found or not unknown:
            return None
        return nearest(unknown[0].replace("`", ""), found["names"].replace("`", "").split(", "))

    @property
    def place(self) -> tuple[int, int] | None:
        """(1-based line, 0-based column) of the SQL text that it complains about."""
        if found := re.search(r"\bline (\d+),? pos (\d+)", self.message):
            return int(found[1]), int(found[2])
        # The context of an error at run time, whose positions start at 1.
        if found := re.search(r"== SQL.*\(line (\d+), position (\d+)\)", self.message):
            return int(found[1]), int(found[2]) - 1
        return None


@dataclass(frozen=True)
class WorkerError:
    """An exception in a Python worker: `error` is its last line, `frames` are (file, line), the innermost last."""

    error: str
    frames: Sequence[tuple[str, int]]


def causes(exc: Exception, jvm: Any) -> list[Cause]:
    """The chain of Java exceptions behind one of Python's, the root cause last; the Python exception itself where there is none.

    Args:
        jvm: `spark._jvm`.
    """
    java = getattr(exc, "java_exception", None) or getattr(exc, "_origin", None)
    if java is None:
        return [Cause(type(exc).__name__, str(exc))]
    chain: list[Cause] = []
    while java is not None and len(chain) < _DEEPEST:
        name = str(java.getClass().getName()).rsplit(".", 1)[-1]
        sql = jvm.py4j.reflection.TypeUtil.isInstanceOf("java.sql.SQLException", java)
        chain.append(Cause(name, str(java.getMessage() or ""), str(java.getSQLState() or "") if sql else None))
        java = java.getCause()
    return chain


def worker_error(chain: Sequence[Cause]) -> WorkerError | None:
    """The exception that a Python worker sent as text, if there is one in the chain."""
    text = next((cause.message for cause in chain if _TRACEBACK in cause.message), None)
    if text is None:
        return None
    block = text.rpartition(_TRACEBACK)[2]
    frames = [(file, int(line)) for file, line in re.findall(r'^  File "([^"]+)", line (\d+)', block, re.MULTILINE)]
    last = re.search(r"^\S.*$", block, re.MULTILINE)
    return WorkerError(re.sub(r"\A(?:\w+\.)+(?=\w+(?::|\Z))", "", one_line(last[0] if last else "no message")), frames)


def one_line(text: str) -> str:
    """The first line that is not empty, cut to `MAX` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= MAX else line[:MAX].rstrip() + " ..."


def more_lines(text: str) -> list[str]:
    """Up to five lines after the first one."""
    lines = [line.rstrip() for line in text.strip().splitlines() if line.strip()]
    return [one_line(line) for line in lines[1:6]]
