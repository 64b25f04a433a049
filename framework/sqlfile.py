"""SQL jobs: one .sql file with a YAML header, whose inputs are read off the parsed statement.

    /*
    description: Rank carriers by their share of delayed flights
    engine: spark
    output: marts.carrier_scorecard
    format: parquet
    */
    SELECT ...

Parsing costs more than everything else that listing jobs does, so what it found is kept by the file's hash.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from framework import predicates
from framework.config import document
from framework.errors import JobDefinitionError, nearest
from framework.jobs import (
    HIVE_CATALOG,
    LAKE_CATALOG,
    MODES,
    TABLE_FORMATS,
    TRINO_CATALOGS,
    Dataset,
    EngineKind,
    Jdbc,
    Job,
    Output,
    Param,
    Sql,
    Table,
    check_declaration,
    is_table_name,
)

if TYPE_CHECKING:
    from sqlglot import exp

_HEADER = re.compile(r"\s*/\*(?P<yaml>.*?)\*/", re.DOTALL)
_ENGINES = {"spark": EngineKind.SPARK_SQL, "trino": EngineKind.TRINO, "presto": EngineKind.PRESTO}
DIALECTS = {"spark": ("spark",), "trino": ("trino", "presto", "athena", "hive"), "presto": ("presto",)}
"""What a job of each engine may be written in; the first is the engine's own."""
_TYPES: Mapping[str, type[Any]] = {"date": dt.date, "int": int, "str": str}
_TABLE_KEYS = ("keys", "deletes", "schema_changes", "sorted_by", "target_file_mb", "location")
_DATABASE_KEYS = ("mode", "keys", "deletes", "partitioned_by")
"""What a header may say of an output that is a table of a database."""
_KEYS = (
    "name",
    "description",
    "engine",
    "connection",
    "output",
    "partitioned_by",
    "format",
    "mode",
    "comment",
    "params",
    "checks",
    "where",
    "dialect",
    "session",
    *_TABLE_KEYS,
)
_CACHE_VERSION = 4


def load(file: FilePath, root: FilePath, cache: FilePath | None = None) -> Job:
    """The job that a .sql file declares.

    Args:
        root: the project, for relative names in messages.
        cache: folder where the parsed statement is remembered.

    Raises:
        JobDefinitionError: header or statement is wrong; with file and line.
    """
    shown = str(file.relative_to(root))
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except (OSError, UnicodeDecodeError) as exc:
        raise JobDefinitionError(f"cannot be read: {exc}", where=shown) from exc
    match = _HEADER.match(text)
    if not match:
        raise JobDefinitionError(
            "a SQL job starts with a header",
            where=f"{shown}:1",
            fix="begin the file with /* engine: spark, output: db.table */, one key a line",
        )
    first_line = text.count("\n", 0, match.start("yaml")) + 1
    header = document.parse(match["yaml"], name=shown, first_line=first_line, error=JobDefinitionError)
    declared = _declare(header, file.stem, shown)
    dialect = declared["dialect"]
    for start, _, name in predicates.spans(text, predicates.lexical(dialect), where=shown):
        if name not in declared["params"]:
            raise JobDefinitionError(
                f"{{{name}}} is not a parameter of the job",
                where=f"{shown}:{text.count(chr(10), 0, start) + 1}",
                fix=nearest(name, declared["params"], what="parameter")
                if declared["params"]
                else f"add `params: {{{name}: str}}` to the header",
            )
    tables = _tables(text, dialect, shown, cache)
    if declared["engine"].federated:
        inputs = _federated(tables)
        if "where" in header.data:
            raise JobDefinitionError(
                f"where: {declared['engine'].label} finds the partitions by itself",
                where=header.where(("where",)),
                fix="write the predicate in the statement",
            )
    else:
        filters = _filters(header, tables)
        inputs = {name: Table(name, where=filters.get(name)) for name in tables}
    return check_declaration(
        Job(
            name=declared["name"],
            engine=declared["engine"],
            inputs=inputs,
            output=declared["output"],
            params=declared["params"],
            checks=declared["checks"],
            body=Sql(text, dialect, declared["session"]),
            file=shown,
            line=text.count("\n", 0, match.end()) + 1,
            description=declared["description"],
        )
    )


