"""Checks of a SQL engine's table in a process of their own.

Importing Great Expectations takes about two seconds of a core. A thread would take them from the one that runs the job; this
process takes them from a core that waits for the server, from the moment that the run begins.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from framework.errors import EmrjobsError, EngineUnavailable, MissingExtra
from framework.quality import gate
from framework.quality.gx import import_gx
from framework.quality.report import CheckReport

if TYPE_CHECKING:
    from framework.quality.suite import Suite

# What Great Expectations imports where it is there, and has no use for beside a SQL engine.
_DONE_WITHOUT = ("pyspark", "boto3")
# The interpreter's own ways to find modules may not be all: a step's code comes on paths that were added.
_CODE = "import sys; sys.path[:] = sys.argv[1:]; from framework.quality import apart; apart.serve()"


class Auditor:
    """A process that waits to judge one table. It ends with the context, or when this process ends in whatever way."""

    def __init__(self) -> None:
        # Ctrl-C reaches every process of a terminal's group: this one is not in it.
        command = [sys.executable, "-c", _CODE, *sys.path]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def audit_table(self, url: str, schema: str, table: str, suite: Suite, parameters: Mapping[str, Any]) -> CheckReport:
        """As `gate.audit_table`, once.

        Raises:
            EngineUnavailable: the server, or the process, has ended.
        """
        try:
            answer, _ = self._process.communicate(pickle.dumps((url, schema, table, suite, dict(parameters))))
            found = pickle.loads(answer)
        except (OSError, EOFError) as exc:
            raise EngineUnavailable("the process that checks the staged rows has ended", fix="run it again") from exc
        if isinstance(found, EmrjobsError):
            raise found
        assert isinstance(found, CheckReport)
        return found


def serve() -> None:
    """Be such a process: read one question, write one answer."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get into the answer
    gc.disable()  # it lives for seconds, and most of what it makes stays
    sys.modules.update(dict.fromkeys(_DONE_WITHOUT))  # type: ignore[arg-type]  # None: there is no such module
    with suppress(ImportError, MissingExtra):  # raised again when it is asked
        import_gx()
        from framework.quality import sql_engine  # noqa: F401
    question = sys.stdin.buffer.read()
    if not question:
        return
    url, schema, table, suite, parameters = pickle.loads(question)
    try:
        answer: CheckReport | EmrjobsError = gate.audit_table(url, schema, table, suite, parameters=parameters)
    except EmrjobsError as exc:
        answer = exc
    except Exception as exc:  # of the server's client, which may be no class that the other process knows
        answer = EngineUnavailable(f"the staged rows could not be checked: {gate.sentence(exc)}", fix="run it again")
    with answers:
        pickle.dump(answer, answers)
    os._exit(0)  # taking so many modules down would take as long as importing some of them, and who asked would wait for it
