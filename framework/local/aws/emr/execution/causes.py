"""Why a piece of work failed, read off the end of its logs: what EMR shows as FailureDetails."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "Unknown Error."

_TAIL = 256 * 1024
_MESSAGE = 2000  # characters that are shown

# EMR's short reasons, by what a log says. The first three are EMR's (API Reference, FailureDetails); their exact texts are not confirmed.
_REASONS = (
    (re.compile(r"FileAlreadyExistsException|Output directory \S+ already exists"), "Output directory already exists."),
    (re.compile(r"InvalidInputException|Input path does not exist|Path does not exist|bad input path"), "Input path does not exist."),
    (
        re.compile(r"Failed to load class|ClassNotFoundException|Could not find or load main class"),
        "Main Class not found.",
    ),
    (re.compile(r"OutOfMemoryError"), "Out of memory."),
)
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):$")
_JAVA = re.compile(r"^(?:Exception in thread \"[^\"]*\" )?((?:[a-z_$][\w$]*\.)+[\w$]*(?:Exception|Error|Failure)\b.*)$")
_CAUSED = re.compile(r"^\s*Caused by: (.*)$")
_PY4J = re.compile(r"^: (\S.*)$")
_LOG_ERROR = re.compile(r"\b(?:ERROR|FATAL)\b[: ]\s*(.*)$")


@dataclass(frozen=True)
class Cause:
    """The line that explains a failure.

    Attributes:
        log: the file that it was found in; None when no log says anything.
    """

    reason: str
    message: str | None
    log: Path | None


def explain(logs: Iterable[Path], exit_code: int) -> Cause:
    """Find the root cause in the logs, the most telling first.

    Args:
        exit_code: said where the logs are silent.
    """
    fallback: tuple[str, Path] | None = None
    for log in logs:
        lines = _tail(log)
        message = _root(lines)
        if message is not None:
            return Cause(_reason("\n".join(lines)), message[:_MESSAGE], log)
        last = next((line.strip() for line in reversed(lines) if line.strip()), None)
        if last is not None and fallback is None:
            fallback = (last, log)
    if fallback is not None:
        return Cause(_reason(fallback[0]), fallback[0][:_MESSAGE], fallback[1])
    return Cause(UNKNOWN, f"exit code {exit_code}, and nothing in the logs", None)


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            return file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _root(lines: list[str]) -> str | None:
    """The exception at the bottom of the last traceback or stack trace."""
    starts = [index for index, line in enumerate(lines) if _TRACEBACK.match(line)]
    if starts:
        return _python(lines[starts[-1] + 1 :])
    java = None
    caused = None
    for line in lines:
        if (match := _JAVA.match(line)) is not None:
            java, caused = line.strip(), None
        elif java is not None and (match := _CAUSED.match(line)) is not None:
            caused = match.group(1)
    if java is not None:
        return f"{java} Caused by: {caused}" if caused else java
    errors = [match.group(1) for line in lines if (match := _LOG_ERROR.search(line)) is not None]
    return errors[-1] if errors else None


def _python(lines: list[str]) -> str | None:
    for index, line in enumerate(lines):
        if not line.startswith((" ", "\t")) and line.strip():
            if line.startswith("py4j.protocol.Py4JJavaError"):
                java = next((match.group(1) for later in lines[index:] if (match := _PY4J.match(later))), None)
                return java or line.strip()
            return line.strip()
    return None


def _reason(text: str) -> str:
    return next((reason for pattern, reason in _REASONS if pattern.search(text)), UNKNOWN)
