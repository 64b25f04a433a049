"""The job model: what a declaration may say, and how a run's parameters are bound."""

from __future__ import annotations

import datetime as dt
import enum
import functools
from collections.abc import Callable
from typing import Any

import pytest

from framework import Jdbc, Job, Param, Path, Table, job
from framework.errors import JobDefinitionError, ParameterError
from framework.jobs import fill, placeholders


class Mode(enum.Enum):
    FULL = "full"
    DELTA = "delta"


def declared(**changes: Any) -> Job:
    @job(**{"inputs": {}, "output": Table("marts.daily"), **changes})
    def daily() -> None:
        """Delays of one day.

        More text.
        """

    return daily


class TestParameters:
    def test_texts_become_values_of_the_declared_types(self) -> None:
        one = declared(params={"date": dt.date, "n": int, "who": str, "mode": Mode})
        values = one.bind({"date": " 2013-03-08", "n": "7", "who": "UA", "mode": "delta"})
        assert values == {"date": dt.date(2013, 3, 8), "n": 7, "who": "UA", "mode": "delta"}

    def test_defaults_are_filled_in(self) -> None:
        one = declared(params={"date": Param(dt.date, default="2013-01-15"), "mode": Param(Mode, default=Mode.FULL)})
        assert one.bind({}) == {"date": dt.date(2013, 1, 15), "mode": "full"}

    def test_values_of_the_type_are_taken_as_they_are(self) -> None:
        one = declared(params={"date": dt.date})
        assert one.bind({"date": dt.datetime(2013, 3, 8, 10, 0, tzinfo=dt.UTC)}) == {"date": dt.date(2013, 3, 8)}

    def test_a_missing_one_is_named_with_the_way_to_give_it(self) -> None:
        with pytest.raises(ParameterError) as caught:
            declared(params={"date": dt.date}).bind({})
        assert caught.value.message == "job daily needs the parameter date (date)"
        assert "-p date=" in str(caught.value.fix)
        assert "make run JOB=daily DATE=" in str(caught.value.fix)

    def test_an_unknown_one_gets_the_nearest_name(self) -> None:
        with pytest.raises(ParameterError, match="has no parameter 'dat'") as caught:
            declared(params={"date": dt.date}).bind({"dat": "2013-01-01"})
        assert caught.value.fix == "did you mean 'date'?"

    @pytest.mark.parametrize(
        ("kind", "value", "expected"),
        [
            (dt.date, "yesterday", "parameter p: 'yesterday' is not a date like 2013-03-08"),
            (dt.date, "2013-02-30", "parameter p: '2013-02-30' is not a date like 2013-03-08"),
            (int, "7.5", "parameter p: '7.5' is not an int like 7"),
            (int, True, "parameter p: 'True' is not an int like 7"),
            (Mode, "FULL", "parameter p: 'FULL' is not one of full, delta"),
            (str, "caf\udce9", "parameter p: 'caf\\udce9' is not a str"),
        ],
    )
    def test_a_wrong_one_is_refused_with_an_example(self, kind: type[Any], value: object, expected: str) -> None:
        with pytest.raises(ParameterError) as caught:
            declared(params={"p": kind}).bind({"p": value})
        assert caught.value.message == expected
        assert caught.value.exit_code == 2

    def test_an_enum_of_one_value_is_told_as_such(self) -> None:
        only = enum.Enum("Only", {"A": "all"})
        with pytest.raises(ParameterError, match="'none' is not one of all"):
            Param(only).parse("p", "none")

    @pytest.mark.parametrize("kind", [float, bool, dt.datetime, "date", list[int]])
    def test_only_four_types_are_parameters(self, kind: Any) -> None:
        with pytest.raises(JobDefinitionError, match="must be date, int, str or an Enum"):
            Param(kind)

    def test_an_enum_of_numbers_is_refused(self) -> None:
        with pytest.raises(JobDefinitionError, match="must be texts"):
            Param(enum.Enum("Level", {"LOW": 1}))

    def test_a_default_of_another_type_is_refused(self) -> None:
        with pytest.raises(ParameterError, match="parameter default: 'x' is not an int"):
            Param(int, default="x")


