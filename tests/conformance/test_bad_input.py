"""Bad input on the embedded target: one clear sentence, the right exit code, nothing published, nothing left behind."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.errors import EmrjobsError
from framework.ledger import RunRecord
from framework.platform import Platform
from framework.publish import is_staging_name
from framework.query import run_query

pytestmark = [pytest.mark.services, pytest.mark.spark, pytest.mark.timeout(900)]

JOBS = '''\
"""Jobs that fail, each in its own way."""

import datetime as dt

from framework import Jdbc, Param, Path, Table, job
from jobs._bad_input import deep

AIRLINES = {"airlines": Table("reference.airlines")}
VALUES = "number int, name string"


def refused(name, one):
    @job(name=name, inputs={"one": one}, output=Table(f"bad_input.{name}"))
    def body(one):
        return one

    return body


unknown_connection = refused("unknown_connection", Jdbc("airline_op", "flights"))
unknown_database_table = refused("unknown_database_table", Jdbc("airline_ops", "flihgts", where="flight = 1"))
unknown_database_column = refused("unknown_database_column", Jdbc("airline_ops", "flights", where="flight_dat = '2013-01-15'"))
wrong_database_value = refused("wrong_database_value", Jdbc("airline_ops", "flights", where="flight_date = 'x'"))
unknown_table = refused("unknown_table", Table("reference.airlins"))
unwritten_table = refused("unwritten_table", Table("bad_input.unknown_table"))
unknown_table_column = refused("unknown_table_column", Table("reference.airlines", where="carier = 'AA'"))
unknown_bucket = refused("unknown_bucket", Path("s3://bad-input-nowhere/x/"))
bad_schema = refused("bad_schema", Path("{raw}/weather/", format="json", schema="origin strng"))
wrong_value = refused("wrong_value", Path("{raw}/bad_input/json/", format="json", schema=VALUES))
wrong_cell = refused("wrong_cell", Path("{raw}/bad_input/csv/", format="csv", schema=VALUES, options={"header": "true"}))
not_parquet = refused("not_parquet", Path("{raw}/bad_input/parquet/", schema=VALUES))


@job(inputs=AIRLINES, output=Table("bad_input.raises"))
def raises(airlines):
    missing = {}["carrier"]
    return airlines


@job(inputs=AIRLINES, output=Table("bad_input.raises_deeper"))
def raises_deeper(airlines):
    return deep(airlines)


@job(inputs=AIRLINES, output=Table("bad_input.raises_in_a_worker"))
def raises_in_a_worker(airlines):
    from pyspark.sql import functions as F

    @F.udf("string")
    def shout(name):
        raise ValueError(f"too loud: {name[:5]}")

    return airlines.select(shout("name").alias("name"))


@job(inputs=AIRLINES, output=Table("bad_input.unknown_column"))
def unknown_column(airlines):
    return airlines.select("carier")


@job(inputs=AIRLINES, output=Table("bad_input.leaks"))
def leaks(airlines):
    raise RuntimeError("connected with hunter2-secret")


@job(params={"values": str, "kind": Param(str, default="int")}, inputs=AIRLINES, output=Table("bad_input.checked"), checks="bad_input")
def checked(airlines, *, values, kind):
    return airlines.sparkSession.createDataFrame([(int(one),) for one in values.split(",")], "number int").selectExpr(
        f"cast(number as {kind}) as number"
    )
'''
HELPER = """\
def deep(frame):
    return frame.nothing()