def _declare(header: document.Document, stem: str, shown: str) -> dict[str, Any]:
    data = header.data
    for key in data:
        if key not in _KEYS:
            raise JobDefinitionError(f"{key}: unknown key of a SQL job's header", where=header.where((key,)), fix=nearest(key, _KEYS))
    for key in ("engine", "output"):
        if key not in data:
            raise JobDefinitionError(f"the header has no {key}", where=header.where() + ":1", fix=f"add `{key}: ...`")
    for key in (
        "name",
        "description",
        "engine",
        "connection",
        "output",
        "format",
        "mode",
        "comment",
        "checks",
        "deletes",
        "schema_changes",
        "location",
        "dialect",
    ):
        if key in data and not isinstance(data[key], str):
            raise JobDefinitionError(f"{key}: must be a text", where=header.where((key,)))
    if data["engine"] not in _ENGINES:
        raise JobDefinitionError(
            f"engine: unknown engine {data['engine']!r}", where=header.where(("engine",)), fix=nearest(data["engine"], _ENGINES)
        )
    dialects = DIALECTS[data["engine"]]
    for key, known in (("format", TABLE_FORMATS), ("mode", MODES), ("dialect", dialects)):
        if key in data and data[key] not in known:
            raise JobDefinitionError(f"{key}: unknown {key} {data[key]!r}", where=header.where((key,)), fix=nearest(data[key], known))
    for key in ("partitioned_by", "keys", "sorted_by"):
        columns = data.get(key, [])
        if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
            raise JobDefinitionError(f"{key}: must be a list of columns", where=header.where((key,)))
    size = data.get("target_file_mb", 1)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise JobDefinitionError("target_file_mb: must be a number of megabytes", where=header.where(("target_file_mb",)))
    if _ENGINES[data["engine"]] is EngineKind.PRESTO:
        _check_presto(header)
    try:
        output = _output(header)
    except JobDefinitionError as exc:
        raise JobDefinitionError(f"output: {exc.message}", where=exc.where or header.where(("output",)), fix=exc.fix) from exc
    return {
        "name": data.get("name", stem),
        "engine": _ENGINES[data["engine"]],
        "output": output,
        "params": _params(header),
        "checks": data.get("checks"),
        "description": data.get("description", ""),
        "dialect": data.get("dialect", dialects[0]),
        "session": _session(header),
    }


def _check_presto(header: document.Document) -> None:
    """Presto publishes by the switch of a folder, as the Hive layout has it; nothing else."""
    data = header.data
    if "connection" in data:
        raise JobDefinitionError(
            "connection: a Presto job does not publish to a database", where=header.where(("connection",)), fix="use `engine: trino`"
        )
    if (given := data.get("format", "iceberg")) not in ("parquet", "orc"):
        raise JobDefinitionError(
            f"format: a Presto job publishes tables in the Hive layout, not {given}",
            where=header.where(("format",) if "format" in data else ("output",)),
            fix="add `format: parquet` (or orc), or use `engine: trino`",
        )
    if data.get("mode") == "merge":
        raise JobDefinitionError("mode: only Iceberg tables can be merged into", where=header.where(("mode",)), fix="use `engine: trino`")
    if "location" in data:
        raise JobDefinitionError(
            "location: a Presto job publishes below the warehouse", where=header.where(("location",)), fix="use `engine: trino`"
        )


def _output(header: document.Document) -> Output:
    """A table of the lake; with `connection`, one of that database."""
    data = header.data
    if "connection" in data:
        for key in ("format", "comment", *_TABLE_KEYS):
            if key in data and key not in _DATABASE_KEYS:
                raise JobDefinitionError(f"{key} is of tables of the lake, not of a database", where=header.where((key,)))
        return Jdbc(data["connection"], data["output"], **{key: data[key] for key in _DATABASE_KEYS if key in data})
    further = {key: data[key] for key in _TABLE_KEYS if key in data}
    return Table(
        data["output"],
        None,
        data.get("partitioned_by", []),
        data.get("format", "iceberg"),
        data.get("mode"),
        data.get("comment"),
        **further,
    )