class TestDatasets:
    @pytest.mark.parametrize("name", ["daily", "a.b.c", "", "marts.", "marts.da ily", "marts.x; DROP", "marts.daily\n"])
    def test_a_table_is_database_dot_table(self, name: str) -> None:
        with pytest.raises(JobDefinitionError, match=r"named database\.table"):
            Table(name)

    def test_names_are_case_insensitive(self) -> None:
        one = Table("Marts.Daily")
        assert (one.database, one.table) == ("marts", "daily")

    @pytest.mark.parametrize(
        ("build", "message", "fix"),
        [
            (lambda: Table("a.b", format="parket"), "unknown format 'parket'", "did you mean 'parquet'?"),
            (lambda: Table("a.b", mode="upsert"), "unknown mode 'upsert'", "known: append, merge, overwrite, overwrite_partitions"),
            (lambda: Table("a.b", partitioned_by="day"), "must be a list of columns", "write ['day']"),
            (lambda: Table("a.b", mode="overwrite_partitions"), "needs partitioned_by", None),
            (lambda: Jdbc("ops", "t", mode="upsert"), "unknown mode 'upsert'", "known: append, merge, overwrite, overwrite_partitions"),
            (lambda: Jdbc("ops", "t", keys="id"), "must be a list of columns", "write ['id']"),
            (lambda: Jdbc("ops", "t", mode="merge"), "mode merge and keys go together", "write keys=['column', ...]"),
            (lambda: Jdbc("ops", "t", mode="append", keys=["id"]), "mode merge and keys go together", "write keys=['column', ...]"),
            (lambda: Jdbc("ops", "t", deletes="gone"), "deletes needs mode merge", None),
            (lambda: Jdbc("ops", "t", mode="append", partitioned_by=["d"]), "overwrite_partitions and partitioned_by go together", None),
            (
                lambda: Table("a.b", location="hdfs:///b"),
                "an Iceberg table lies in its database's folder",
                "remove location, or use format='parquet'",
            ),
            (lambda: Path("s3://b/", format="jason"), "unknown format 'jason'", "did you mean 'json'?"),
            (lambda: Path("s3://b/", format="csv"), "format csv needs a schema", "add schema='column type, ...' with Spark SQL types"),
        ],
    )
    def test_what_is_misspelt_gets_the_nearest_word(self, build: Callable[[], object], message: str, fix: str | None) -> None:
        with pytest.raises(JobDefinitionError) as caught:
            build()
        assert message in caught.value.message
        assert caught.value.fix == fix

    def test_the_write_mode_follows_the_partitioning(self) -> None:
        assert Table("a.b").write_mode == "overwrite"
        assert Table("a.b", partitioned_by=["d"]).write_mode == "overwrite_partitions"
        assert Table("a.b", partitioned_by=["d"], mode="append").write_mode == "append"
        assert Jdbc("ops", "t").write_mode == "overwrite"
        assert Jdbc("ops", "t", partitioned_by=["d"]).write_mode == "overwrite_partitions"
        assert Jdbc("ops", "t", keys=["id"]).write_mode == "merge"

    def test_a_table_of_a_database_is_none_of_the_lake(self) -> None:
        assert Jdbc("ops", "Public.T").identity != Table("ops.t").identity
        assert Jdbc("ops", "public.t").identity == Jdbc("ops", "T").identity


