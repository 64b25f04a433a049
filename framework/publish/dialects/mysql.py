"""Publishing to MySQL and MariaDB: rows are deleted and inserted in one transaction, which makes and drops no table.

A statement that makes or drops a table commits what was done before it (MySQL, Statements That Cause an Implicit Commit). So the
first run makes its table before the transaction that fills it, and a staged table is dropped after the one that took its rows over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from framework.catalog import Column
from framework.errors import SchemaMismatch
from framework.publish.dialects import STAGE_MARK, Client, Target
from framework.sources import mysql, splits

_TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json", "time")
# Types in Spark's words; of any other one Spark gives and takes the text.
_SPARK_TYPES = {
    "tinyint": "tinyint",
    "smallint": "smallint",
    "mediumint": "int",
    "int": "int",
    "bigint": "bigint",
    "float": "float",
    "double": "double",
    "date": "date",
    "datetime": "timestamp",
    "timestamp": "timestamp",
    "binary": "binary",
    "varbinary": "binary",
    "tinyblob": "binary",
    "blob": "binary",
    "mediumblob": "binary",
    "longblob": "binary",
    "year": "int",
    "bit": "bigint",
} | dict.fromkeys(_TEXTS, "string")
_UNSIGNED = {"tinyint": "smallint", "smallint": "int", "mediumint": "int", "int": "bigint", "bigint": "decimal(20,0)"}
_NEW_TYPES = {
    "tinyint": "tinyint",
    "smallint": "smallint",
    "int": "int",
    "bigint": "bigint",
    "float": "float",
    "double": "double",
    "boolean": "boolean",
    "string": "longtext",
    "date": "date",
    # A `timestamp` of MySQL ends in 2038; these are in UTC.
    "timestamp": "datetime(6)",
    "timestamp_ntz": "datetime(6)",
    "binary": "longblob",
}
_KEY_TYPES = {"string": "varchar(255)", "binary": "varbinary(255)"}  # what an index holds whole

_TABLE = """
SELECT table_name, table_type, engine FROM information_schema.tables
WHERE table_schema = %s AND lower(table_name) = lower(%s) ORDER BY table_name = %s DESC LIMIT 1
"""
_COLUMNS = """
SELECT column_name, column_type, character_set_name, collation_name,
    is_nullable = 'NO' AND column_default IS NULL AND extra NOT LIKE '%%auto_increment%%' AND coalesce(generation_expression, '') = '',
    coalesce(generation_expression, '') <> ''
FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position
"""
_UNIQUE = """
SELECT index_name, column_name, sub_part FROM information_schema.statistics
WHERE table_schema = %s AND table_name = %s AND non_unique = 0
"""
_STAGES = """
SELECT table_name, table_comment, coalesce(data_length, 0) + coalesce(index_length, 0) FROM information_schema.tables
WHERE table_schema = %s AND table_type = 'BASE TABLE' AND locate(%s, table_name) > 0 ORDER BY 1
"""


class MySql:
    """MySQL and MariaDB over PyMySQL."""

    kind = "mysql"
    client: Client = mysql
    longest = 64  # MySQL, Identifier Length Limits
    ddl_commits = True
    same = "<=>"
    once = "ON DUPLICATE KEY UPDATE published_rows = published_rows"
    publications = (
        "target varchar(64) NOT NULL, publication varchar(255) NOT NULL, run_id varchar(255) NOT NULL, published_rows bigint NOT NULL, "
        "published_at timestamp(6) NOT NULL DEFAULT current_timestamp(6), PRIMARY KEY (target, publication)"
    )
    clock = "SELECT date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%s')"

    def describe(self, cursor: Any, table: str, name: str) -> Target:
        cursor.execute("SELECT database()")
        own, _, plain = table.rpartition(".")
        own = own or str(cursor.fetchone()[0])
        cursor.execute(_TABLE, [own, plain, plain])
        found = cursor.fetchone()
        if found is None:
            return Target(own, plain.lower())
        if found[1] != "BASE TABLE":
            raise SchemaMismatch(f"{name} is not a table", fix="publish to a table; views are read only")
        if found[2].lower() != "innodb":
            raise SchemaMismatch(
                f"{name} is a table of {found[2]}, which knows no transactions",
                fix=f"change it in the database: ALTER TABLE {found[0]} ENGINE = InnoDB",
            )
        cursor.execute(_COLUMNS, [own, found[0]])
        columns = cursor.fetchall()
        return Target(
            own,
            found[0],
            {one[0].lower(): Column(one[0], _whole_type(*one[1:4])) for one in columns},
            frozenset(one[0].lower() for one in columns if one[4]),
            frozenset(one[0].lower() for one in columns if one[5]),
        )

    def check_keys(self, cursor: Any, target: Target, keys: Sequence[str], given: Sequence[str], name: str) -> None:
        cursor.execute(_UNIQUE, [target.schema, target.table])
        indexes: dict[str, list[str]] = {}
        for index, column, part in cursor.fetchall():
            # Of a part of a column, or of an expression, equal values say nothing of equal keys.
            indexes.setdefault(index, []).append(column if column and part is None else f"{column or 'an expression'} in part")
        names = ", ".join(keys)
        if not any(set(columns) == set(keys) for columns in indexes.values()):
            raise SchemaMismatch(
                f"{name} has no unique index over {names}, by which rows are merged",
                fix=f"create one in the database: CREATE UNIQUE INDEX {target.table}_keys ON {target.table} ({names})",
            )
        for index, columns in indexes.items():
            if set(columns) != set(keys) and {column.removesuffix(" in part") for column in columns} <= {*given, "an expression"}:
                raise SchemaMismatch(
                    f"{name} has another unique index, {index} ({', '.join(columns)}), "
                    "by which MySQL would take a row for one with other keys",
                    fix="merge by its columns, or make it an index that is not unique",
                )

    def new_type(self, kind: str, *, key: bool) -> str | None:
        if kind.startswith(("decimal", "varchar", "char")):
            return kind
        return (_KEY_TYPES.get(kind) if key else None) or _NEW_TYPES.get(kind)

    def spark_type(self, kind: str, given: str) -> str:
        plain, unsigned = re.split(r"[( ]", kind)[0], " unsigned" in kind
        if plain in ("decimal", "numeric"):
            return re.sub(r"^\w+(\([^)]*\)).*", r"decimal\1", kind)
        if given == "int" and plain == "smallint":
            return "int"  # as Spark reads it; the database refuses what is too large
        if given == "boolean" and kind in ("tinyint(1)", "bit(1)"):
            return "boolean"
        if unsigned and plain in _UNSIGNED:
            return _UNSIGNED[plain]
        return _SPARK_TYPES.get(plain, "string")

    def lock(self, cursor: Any, name: str) -> None:
        """CREATE TABLE IF NOT EXISTS waits by itself."""

    def make_stage(self, cursor: Any, stage: str, columns: str, comment: str) -> None:
        cursor.execute(f"CREATE TABLE {stage} ({columns}) ENGINE = InnoDB COMMENT = {splits.text(comment, self.kind)}")

    def stages(self, cursor: Any, schema: str) -> Sequence[tuple[str, str, int]]:
        cursor.execute(_STAGES, [schema, STAGE_MARK])
        return [(name, comment, int(size)) for name, comment, size in cursor.fetchall()]

    def delete(self, table: str) -> str:
        return f"DELETE t FROM {table} AS t"

    def upsert(self, keys: Sequence[str], others: Sequence[str]) -> str:
        return f"ON DUPLICATE KEY UPDATE {', '.join(f'{name} = VALUES({name})' for name in others or keys[:1])}"

    def parts(self, cursor: Any, stage: str, count: int) -> list[str]:
        return []  # no page can be addressed, and the order of no column is known


def _whole_type(kind: str, characters: str | None, collation: str | None) -> str:
    return f"{kind} CHARACTER SET {characters} COLLATE {collation}" if characters and collation else kind
