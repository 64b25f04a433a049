"""The controller log of a step, in EMR's words."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from framework.local.aws.emr.contract import WorkKind
from framework.local.aws.emr.execution.workspace import Order


class Controller:
    """Writes what the step runner does. No environment variable but PATH is shown: others may hold a secret."""

    def __init__(self, path: Path, order: Order) -> None:
        self._path, self._order = path, order
        self._began = time.time()

    def _write(self, *lines: str, stamped: bool = False) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z "
        with self._path.open("a", encoding="utf-8") as log:
            log.writelines(f"{stamp if stamped else ''}{line}\n" for line in lines)

    def began(self) -> None:
        work = self._order.work
        if work.kind is WorkKind.STEP:
            self._write(f"INFO Ensure step {work.id} jar file {work.jar}", stamped=True)
            self._write(f"INFO StepRunner: Created Runner for step {work.id}", stamped=True)
        else:
            self._write(f"INFO {work.kind.value} {work.id}: {work.jar}", stamped=True)

    def note(self, text: str) -> None:
        """Something that is different on this machine, or takes long."""
        self._write(f"INFO local node: {text}", stamped=True)

    def starting(self, argv: Sequence[str], path: str, cwd: Path) -> None:
        work = self._order.work
        shown = ["hadoop", "jar", work.jar, *([work.main_class] if work.main_class else []), *work.args]
        self._write(
            f"INFO startExec '{' '.join(shown)}'",
            f"INFO local node: runs {shlex.join(argv)}",
            "INFO Environment:",
            f"  PATH={path}",
            f"INFO redirectOutput to {self._path.with_name('stdout')}",
            f"INFO redirectError to {self._path.with_name('stderr')}",
            f"INFO Working dir {cwd}",
        )

    def child(self, pid: int) -> None:
        self._began = time.time()
        self._write(f"INFO ProcessRunner started child process {pid}")
        self._write(f"INFO HadoopJarStepRunner.Runner: startRun() called for {self._order.work.id} Child Pid: {pid}", stamped=True)

    def child_ended(self, argv: Sequence[str], code: int, ended: float) -> None:
        self._write(
            f"INFO waitProcessCompletion ended with exit code {code} : {shlex.join(argv)}",
            f"INFO total process run time: {round(ended - self._began)} seconds",
        )

    def ended(self, code: int | None, seconds: float) -> None:
        if code == 0:
            self._write(f"INFO Step succeeded with exitCode 0 and took {round(seconds)} seconds", stamped=True)
        else:
            shown = "unknown" if code is None else code
            self._write(f"WARN Step failed with exitCode {shown} and took {round(seconds)} seconds", stamped=True)
