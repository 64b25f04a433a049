"""Planes into MariaDB, where it runs: the fleet as an operational system of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from framework.local import mysql
from framework.local.sample import source
from framework.local.sample.seeding import Loaded, Seeding, explained

if TYPE_CHECKING:
    import pymysql

DATABASE = "fleet"
COLUMNS = {
    "tailnum": "varchar(6) primary key",
    "year": "smallint",
    "type": "varchar(30) not null",
    "manufacturer": "varchar(40) not null",
    "model": "varchar(30) not null",
    "engines": "tinyint not null",
    "seats": "smallint not null",
    "speed": "smallint",
    "engine": "varchar(20) not null",
}
"""The operational table, in the order of the CSV file; speed in miles an hour."""


def is_loaded(seeding: Seeding) -> bool:
    """Whether the table is there and of this version; also where there is no MariaDB."""
    if seeding.target.mysql is None:
        return True
    query = "SELECT table_comment FROM information_schema.tables WHERE table_schema = %s AND table_name = 'planes'"
    with mysql.connect(seeding.target.mysql) as connection:
        return bool(_rows(connection, query, [DATABASE]) == ((seeding.version,),))


def load(seeding: Seeding) -> list[Loaded]:
    """The table is made beside the one that readers see, and takes its place when it is whole."""
    what, began = "planes to MariaDB", time.monotonic()
    assert seeding.target.mysql is not None
    with explained("load the sample planes"), mysql.connect(seeding.target.mysql) as connection:
        file = seeding.files / "planes.csv"
        size = file.stat().st_size
        seeding.tell(what, 0, size)
        rows = [[None if row[name] == "NA" else row[name] for name in COLUMNS] for row in source.rows(file)]
        for statement in (f"CREATE DATABASE IF NOT EXISTS {DATABASE}", f"USE {DATABASE}", "DROP TABLE IF EXISTS planes_new, planes_old"):
            _rows(connection, statement)
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        _rows(connection, f"CREATE TABLE planes_new ({columns}) COMMENT = %s", [seeding.version])
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO planes_new VALUES ({', '.join(['%s'] * len(COLUMNS))})", rows)
        _rows(connection, "ANALYZE TABLE planes_new")
        _rows(connection, "CREATE TABLE IF NOT EXISTS planes LIKE planes_new")
        _rows(connection, "RENAME TABLE planes TO planes_old, planes_new TO planes")
        _rows(connection, "DROP TABLE planes_old")
        seeding.tell(what, size, size)
    return [Loaded(f"{DATABASE}.planes", f"{DATABASE}.planes", len(rows), size, time.monotonic() - began)]


def _rows(connection: pymysql.Connection[Any], statement: str, values: list[Any] | None = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
