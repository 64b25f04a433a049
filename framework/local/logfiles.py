"""Reading and rotating the servers' logs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

ROTATE_AT = 50 * 1024 * 1024
"""Bytes from which a log is put aside as `<name>.log.1` before the next start."""


def rotate(path: Path, *, limit: int = ROTATE_AT) -> int:
    """Put a large log aside; returns the size of the log that the next start appends to."""
    present = size(path)
    if present <= limit:
        return present
    path.replace(path.with_name(path.name + ".1"))
    return 0


def tail(path: Path, lines: int, *, start: int = 0) -> list[str]:
    """The last lines of a log, not before byte `start`; empty when there is none. Reads at most the last 1 MB."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, 2)
            begin = max(start if start <= end else 0, end - 1024 * 1024)
            log.seek(begin)
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:] if lines > 0 else []


def size(path: Path) -> int:
    """Bytes in the log; 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def follow(path: Path, *, start: int, interval: float = 0.2) -> Iterator[str]:
    """Lines as they are written, from byte `start` on; goes on in the new file after a rotation. Ends when closed."""
    log = path.open("rb") if path.exists() else None
    if log is not None:
        log.seek(start)
    rest = b""
    try:
        while True:
            chunk = log.read() if log is not None else b""
            if log is not None and chunk:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode("utf-8", errors="replace").rstrip()
                continue
            with contextlib.suppress(FileNotFoundError):
                present = path.stat()
                if log is None:
                    log = path.open("rb")
                    continue
                if present.st_ino != os.fstat(log.fileno()).st_ino or present.st_size < log.tell():
                    log.close()
                    log, rest = path.open("rb"), b""
                    continue
            time.sleep(interval)
    finally:
        if log is not None:
            log.close()
