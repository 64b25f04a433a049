from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

from builders import attempt

from framework import job
from framework.catalog import TableInfo
from framework.engines.presto.client import PrestoClient
from framework.engines.presto.engine import PrestoEngine, in_catalog
from framework.engines.trino import statement
from framework.errors import JobDefinitionError, SchemaMismatch
from framework.jobs import EngineKind, Job, Sql, Table

SOURCE = """/* head */
WITH m AS (SELECT * FROM marts.daily WHERE day = {day})
SELECT {day} AS d, m.*, nme
FROM m JOIN "marts"."daily" AS other ON other.day = {day} JOIN iceberg.marts.daily AS named ON true
JOIN reference.airlines AS a ON a.day = {day}, ref.lst"""


def test_an_iceberg_table_gets_its_catalog_and_places_still_lead_to_the_users_file() -> None:
    body = statement.of(SOURCE, {"day": dt.date(2024, 1, 2)}, "presto", where="jobs/a.sql", target="presto")
    found = in_catalog(body, {"marts.daily"}, "jobs/a.sql")
    assert found.text == SOURCE.replace("{day}", "DATE '2024-01-02'").replace("FROM marts.", "FROM iceberg.marts.").replace(
        'JOIN "marts"', 'JOIN iceberg."marts"'
    )
    for word in ("nme", "a ON a.day", "ref.lst", "other ON", "named ON"):
        line, column = next((number, row.index(word) + 1) for number, row in enumerate(found.text.split("\n"), 1) if word in row)
        place = found.position(line, column)
        assert place is not None
        assert SOURCE.split("\n")[place[0] - 1][place[1] - 1 :].startswith(word)


def test_a_statement_in_prestos_sql_goes_to_presto_as_it_is() -> None:
    body = statement.of("SELECT approx_distinct(a) x FROM d.t", {}, "presto", where="jobs/a.sql", target="presto")
    assert body.text == "SELECT approx_distinct(a) x FROM d.t"
    assert body.position(1, 8) == (1, 8)


def test_a_table_that_is_iceberg_already_is_refused_before_anything_is_computed() -> None:
    existing = TableInfo("db.out", "iceberg", "s3://warehouse/out", ())
    platform: Any = SimpleNamespace(catalog=SimpleNamespace(find=lambda name: existing))
    made = Job("t", EngineKind.PRESTO, {}, Table("db.out", format="parquet"), {}, None, Sql("SELECT 1 AS a", "presto"), "jobs/t.sql", 1)
    engine = PrestoEngine(PrestoClient("http://127.0.0.1:1", "ann", {}))
    refused = attempt(lambda: engine.area(platform, made, {}, "run"))
    assert isinstance(refused, SchemaMismatch)
    assert str(refused) == (
        "jobs/t.sql:1: table db.out is iceberg; a Presto job publishes tables in the Hive layout\n"
        "  fix: publish to another table, or use `engine: trino`"
    )


def test_a_function_does_not_run_on_presto() -> None:
    refused = attempt(lambda: job(engine="presto", inputs={}, output=Table("a.b")))
    assert isinstance(refused, JobDefinitionError)
    assert str(refused) == "a function runs on spark or trino, not on presto\n  fix: write the job as a .sql file"
