"""What a run is called in a database, and what its transaction does there."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

import pymysql
import pytest

from framework.catalog import Column
from framework.errors import (
    AccessRefused,
    BadData,
    ConfigError,
    DatasetNotFound,
    JobFailed,
    MissingExtra,
    PublishConflict,
    ServiceUnavailable,
)
from framework.jobs import EngineKind, Jdbc, Job, Param
from framework.publish.database import DatabaseTable, RunKeys, keys_of
from framework.publish.dialects.mysql import MySql
from framework.sources import mysql
from framework.sources.jdbc import Database

RUN = "20130308T101500123-export-3f2a9c"


def job(output: Jdbc, **inputs: Any) -> Job:
    return Job("export", EngineKind.SPARK, inputs, output, {"day": Param(dt.date)}, None, lambda: None, "jobs/export.py", 1)


def keys(output: Jdbc, day: str = "2013-03-08", run_id: str = RUN, **inputs: Any) -> RunKeys:
    return keys_of(job(output, **inputs), {"day": dt.date.fromisoformat(day)}, run_id)


def test_a_publication_is_a_run_s_unless_its_rows_are_appended() -> None:
    assert keys(Jdbc("ops", "t")).publication == RUN
    assert keys(Jdbc("ops", "t", keys=["id"])).publication == RUN


def test_rows_of_one_set_of_parameters_are_appended_once() -> None:
    output = Jdbc("ops", "t", mode="append")
    assert keys(output).publication == keys(output, run_id="20130309T101500123-export-aaaaaa").publication
    assert keys(output).publication != keys(output, day="2013-03-09").publication


def test_each_run_appends_what_is_new_to_it() -> None:
    output = Jdbc("ops", "t", mode="append")
    assert keys(output, rows=Jdbc("ops", "source", watermark="changed")).publication == RUN
    assert keys_of(job(output), {}, RUN).publication == RUN


def test_runs_that_may_go_in_parallel_have_slots_of_their_own() -> None:
    output = Jdbc("ops", "t", partitioned_by=["day"])
    assert keys(output).slot != keys(output, day="2013-03-09").slot
    assert keys(Jdbc("ops", "t")).slot == keys(Jdbc("ops", "t"), day="2013-03-09").slot


def test_a_database_that_cannot_be_published_to_is_refused() -> None:
    database = Database("ops", "opensearch", "db", "9200", "ops", "etl", None)
    with pytest.raises(ConfigError, match="connection ops is opensearch; jobs publish to postgresql and mysql only"):
        DatabaseTable(database, Jdbc("ops", "t"), keys(Jdbc("ops", "t")))


@pytest.mark.parametrize(("kind", "package"), [("postgresql", "psycopg"), ("mysql", "pymysql")])
def test_a_client_that_is_not_installed_is_named(kind: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    output = Jdbc("ops", "t")
    with pytest.raises(MissingExtra, match=r"pip install 'emrjobs\[databases\]'"):
        DatabaseTable(Database("ops", kind, "db", "1", "ops", "etl", None), output, keys(output)).prepare([Column("id", "int")])


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Database("ops", "postgresql", "db", "5432", "ops", "etl", "secret"))


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("decimal(38,10)", "", "decimal(38,10)"),
        ("bigint(20) unsigned", "", "decimal(20,0)"),
        ("tinyint(1)", "boolean", "boolean"),
        ("tinyint(1)", "tinyint", "tinyint"),
        ("datetime(6)", "", "timestamp"),
        ("varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "", "string"),
        ("varbinary(4)", "", "binary"),
    ],
)
def test_columns_of_mysql_in_sparks_words(kind: str, given: str, wanted: str) -> None:
    assert MySql().spark_type(kind, given) == wanted


@pytest.mark.parametrize(
    ("error", "kind", "passing"),
    [
        (pymysql.err.OperationalError(1045, "Access denied"), AccessRefused, False),
        (pymysql.err.OperationalError(1142, "INSERT command denied"), AccessRefused, False),
        (pymysql.err.OperationalError(1049, "Unknown database"), DatasetNotFound, False),
        (pymysql.err.DataError(1406, "Data too long for column"), BadData, False),
        (pymysql.err.OperationalError(1213, "Deadlock found"), PublishConflict, True),
        (pymysql.err.OperationalError(2013, "Lost connection"), ServiceUnavailable, True),
        (pymysql.err.InterfaceError(0, ""), ServiceUnavailable, True),
        (pymysql.err.ProgrammingError(1146, "Table doesn't exist"), JobFailed, False),
    ],
)
def test_what_mysql_says_is_an_error_of_this_framework(error: pymysql.Error, kind: type[Exception], passing: bool) -> None:
    database = Database("ops", "mysql", "db", "3306", "ops", "etl", "secret")
    said = mysql.explain(error, database, "output ops.t")
    assert type(said) is kind
    assert "secret" not in str(said)
    assert mysql.is_passing(error) == passing