class TestDeclaration:
    def test_the_function_stays_callable_with_plain_values(self) -> None:
        @job(inputs={"one": Table("a.b")}, output=Table("a.c"))
        def twice(one: int) -> int:
            return 2 * one

        assert twice(21) == 42
        assert twice(one=21) == 42

    def test_it_knows_its_name_place_and_first_line(self) -> None:
        one = declared()
        assert (one.name, one.description) == ("daily", "Delays of one day.")
        assert one.file == __file__
        assert one.where == f"{__file__}:{one.line}"

    def test_its_place_is_the_function_below_other_decorators(self) -> None:
        @functools.wraps(nearby := declared().body)
        def wrapper() -> None:
            nearby()

        one = job(inputs={}, output=Table("a.b"))(wrapper)
        assert (one.file, one.line) == (__file__, nearby.__code__.co_firstlineno)

    @pytest.mark.parametrize("name", ["Daily", "9lives", "a-b", "x" * 64, "a b", "../x"])
    def test_a_name_is_a_word(self, name: str) -> None:
        with pytest.raises(JobDefinitionError, match="is not a job name"):
            declared(name=name)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"output": Table("a.b", where="x = 1")}, "an output has no where"),
            ({"output": Path("s3://b/")}, "the output must be a Table"),
            ({"output": "a.b"}, "the output must be a Table"),
            ({"inputs": {"one": "a.b"}}, "argument"),
            ({"params": {"a-b": str}}, "'a-b' is not a parameter's name"),
            ({"params": {"1": str}}, "'1' is not a parameter's name"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(JobDefinitionError, match=message):
            declared(**changes)

    def test_an_input_must_be_a_dataset(self) -> None:
        with pytest.raises(JobDefinitionError, match="input one must be a Table, Path or Jdbc"):
            job(inputs={"one": "s3://b/"}, output=Table("a.b"), name="x")(lambda one: one)  # type: ignore[dict-item]

    def test_a_name_is_an_input_or_a_parameter(self) -> None:
        with pytest.raises(JobDefinitionError):
            job(inputs={"one": Table("a.b")}, output=Table("a.c"), params={"one": str}, name="x")(lambda one: one)

    @pytest.mark.parametrize("dataset", [Table("a.b", where="d = {dat}"), Jdbc("ops", "t", where="d = {dat}")])
    def test_a_placeholder_that_is_no_parameter_gets_the_nearest(self, dataset: Any) -> None:
        with pytest.raises(JobDefinitionError, match=r"input one uses \{dat\}, which is not a parameter") as caught:
            job(inputs={"one": dataset}, output=Table("a.c"), params={"date": dt.date}, name="x")(lambda one: one)
        assert caught.value.fix == "did you mean 'date'?"

    def test_an_argument_that_is_no_input_gets_the_nearest(self) -> None:
        with pytest.raises(JobDefinitionError, match="argument 'flight' is neither") as caught:
            job(inputs={"flights": Table("a.b")}, output=Table("a.c"), name="x")(lambda flight: flight)
        assert caught.value.fix == "did you mean 'flights'?"

    def test_an_input_that_is_no_argument_is_named(self) -> None:
        with pytest.raises(JobDefinitionError, match="input 'one' is declared and not an argument"):
            declared(inputs={"one": Table("a.b")})

    @pytest.mark.parametrize("function", [lambda *args: args, lambda **inputs: inputs])
    def test_hidden_inputs_are_refused(self, function: Callable[..., Any]) -> None:
        with pytest.raises(JobDefinitionError, match="hide what it reads"):
            job(inputs={}, output=Table("a.b"), name="x")(function)


class TestFill:
    def test_dates_take_a_format(self) -> None:
        values = {"raw": "s3://raw", "date": dt.date(2013, 3, 8)}
        assert fill("{raw}/{date}/{date:%Y/%m/%d}/", values, what="p") == "s3://raw/2013-03-08/2013/03/08/"

    def test_a_value_is_not_filled_in_again(self) -> None:
        assert fill("{a}/{b}", {"a": "{b}", "b": "x"}, what="p") == "{b}/x"

    def test_an_unknown_name_gets_the_nearest(self) -> None:
        with pytest.raises(ParameterError, match=r"input w: \{rw\} is neither") as caught:
            fill("{rw}/x", {"raw": "s3://raw"}, what="input w")
        assert caught.value.fix == "did you mean 'raw'?"

    def test_a_format_that_does_not_fit_is_refused(self) -> None:
        with pytest.raises(ParameterError, match=r"\{n:%Y\} is not a format for 'x'"):
            fill("{n:%Y}", {"n": "x"}, what="p")

    def test_a_number_in_braces_is_no_placeholder(self) -> None:
        assert placeholders("x rlike 'a{2}' and y = {z}") == ["z"]


class TestJobsOnTrino:
    def test_the_function_gets_a_session_and_parameters(self) -> None:
        @job(engine="trino", inputs={"a": Table("db.a")}, output=Table("db.b"), params={"date": dt.date})
        def pivot(trino: Any, date: dt.date) -> str:
            return "SELECT 1 AS a"

        assert (pivot.engine.value, pivot.reads()) == ("trino", ["db.a"])

    @pytest.mark.parametrize(
        ("body", "inputs", "problem"),
        [
            (lambda: "", {}, "the first argument of a function on Trino is trino"),
            (lambda date, trino: "", {}, "the first argument of a function on Trino is trino"),
            (lambda trino, airlines: "", {"airlines": Table("db.a")}, "argument 'airlines' is neither an input nor a parameter"),
            (lambda trino: "", {"raw": Path("s3://raw/")}, "input raw is a Path, which Trino cannot read"),
        ],
    )
    def test_another_function_is_refused(self, body: Any, inputs: dict[str, Any], problem: str) -> None:
        with pytest.raises(JobDefinitionError, match=problem):
            job(engine="trino", name="t", inputs=inputs, output=Table("db.b"), params={"date": dt.date})(body)

    def test_an_unknown_engine_is_told(self) -> None:
        with pytest.raises(JobDefinitionError, match="unknown engine 'trini'"):
            declared(engine="trini")
