"""What a run is called in a database, and what its transaction does there."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from framework.errors import ConfigError
from framework.jobs import EngineKind, Jdbc, Job, Param
from framework.publish.database import DatabaseTable, RunKeys, keys_of
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
    database = Database("ops", "mysql", "db", "3306", "ops", "etl", None)
    with pytest.raises(ConfigError, match="connection ops is mysql; jobs publish to PostgreSQL only"):
        DatabaseTable(database, Jdbc("ops", "t"), keys(Jdbc("ops", "t")))


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Database("ops", "postgresql", "db", "5432", "ops", "etl", "secret"))
