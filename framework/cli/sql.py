"""`emrjobs sql`: SQL files of other engines."""

from __future__ import annotations

import enum
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="SQL files of other engines.", no_args_is_help=True)


class Dialect(enum.StrEnum):
    """What can be translated to Trino's SQL."""

    PRESTO = "presto"
    ATHENA = "athena"
    HIVE = "hive"


@app.command("translate")
def translate(
    file: Annotated[Path, typer.Argument(help="A .sql file with one statement.", exists=True, dir_okay=False, readable=True)],
    dialect: Annotated[
        Dialect | None, typer.Option("--dialect", "-d", help="What it is written in; without it, what its header says.")
    ] = None,
) -> None:
    """Print a statement in Trino's SQL, and on standard error what has no exact counterpart there."""
    from framework import predicates
    from framework.engines.trino import statement
    from framework.errors import UserError

    text = file.read_text(encoding="utf-8-sig")
    declared = re.search(r"\A\s*/\*.*?^dialect:\s*(\w+)\s*$.*?\*/", text, re.DOTALL | re.MULTILINE)
    chosen = dialect or (declared[1] if declared else None)
    if chosen is None:
        raise UserError("what it is written in is not known", where=file, fix="give --dialect presto, athena or hive")
    lexical = predicates.lexical(str(chosen))
    marked = predicates.markers(text, lexical, where=str(file))
    translated, problems = statement.translate(statement.without_semicolon(marked, lexical), str(chosen), where=str(file))
    print(translated)
    for problem in problems:
        print(f"not translated with certainty: {problem}", file=sys.stderr)
    if problems:
        raise typer.Exit(1)
