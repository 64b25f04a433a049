"""trino-cli on a local node: PyPI's Trino client, against the cluster's own Trino server or the local Trino service."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from framework.errors import MissingExtra, ServiceUnavailable, UserError
from framework.local.aws.emr.execution import localize, trino_of_cluster
from framework.local.aws.emr.execution.node import PROJECT, Node

_FORMATS = ("CSV", "CSV_HEADER", "CSV_UNQUOTED", "CSV_HEADER_UNQUOTED", "TSV", "TSV_HEADER", "JSON", "NULL", "ALIGNED")


def options(args: Sequence[str]) -> argparse.Namespace:
    """The part of trino-cli's options that makes sense in a step.

    Raises:
        UserError: an option that is not known here, or nothing to execute.
    """
    parser = argparse.ArgumentParser(prog="trino-cli", add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--server")
    parser.add_argument("--catalog")
    parser.add_argument("--schema")
    parser.add_argument("--user", default="hadoop")
    parser.add_argument("--source", default="trino-cli")
    parser.add_argument("--execute", "-e")
    parser.add_argument("--file", "-f")
    parser.add_argument("--session", action="append", default=[])
    parser.add_argument("--output-format", default="CSV", choices=_FORMATS)
    parser.add_argument("--ignore-errors", action="store_true")
    try:
        found, unknown = parser.parse_known_args(list(args))
    except argparse.ArgumentError as exc:
        raise UserError(str(exc)) from exc
    if unknown:
        raise UserError(f"the local node's trino-cli does not know {unknown[0]!r}")
    if not found.execute and not found.file:
        raise UserError("an interactive trino-cli cannot run as a step, which has no terminal", fix="give --execute or --file")
    return found


def cli(node: Node, args: Sequence[str]) -> int:
    """trino-cli --execute or --file; prints as Trino's own CLI does in a batch. Returns 1 after a failed statement."""
    chosen = options(args)
    text = chosen.execute
    if text is None:
        text = localize.fetch(node.path(chosen.file), Path.cwd()).read_text(encoding="utf-8")
    connection = _connect(node, chosen)
    try:
        for statement in _statements(text):
            if not _execute(connection, statement, chosen.output_format) and not chosen.ignore_errors:
                return 1
    finally:
        connection.close()
    return 0


def _statements(text: str) -> list[str]:
    """Statements as written, cut at the semicolons that are not inside quotes or comments."""
    from sqlglot import TokenType
    from sqlglot.dialects.trino import Trino

    found, start = [], 0
    for token in Trino().tokenize(text):
        if token.token_type is TokenType.SEMICOLON:
            found.append(text[start : token.start].strip())
            start = token.end + 1
    found.append(text[start:].strip())
    return [statement for statement in found if statement]


def _connect(node: Node, chosen: argparse.Namespace) -> Any:
    try:
        import trino
    except ModuleNotFoundError as exc:
        raise MissingExtra("trino-cli needs the package 'trino', which is not installed", fix="pip install 'emrjobs[trino]'") from exc
    host, port = trino_of_cluster.ensure(node) if trino_of_cluster.is_configured(node) else _shared()
    session = dict(pair.split("=", 1) for pair in chosen.session)
    names = {name: getattr(chosen, name) for name in ("user", "source", "catalog", "schema")}
    return trino.dbapi.connect(host=host, port=port, session_properties=session, **names)


def _shared() -> tuple[str, int]:
    """Where the local Trino service listens, which all clusters share that configure nothing of Trino.

    Raises:
        ServiceUnavailable: it does not run.
    """
    from framework.local.supervisor import Supervisor

    root = os.environ.get(PROJECT)
    endpoint = Supervisor(Path(root)).endpoints().get("trino") if root else None
    if endpoint is None:
        raise ServiceUnavailable("the local Trino service is not running", fix="emrjobs local up trino")
    url = urlsplit(endpoint.values.get("url", ""))
    return url.hostname or "127.0.0.1", url.port or int(endpoint.values.get("port", "8889"))


def _execute(connection: Any, statement: str, form: str) -> bool:
    import trino

    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        _write(cursor, form)
    except (trino.exceptions.Error, trino.exceptions.HttpError, OSError) as exc:
        sys.stderr.write(f"Query failed: {exc}\n")
        return False
    return True


def _write(cursor: Any, form: str) -> None:
    names = [column[0] for column in cursor.description or ()]
    if form == "JSON":
        for row in cursor:
            sys.stdout.write(json.dumps(dict(zip(names, row, strict=True)), default=str) + "\n")
        return
    tabs = form.startswith(("TSV", "ALIGNED"))
    quoting: Literal[0, 1, 2, 3] = csv.QUOTE_NONE if tabs or "UNQUOTED" in form else csv.QUOTE_ALL
    writer = csv.writer(sys.stdout, delimiter="\t" if tabs else ",", quoting=quoting, escapechar="\\", lineterminator="\n")
    if "HEADER" in form or form == "ALIGNED":
        writer.writerow(names)
    for row in cursor:
        if form != "NULL":
            writer.writerow(["" if value is None else value for value in row])