"""
SQL = """\
/*
engine: spark
output: bad_input.sql
params: {carrier: {type: str, default: AA}}
*/
SELECT a.carrier
FROM reference.airlines AS a
WHERE a.carrier = {carrier} AND a.nme = {carrier}
"""
SUITE = "expectations:\n  - expect_column_values_to_be_between: {column: number, min_value: 0}\n"

Refused = Callable[..., EmrjobsError]


@pytest.fixture(scope="module", autouse=True)
def bad_jobs(root: Path, platform: Platform) -> Iterator[None]:
    """The jobs above in the project, and the files that they read, while this module runs."""
    texts = {
        "jobs/bad_input.py": JOBS,
        "jobs/_bad_input.py": HELPER,
        "jobs/bad_sql.sql": SQL,
        "configs/checks/bad_input.yaml": SUITE,
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    put(platform, "bad_input/json/a.json", '{"number": 1, "name": "one"}\n')
    put(platform, "bad_input/json/b.json", '{"number": 2, "name": "two"}\n{"number": "three", "name": "three"}\n')
    put(platform, "bad_input/csv/a.csv", "number,name\n1,one\ntwo,two\n")
    put(platform, "bad_input/parquet/a.parquet", "number,name\n")
    yield
    for name in texts:
        (root / name).unlink()


@pytest.fixture(autouse=True)
def nothing_is_left(platform: Platform) -> Iterator[None]:
    yield
    assert [table.name for table in platform.catalog.tables() if is_staging_name(table.name)] == []


@pytest.fixture
def refused(run: Callable[..., RunRecord], platform: Platform) -> Refused:
    """Run a job that must fail; its error, after checks that hold for every one."""

    def one(job: str, **params: Any) -> EmrjobsError:
        with pytest.raises(EmrjobsError) as caught:
            run(job, **params)
        assert "Traceback" not in str(caught.value)
        assert len(caught.value.message.splitlines()) == 1
        record = next(iter(platform.ledger.list(job=job)))
        assert (record.status, record.output) == ("failed", None)
        assert record.error == {"type": type(caught.value).__name__, "message": str(caught.value), "exit_code": caught.value.exit_code}
        return caught.value

    return one


def put(platform: Platform, key: str, text: str) -> None:
    platform.aws.client("s3").put_object(Bucket="emrjobs-raw", Key=key, Body=text.encode())


def told(done: Any, code: int) -> str:
    """What a command says on standard error, after checks that hold for every failed one."""
    assert done.code == code, done.err
    assert "Traceback" not in done.out + done.err
    assert len(re.findall(r"^error: ", done.err, re.MULTILINE)) == 1
    return str(done.err[done.err.index("error: ") :])


def numbers(platform: Platform) -> list[int]:
    return sorted(row[0] for row in run_query(platform, "SELECT number FROM bad_input.checked", 100)[1])


def at(wanted: str) -> str:
    """Where in the jobs above a text stands."""
    number = next(number for number, line in enumerate(JOBS.splitlines(), start=1) if wanted in line)
    return f"jobs/bad_input.py:{number}"


class TestAsACommand:
    def test_a_wrong_parameter_is_refused_before_anything_is_started(self, emrjobs: Any, root: Path, tmp_path: Path) -> None:
        for name in ("jobs", "configs"):
            shutil.copytree(root / name, tmp_path / name)
        error = told(emrjobs("run", "daily_etl", "-p", "date=2013-02-30", project=tmp_path), 2)
        assert error == "error: parameter date: '2013-02-30' is not a date like 2013-03-08\n"
        error = told(emrjobs("run", "checked", project=tmp_path), 2)
        assert "job checked needs the parameter values (str)" in error
        assert "fix: give it: emrjobs run checked -p values=..." in error
        assert not (tmp_path / ".local" / "state").exists()

    def test_a_secret_that_is_not_there_says_where_it_was_looked_for(self, emrjobs: Any) -> None:
        reference = "${secretsmanager:emrjobs/nobody#password}"
        error = told(emrjobs("run", "daily_etl", "--set", f"connections.airline_ops.password={reference}"), 2)
        assert error.startswith(f"error: --set: connections.airline_ops.password: cannot resolve {reference}: Secrets Manager answered")
        assert "ResourceNotFoundException (region us-east-1)" in error
        assert "looked in: --set, EMRJOBS__CONNECTIONS__AIRLINE_OPS__PASSWORD, configs/env/embedded.yaml, configs/base.yaml" in error
        assert "fix: create emrjobs/nobody" in error

    @pytest.mark.slow
    def test_a_database_that_is_down_is_named_with_its_host_and_port(self, emrjobs: Any) -> None:
        error = told(emrjobs("run", "daily_etl", EMRJOBS__CONNECTIONS__AIRLINE_OPS__PORT="1"), 1)
        assert re.match(r"error: jobs/daily_etl.py:\d+: input flights: cannot connect to database airline_ops \(postgresql://127", error)
        assert "fix: check that it runs, connections.airline_ops.host, connections.airline_ops.port" in error

    def test_a_wrong_password_is_refused_and_never_shown(self, emrjobs: Any, platform: Platform) -> None:
        setting = {"EMRJOBS__CONNECTIONS__AIRLINE_OPS__PASSWORD": "${env:GUESS}", "GUESS": "hunter2-guess"}
        done = emrjobs("run", "daily_etl", **setting)
        error = told(done, 2)
        assert "input flights: database airline_ops" in error
        assert "refused the user or the password" in error
        assert "fix: check connections.airline_ops.user and connections.airline_ops.password" in error
        record = platform.ledger.get("latest")
        assert record.status == "failed"
        kept = record.to_json().decode() + (platform.ledger.log(record.run_id) or "")
        assert "password authentication failed" in kept, "the log does not say what the database said"
        assert "hunter2-guess" not in done.out + done.err + kept

    def test_a_day_without_files_is_refused(self, emrjobs: Any, platform: Platform) -> None:
        # The observations of 2013 end on December 30.
        error = told(emrjobs("run", "daily_etl", "-p", "date=2013-12-31"), 2)
        assert "input weather: there are no files at s3://emrjobs-raw/weather/date=2013-12-31/" in error
        assert "fix: check the path and the parameters in it" in error

    @pytest.mark.slow
    def test_a_malformed_record_is_named_with_its_file_and_line(self, emrjobs: Any, platform: Platform) -> None:
        key = "weather/date=2014-01-01/broken.json"
        put(platform, key, '{"origin": "JFK", "temp": 40.0}\n{"origin": "JFK", "temp": 41.0\n{"origin": "LGA", "temp": 42.0}\n')
        error = told(emrjobs("run", "daily_etl", "-p", "date=2014-01-01"), 1)
        assert error.startswith(f"error: s3://emrjobs-raw/{key}:2: input weather: malformed json record\n")
        assert '\n  {"origin": "JFK", "temp": 41.0\n' in error
        shown = emrjobs("runs", "show", "latest")
        assert "daily_etl" in shown.out
        assert "failed in" in shown.out
        assert f"{key}:2: input weather: malformed json record" in shown.out
        log = emrjobs("logs", "latest").out
        assert "stage: compute daily_etl" in log
        assert f"failed: s3://emrjobs-raw/{key}:2: input weather: malformed json record" in log

    def test_a_failing_check_keeps_the_old_rows_and_shows_what_fails(
        self, emrjobs: Any, run: Callable[..., RunRecord], platform: Platform
    ) -> None:
        run("checked", values="1,2")
        done = emrjobs("run", "checked", "-p", "values=4,-5,6")
        error = told(done, 1)
        assert error.startswith("error: 1 of 1 checks failed; nothing was published\n")
        assert "configs/checks/bad_input.yaml:2: number must be" in error
        assert "1 of 3 rows (33.3 %) do not hold" in error
        assert "fix: correct the data or the job, or the suite configs/checks/bad_input.yaml" in error
        samples = done.err[done.err.index("rows that fail") :].splitlines()
        assert samples[1:4] == ["number", "------", "-5"]
        assert done.out == ""
        assert numbers(platform) == [1, 2]


class TestInputs:
    def test_an_unknown_connection_gets_the_nearest(self, refused: Refused) -> None:
        error = refused("unknown_connection")
        assert (error.exit_code, error.message, error.fix) == (2, "there is no connection 'airline_op'", "did you mean 'airline_ops'?")
        assert str(error.where).startswith("jobs/bad_input.py:")

    def test_an_unknown_table_gets_the_nearest(self, refused: Refused) -> None:
        error = refused("unknown_table")
        assert (error.exit_code, error.message) == (2, "there is no table reference.airlins")
        assert error.fix == "did you mean 'reference.airlines'?"

    def test_a_table_that_a_job_has_still_to_write_names_the_job(self, emrjobs: Any) -> None:
        error = told(emrjobs("run", "unwritten_table"), 2)
        assert "there is no table bad_input.unknown_table\n" in error
        assert "fix: the job unknown_table writes it: run that first, or both with --upstream (make: UPSTREAM=1)" in error

    def test_an_unknown_table_of_a_database_gets_the_nearest(self, refused: Refused) -> None:
        error = refused("unknown_database_table")
        assert error.exit_code == 2
        assert 'input one: relation "flihgts" does not exist in database airline_ops' in error.message
        assert error.fix == "did you mean 'flights'?"

    def test_an_unknown_column_of_a_database_is_told_in_its_words(self, refused: Refused) -> None:
        error = refused("unknown_database_column")
        assert error.exit_code == 2
        assert 'does not understand the predicate: column "flight_dat" does not exist' in error.message
        assert error.details == ("airline_ops.flights where flight_dat = '2013-01-15'",)
        assert error.fix == 'Perhaps you meant to reference the column "flights.flight_date".'

    def test_a_value_that_a_database_cannot_read_is_not_taken_for_a_database_that_is_down(self, refused: Refused) -> None:
        error = refused("wrong_database_value")
        assert (error.exit_code, error.retryable) == (1, False)
        assert 'invalid input syntax for type date: "x"' in error.message

    def test_an_unknown_column_in_a_predicate_gets_the_nearest(self, refused: Refused) -> None:
        error = refused("unknown_table_column")
        assert error.exit_code == 2
        assert "its predicate does not fit reference.airlines" in error.message
        assert (error.details, error.fix) == (("carier = 'AA'",), "did you mean 'carrier'?")

    def test_a_bucket_that_is_not_there_is_named(self, refused: Refused) -> None:
        error = refused("unknown_bucket")
        assert error.exit_code == 2
        assert error.message == "input one: there is no bucket 'bad-input-nowhere' (s3://bad-input-nowhere/x/)"

    def test_a_schema_that_does_not_parse_is_shown(self, refused: Refused) -> None:
        error = refused("bad_schema")
        assert (error.exit_code, error.details) == (2, ("origin strng",))
        assert error.message == 'input one: its schema does not parse: Unsupported data type "STRNG".'

    def test_a_value_of_the_wrong_type_in_json_is_named_with_its_file_and_line(self, refused: Refused) -> None:
        error = refused("wrong_value")
        assert (error.exit_code, error.where) == (1, "s3://emrjobs-raw/bad_input/json/b.json:2")
        assert error.details[0] == '{"number": "three", "name": "three"}'
        assert "Cannot parse the field name 'number'" in error.details[1]
        assert error.fix == "correct the file, or the declared schema: number int, name string"

    def test_a_value_of_the_wrong_type_in_csv_is_named_with_its_file_and_line(self, refused: Refused) -> None:
        error = refused("wrong_cell")
        assert (error.exit_code, error.where, error.details[0]) == (1, "s3://emrjobs-raw/bad_input/csv/a.csv:3", "two,two")

    def test_a_file_of_another_format_is_named(self, refused: Refused) -> None:
        error = refused("not_parquet")
        assert error.exit_code == 1
        assert error.message.startswith("input one: s3://emrjobs-raw/bad_input/parquet/a.parquet is not a Parquet file.")


class TestTheJobsOwnCode:
    def test_an_error_in_the_function_has_its_file_and_line(self, refused: Refused) -> None:
        error = refused("raises")
        assert (error.exit_code, error.message) == (1, "job raises failed: KeyError: 'carrier'")
        assert error.where == at("missing = ")

    def test_an_error_in_a_helper_has_the_helpers_file_and_line(self, refused: Refused) -> None:
        error = refused("raises_deeper")
        assert error.where == "jobs/_bad_input.py:2"
        assert "AttributeError: 'DataFrame' object has no attribute 'nothing'" in error.message

    def test_an_error_in_a_worker_has_its_file_and_line(self, refused: Refused) -> None:
        error = refused("raises_in_a_worker")
        assert error.exit_code == 1
        assert re.fullmatch(r"job raises_in_a_worker failed: ValueError: too loud: \w+.*", error.message)
        assert error.where == at("too loud")

    def test_an_unknown_column_gets_the_nearest(self, refused: Refused) -> None:
        error = refused("unknown_column")
        assert (error.exit_code, error.fix) == (1, "did you mean 'carrier'?")
        assert error.where == at('select("carier")')

    def test_an_unknown_column_in_sql_is_shown_with_a_caret(self, refused: Refused) -> None:
        error = refused("bad_sql")
        assert (error.exit_code, error.where, error.fix) == (1, "jobs/bad_sql.sql:8", "did you mean 'a.name'?")
        source, caret = error.details
        assert source == "WHERE a.carrier = {carrier} AND a.nme = {carrier}"
        assert source[caret.index("^") :].startswith("a.nme")

    def test_a_secret_that_the_job_tells_is_masked(self, refused: Refused, platform: Platform) -> None:
        platform.resolver.hide("hunter2-secret")
        error = refused("leaks")
        assert error.message == "job leaks failed: RuntimeError: connected with ********"
        log = platform.ledger.log(next(iter(platform.ledger.list(job="leaks"))).run_id)
        assert "hunter2-secret" not in str(log)

    def test_a_column_of_another_type_than_the_tables_is_refused_and_the_old_rows_stay(
        self, refused: Refused, run: Callable[..., RunRecord], platform: Platform
    ) -> None:
        run("checked", values="1,2")
        error = refused("checked", values="3", kind="string")
        assert (error.exit_code, error.message) == (1, "the job's output does not fit table bad_input.checked")
        assert error.details == ("number: the job gives string, the table has int",)
        assert error.where == at('@job(params={"values"')
        assert numbers(platform) == [1, 2]


def test_no_failed_job_has_made_a_table(platform: Platform) -> None:
    assert [table.name for table in platform.catalog.tables() if table.name.startswith("bad_input.")] == ["bad_input.checked"]
