"""`emrjobs rollback`, `vacuum` and `optimize`: look after tables."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import asdict
from typing import Annotated

import typer

from framework.cli import common
from framework.errors import UserError

TableArgument = Annotated[str, typer.Argument(help="database.table")]
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def rollback(
    run: Annotated[str, typer.Argument(help="Id of the run, or `latest`.")],
    env: common.EnvOption = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Undo what a run published: readers see again what they saw before it."""
    from framework import maintenance
    from framework.cli import opening, render

    with opening.platform(common.settings(env, set_), quiet=as_json) as platform:
        record = maintenance.rollback(platform, run)
    if as_json:
        render.print_json(render.record_dict(record))
        return
    assert record.output is not None
    print(f"{record.output.table} is as it was before run {record.run_id}")


def vacuum(
    table: TableArgument,
    older_than: Annotated[str, typer.Option("--older-than", help="Keep what is younger: 7d, 36h, 90m.")] = "7d",
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this nothing is changed.")] = False,
    env: common.EnvOption = common.DEFAULT_ENV,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Say what of a table nobody can read any more, and remove it with --delete."""
    retention = _duration(older_than)
    from framework import maintenance
    from framework.cli import opening, render

    with opening.platform(common.settings(env, set_), quiet=as_json) as platform:
        done = maintenance.vacuum(platform, table, retention=retention, dry_run=not delete)
    if as_json:
        render.print_json(asdict(done) | {"deleted": delete})
        return
    verb = "removed" if delete else "would remove"
    print(f"{verb} {len(done.files)} files ({render.size(done.size_bytes)}), {done.snapshots} snapshots, {len(done.names)} staging tables")
    if not delete:
        for file in done.files[:20]:
            print(f"  {file}")
        if len(done.files) > 20:
            print(f"  ... and {len(done.files) - 20} more; --json lists all")
        print("nothing was changed; --delete removes it")


def optimize(
    table: TableArgument, env: common.EnvOption = common.DEFAULT_ENV, set_: common.SetOption = None, as_json: common.JsonOption = False
) -> None:
    """Rewrite the small files of an Iceberg table into large ones."""
    from framework import maintenance
    from framework.cli import opening, render

    with opening.platform(common.settings(env, set_), quiet=as_json) as platform:
        done = maintenance.optimize(platform, table)
    if as_json:
        render.print_json(asdict(done))
        return
    print(f"{done.table}: {done.rewritten} files ({render.size(done.size_bytes)}) became {done.added}")


def _duration(text: str) -> dt.timedelta:
    found = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if not found:
        raise UserError(f"--older-than: {text!r} is not a duration", fix="write 7d, 36h or 90m")
    return dt.timedelta(**{_UNITS[found[2]]: int(found[1])})