def _session(header: document.Document) -> dict[str, str]:
    given = header.data.get("session") or {}
    if given and not _ENGINES[header.data["engine"]].federated:
        raise JobDefinitionError("session: only Trino and Presto have session properties", where=header.where(("session",)))
    if not isinstance(given, dict) or not all(isinstance(value, str | int | float | bool) for value in given.values()):
        raise JobDefinitionError("session: must be `property: value` pairs", where=header.where(("session",)))
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


def _federated(tables: list[str]) -> dict[str, Dataset]:
    """What a Trino job reads, by name: the lake's tables, and `connection.schema.table`; generated tables are no inputs."""
    inputs: dict[str, Dataset] = {}
    for name in tables:
        catalog, _, table = name.partition(".")
        if "." not in table:
            inputs[name] = Table(name)
        elif catalog not in TRINO_CATALOGS:
            inputs[name] = Jdbc(catalog, table)
    return inputs


def _params(header: document.Document) -> dict[str, Param]:
    given = header.data.get("params") or {}
    if not isinstance(given, dict):
        raise JobDefinitionError("params: must be `name: type` pairs", where=header.where(("params",)))
    params = {}
    for name, spec in given.items():
        where = header.where(("params", name))
        fields = {"type": spec} if isinstance(spec, str) else spec
        if not isinstance(fields, dict) or "type" not in fields or not fields.keys() <= {"type", "default", "help"}:
            raise JobDefinitionError(f"params.{name}: must be a type, or {{type: ..., default: ..., help: ...}}", where=where)
        kind = fields["type"]
        if isinstance(kind, list) and kind and all(isinstance(value, str) for value in kind):
            resolved: type[Any] = _choice(name, kind)
        elif isinstance(kind, str) and kind in _TYPES:
            resolved = _TYPES[kind]
        else:
            raise JobDefinitionError(f"params.{name}: type must be date, int, str or a list of allowed values", where=where)
        try:
            params[name] = Param(resolved, fields.get("default"), str(fields.get("help", "")))
        except Exception as exc:
            raise JobDefinitionError(f"params.{name}: {getattr(exc, 'message', exc)}", where=where) from exc
    return params


def _choice(name: str, values: list[str]) -> type[Any]:
    members = [(f"value_{index}", value) for index, value in enumerate(values)]
    return enum.Enum(name, members, type=str)  # type: ignore[return-value]


def _filters(header: document.Document, tables: list[str]) -> dict[str, str]:
    given = header.data.get("where") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise JobDefinitionError("where: must be `db.table: predicate` pairs", where=header.where(("where",)))
    for table in given:
        if table.lower() not in tables:
            raise JobDefinitionError(
                f"where: the statement does not read {table}", where=header.where(("where", table)), fix=nearest(table, tables)
            )
    return {table.lower(): predicate for table, predicate in given.items()}


