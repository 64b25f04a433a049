"""Publishing to PostgreSQL: tables are made and dropped in the transaction that publishes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from framework.catalog import Column
from framework.errors import SchemaMismatch
from framework.publish.dialects import Client, Target
from framework.sources import postgresql, splits

# PostgreSQL's types in Spark's words; of any other one Spark gives and takes the text.
_SPARK_TYPES = {
    "smallint": "smallint",
    "integer": "int",
    "bigint": "bigint",
    "real": "float",
    "double precision": "double",
    "boolean": "boolean",
    "date": "date",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamp",
    "bytea": "binary",
}
_NEW_TYPES = {
    "tinyint": "smallint",
    "smallint": "smallint",
    "int": "integer",
    "bigint": "bigint",
    "float": "real",
    "double": "double precision",
    "boolean": "boolean",
    "string": "text",
    "date": "date",
    "timestamp": "timestamp with time zone",
    "timestamp_ntz": "timestamp without time zone",
    "binary": "bytea",
}

_WHERE = """
SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef AND attidentity = '', attgenerated <> '' OR attidentity = 'a'
FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_UNIQUE = """
SELECT 1 FROM pg_index i WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indimmediate
AND i.indpred IS NULL AND i.indexprs IS NULL AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
    WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) = %s::text[]
"""
_STAGES = """
SELECT c.relname, obj_description(c.oid, 'pg_class'), pg_total_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname LIKE '%%\\_\\_stage\\_%%' ORDER BY 1
"""


class PostgreSql:
    """PostgreSQL over psycopg."""

    kind = "postgresql"
    client: Client = postgresql
    longest = 63  # NAMEDATALEN
    ddl_commits = False
    same = "IS NOT DISTINCT FROM"
    once = "ON CONFLICT DO NOTHING"
    publications = (
        "target text, publication text, run_id text NOT NULL, published_rows bigint NOT NULL, "
        "published_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (target, publication)"
    )
    clock = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')"

    def describe(self, cursor: Any, table: str, name: str) -> Target:
        cursor.execute(_WHERE, [table])
        found = cursor.fetchone()
        if found is None:
            cursor.execute("SELECT current_schema()")
            own, _, plain = table.lower().rpartition(".")
            return Target(own or str(cursor.fetchone()[0]), plain)
        if found[2] not in ("r", "p"):
            raise SchemaMismatch(f"{name} is not a table", fix="publish to a table; views are read only")
        cursor.execute(_COLUMNS, [table])
        columns = cursor.fetchall()
        return Target(
            found[0],
            found[1],
            {name.lower(): Column(name, kind) for name, kind, _, _ in columns},
            frozenset(name.lower() for name, _, required, _ in columns if required),
            frozenset(name.lower() for name, _, _, generated in columns if generated),
        )

    def check_keys(self, cursor: Any, target: Target, keys: Sequence[str], given: Sequence[str], name: str) -> None:
        quoted = ".".join(splits.quoted(one, self.kind) for one in (target.schema, target.table))
        cursor.execute(_UNIQUE, [quoted, sorted(keys)])
        if cursor.fetchone() is None:
            names = ", ".join(keys)
            raise SchemaMismatch(
                f"{name} has no unique index over {names}, by which rows are merged",
                fix=f"create one in the database: CREATE UNIQUE INDEX ON {target.table} ({names})",
            )

    def new_type(self, kind: str, *, key: bool) -> str | None:
        if array := re.fullmatch(r"array<(.*)>", kind):
            element = self.new_type(array[1], key=False)
            return element and f"{element}[]"
        if kind.startswith("decimal"):
            return kind.replace("decimal", "numeric")
        if kind.startswith(("varchar", "char")):
            return kind
        return _NEW_TYPES.get(kind)

    def spark_type(self, kind: str, given: str) -> str:
        if kind.endswith("[]"):
            element = re.sub(r"^array<(.*)>$", r"\1", given)
            return f"array<{self.spark_type(kind[:-2], element)}>"
        if kind == "numeric":  # it holds any number of digits
            return given if re.match(r"decimal|(tiny|small|big)?int$", given) else "decimal(38,18)"
        if kind.startswith("numeric"):
            return kind.replace("numeric", "decimal")
        return _SPARK_TYPES.get(kind, "string")

    def lock(self, cursor: Any, name: str) -> None:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])

    def make_stage(self, cursor: Any, stage: str, columns: str, comment: str) -> None:
        cursor.execute(f"CREATE TABLE {stage} ({columns})")
        cursor.execute(f"COMMENT ON TABLE {stage} IS {splits.text(comment, self.kind)}")

    def stages(self, cursor: Any, schema: str) -> Sequence[tuple[str, str, int]]:
        cursor.execute(_STAGES, [schema])
        return list(cursor.fetchall())

    def delete(self, table: str) -> str:
        return f"DELETE FROM {table} AS t"

    def upsert(self, keys: Sequence[str], others: Sequence[str]) -> str:
        changes = ", ".join(f"{name} = excluded.{name}" for name in others)
        return f"ON CONFLICT ({', '.join(keys)}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"

    def parts(self, cursor: Any, stage: str, count: int) -> list[str]:
        cursor.execute("SELECT pg_relation_size(to_regclass(%s)) / current_setting('block_size')::bigint", [stage])
        return splits.page_predicates(int(cursor.fetchone()[0]), count)
