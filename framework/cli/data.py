"""`emrjobs query`, `tables` and `show`: look at data."""

from __future__ import annotations

import csv
import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framework.cli import common
from framework.errors import UserError

if TYPE_CHECKING:
    from framework.catalog import TableInfo
    from framework.config.loader import Loaded


class QueryEngine(enum.StrEnum):
    """What answers a query."""

    SPARK = "spark"
    TRINO = "trino"


class Format(enum.StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT, in the engine's SQL.")],
    engine: Annotated[
        QueryEngine, typer.Option("--engine", help="Trino reads connections too: airline_ops.public.flights.")
    ] = QueryEngine.SPARK,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Print at most this many rows.")] = 100,
    out: Annotated[Format, typer.Option("--format", "-f", help="How rows are printed; parquet is all rows, into a file.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help="The file of --format parquet.")] = None,
    env: common.EnvOption = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Ask the tables something."""
    from framework.cli import opening

    chosen = Format.JSON if as_json else out
    if (chosen is Format.PARQUET) != (output is not None) or (output and engine is not QueryEngine.TRINO):
        raise UserError("--format parquet and --output FILE go together, with --engine trino", fix="give all three")
    loaded = common.settings(env, set_)
    if output is not None:
        _write_parquet(loaded, sql, output)
        return
    with opening.platform(loaded, quiet=chosen is not Format.TABLE) as platform:
        from framework import query as asking

        ask = asking.run_trino_query if engine is QueryEngine.TRINO else asking.run_query
        columns, rows, more = ask(platform, sql, limit)
    _print_rows(columns, rows, chosen)
    if more and chosen is Format.TABLE:
        print(f"first {limit} rows; --limit gives more", file=sys.stderr)


def _write_parquet(loaded: Loaded, sql: str, file: Path) -> None:
    """All rows of a query into a file, which is there only when it is whole."""
    import pyarrow.parquet as pq

    from framework import query as asking
    from framework.cli import opening

    beside = file.with_name(f".{file.name}.part")
    rows = 0
    try:
        with opening.platform(loaded) as platform, asking.fetch(platform, sql, {}) as found:
            with pq.ParquetWriter(beside, found.schema, compression="zstd") as writer:
                for batch in found.batches():
                    writer.write_batch(batch)
                    rows += batch.num_rows
        beside.replace(file)
    except OSError as exc:
        raise UserError(f"{file} cannot be written: {exc.strerror or exc}") from exc
    finally:
        beside.unlink(missing_ok=True)
    print(f"{file}: {rows:,} rows", file=sys.stderr)


def tables(env: common.EnvOption = common.DEFAULT_ENV, set_: common.SetOption = None, as_json: common.JsonOption = False) -> None:
    """List the tables of the catalog."""
    from framework.cli import opening, render
    from framework.publish import is_staging_name

    with opening.platform(common.settings(env, set_), quiet=as_json) as platform:
        found = [table for table in platform.catalog.tables() if not is_staging_name(table.name)]
    if as_json:
        render.print_json([_table_dict(table) for table in found])
        return
    rows = [
        [table.name, table.format, len(table.all_columns), ", ".join(key.name for key in table.partition_keys), table.location]
        for table in found
    ]
    render.print_table(["table", "format", "columns", "partition keys", "location"], rows)


def show(
    table: Annotated[str, typer.Argument(help="database.table")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="Print this many rows.")] = 10,
    env: common.EnvOption = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print a table's columns, where it lies, and its first rows."""
    from framework.cli import opening, render

    with opening.platform(common.settings(env, set_), quiet=as_json) as platform:
        info = platform.table(table)
        columns: list[str] = []
        first: list[tuple[Any, ...]] = []
        if rows:
            from framework.query import run_query

            columns, first, _ = run_query(platform, f"SELECT * FROM {info.name}", rows)
        partitions = platform.catalog.partitions(info) if info.partition_keys else []
    if as_json:
        render.print_json(
            {**_table_dict(info), "partitions": len(partitions), "rows": [dict(zip(columns, row, strict=True)) for row in first]}
        )
        return
    keys = ", ".join(key.name for key in info.partition_keys)
    render.print_pairs(
        [
            ("table", f"{info.name} ({info.format})"),
            ("location", info.location),
            ("partitions", f"{len(partitions)}, by {keys}" if keys else None),
            ("columns", [f"{column.name} {column.type}" for column in info.all_columns]),
        ]
    )
    if rows:
        _print_rows(columns, first, Format.TABLE)


def _print_rows(columns: list[str], rows: list[tuple[Any, ...]], out: Format) -> None:
    from framework.cli import render

    if out is Format.JSON:
        render.print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif out is Format.CSV:
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows(rows)
    else:
        render.print_table(columns, rows)


def _table_dict(table: TableInfo) -> dict[str, Any]:
    return {
        "table": table.name,
        "format": table.format,
        "location": table.location,
        "columns": {column.name: column.type for column in table.columns},
        "partition_keys": {key.name: key.type for key in table.partition_keys},
    }