def _tables(text: str, dialect: str, shown: str, cache: FilePath | None) -> list[str]:
    """Catalog tables that the statement reads, lower case, sorted."""
    digest = hashlib.sha256(f"{_CACHE_VERSION}\0{dialect}\0{shown}\0{text}".encode()).hexdigest()[:32]
    remembered = cache / f"sql-{digest}.json" if cache else None
    if remembered:
        try:
            return list(json.loads(remembered.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            pass
    tables = parse_tables(predicates.markers(text, predicates.lexical(dialect), where=shown), dialect, shown)
    if remembered:
        try:
            remembered.parent.mkdir(parents=True, exist_ok=True)
            remembered.write_text(json.dumps(tables), encoding="utf-8")
        except OSError:  # a read-only checkout: parse again next time
            pass
    return tables


def parse_tables(sql: str, dialect: str, shown: str) -> list[str]:
    """Tables that one query reads, lower case, sorted; the names of its own CTEs are not tables.

    Returns:
        `database.table` of the catalog's; in Trino's dialects also `connection.schema.table`.

    Raises:
        JobDefinitionError: it is not one query, does not parse, or names a table without its database.
    """
    return sorted({name for _, name in sources(parse(sql, dialect, shown), dialect, shown)})


def parse(sql: str, dialect: str, shown: str) -> exp.Query:
    """The one query of a file.

    Raises:
        JobDefinitionError: it is not one query, or does not parse.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, SqlglotError

    try:
        # A comment after the last semicolon is parsed as a statement of its own.
        statements = [one for one in sqlglot.parse(sql, read=dialect) if one is not None and not isinstance(one, exp.Semicolon)]
    except ParseError as exc:
        first = exc.errors[0] if exc.errors else {}
        line, column = first.get("line"), first.get("col")
        where = f"{shown}:{line}" if line else shown
        details = []
        if line and column:
            source = sql.split("\n")[line - 1]
            details = [source, " " * (column - 1) + "^"]
        raise JobDefinitionError(f"does not parse as {dialect} SQL: {first.get('description', exc)}", where=where, details=details) from exc
    except (SqlglotError, RecursionError) as exc:
        raise _unreadable(exc, dialect, shown) from exc
    if len(statements) != 1:
        raise JobDefinitionError(f"a SQL job is one statement, this file has {len(statements)}", where=shown, fix="make one file of each")
    query = statements[0]
    if not isinstance(query, exp.Query):
        raise JobDefinitionError(
            f"a SQL job is a query, this is {query.key.upper()}",
            where=shown,
            fix="write only the SELECT; the framework writes and publishes its rows",
        )
    return query


def sources(query: exp.Query, dialect: str, shown: str) -> list[tuple[exp.Table, str]]:
    """Each place of a query that reads a table, with the table's name.

    Raises:
        JobDefinitionError: a table is named without its database.
    """
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.scope import traverse_scope

    try:
        found = [source for scope in traverse_scope(query) for source in scope.sources.values()]
    except (SqlglotError, RecursionError) as exc:
        raise _unreadable(exc, dialect, shown) from exc
    named = _table_name if dialect == "spark" else _federated_name
    tables = [source for source in found if isinstance(source, exp.Table) and source.name]
    return [(table, named(table.catalog, table.db, table.name, shown)) for table in tables]


def connections(sql: str, dialect: str, known: Collection[str]) -> set[str]:
    """Those of the known connections whose names stand in a statement of Trino's where a catalog's name can stand.

    By its tokens: that holds for statements that look at something (`SHOW TABLES FROM airline_ops.public`) and for table
    functions too, and for what does not parse. Too many are no harm, one too few would be.
    """
    from sqlglot import TokenType
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import SqlglotError

    try:
        tokens = Dialect.get_or_raise(dialect).tokenize(sql)
    except SqlglotError:
        return set(known)
    if len(tokens) > 1 and tokens[0].token_type in (TokenType.COMMAND, TokenType.SHOW):
        # The rest of EXPLAIN ... and SHOW ... is one token.
        return connections(f"FROM {tokens[1].text}", dialect, known)
    by_name = {name.lower(): name for name in known}
    found = set()
    for index, token in enumerate(tokens):
        before = tokens[index - 1].token_type if index else None
        after = tokens[index + 1].token_type if index + 1 < len(tokens) else None
        names_catalog = before is not TokenType.DOT and (after is TokenType.DOT or before in (TokenType.FROM, TokenType.IN))
        if names_catalog and (name := by_name.get(token.text.lower())):
            found.add(name)
    return found


def _federated_name(catalog: str, schema: str, table: str, shown: str) -> str:
    """`database.table` of the lake, else `catalog.schema.table`."""
    if catalog.lower() in ("", LAKE_CATALOG, HIVE_CATALOG):
        return _table_name("", schema, table, shown)
    return f"{catalog}.{schema}.{table}".lower()


def _table_name(catalog: str, database: str, table: str, shown: str) -> str:
    if not database:
        raise JobDefinitionError(f"table {table} has no database", where=shown, fix=f"write database.{table}")
    name = f"{database}.{table}"
    if catalog not in ("", "spark_catalog") or not is_table_name(name):
        full = f"{catalog}.{name}" if catalog else name
        raise JobDefinitionError(f"{full} is not the name of a table", where=shown, fix="write database.table")
    return name.lower()


def _unreadable(exc: Exception, dialect: str, shown: str) -> JobDefinitionError:
    reason = "nested too deep" if isinstance(exc, RecursionError) else (str(exc).splitlines() or [type(exc).__name__])[0]
    return JobDefinitionError(f"does not parse as {dialect} SQL: {reason}", where=shown)
