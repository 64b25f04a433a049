"""Which types fit which: never a value lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from builders import table
from hypothesis import given
from hypothesis import strategies as st

from framework.catalog import Column
from framework.errors import SchemaMismatch
from framework.jobs import Table
from framework.publish import is_staging_name, partition_values, staging_name, way_of
from framework.publish.hive import root
from framework.publish.schema import bad_keys, evolution, fits

TYPES = [
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "float",
    "double",
    "string",
    "varchar(5)",
    "char(3)",
    "date",
    "timestamp",
    "timestamp_ntz",
    "boolean",
    "binary",
    "decimal(5,2)",
    "decimal(7,2)",
    "decimal(9,4)",
    "array<int>",
    "struct<a:int>",
]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("int", "int"),
        ("INT", "int"),
        ("tinyint", "bigint"),
        ("float", "double"),
        ("decimal(5,2)", "decimal(7, 2)"),
        ("decimal(5,2)", "decimal(9,4)"),
        ("varchar(5)", "string"),
        ("char(3)", "string"),
        ("timestamp_ntz", "timestamp"),
        ("array<int>", "array<int>"),
    ],
)
def test_what_holds_every_value_fits(source: str, target: str) -> None:
    assert fits(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("bigint", "int"),
        ("double", "float"),
        ("int", "string"),
        ("string", "int"),
        ("string", "varchar(5)"),
        ("int", "double"),
        ("bigint", "double"),
        ("date", "timestamp"),
        ("timestamp", "date"),
        ("decimal(9,4)", "decimal(9,2)"),
        ("decimal(7,2)", "decimal(7,4)"),
        ("array<int>", "array<bigint>"),
        ("boolean", "int"),
        ("int", "decimal(5,2)"),
    ],
)
def test_what_would_lose_or_change_a_value_does_not(source: str, target: str) -> None:
    assert not fits(source, target)


def test_fitting_is_reflexive_and_transitive() -> None:
    for one in TYPES:
        assert fits(one, one)
    for one, two, three in product(TYPES, repeat=3):
        if fits(one, two) and fits(two, three):
            assert fits(one, three), (one, two, three)


PRECISIONS = st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p)))


@given(source=PRECISIONS, target=PRECISIONS)
def test_a_decimal_fits_where_its_largest_and_its_finest_value_do(source: tuple[int, int], target: tuple[int, int]) -> None:
    largest_fits = 10 ** (source[0] - source[1]) <= 10 ** (target[0] - target[1])
    finest_fits = source[1] <= target[1]
    assert fits("decimal({},{})".format(*source), "decimal({},{})".format(*target)) == (largest_fits and finest_fits)


class TestHiveNames:
    def test_the_table_s_folder_is_the_same_whichever_run_it_points_at(self) -> None:
        for location in ("s3://b/t", "s3://b/t/_runs/r1", "s3://b/t/_runs/r1-merged"):
            assert root(type(table())(name="db.t", format="parquet", location=location, columns=())) == "s3://b/t"

    def test_partition_folders_give_their_values_back(self) -> None:
        assert partition_values("day=2013-01-15/carrier=UA") == ("2013-01-15", "UA")
        assert partition_values("what=a%3Db%2Fc d") == ("a=b/c d",)
        assert partition_values("a=b=c") == ("b=c",)


def test_a_staging_name_is_known_as_one() -> None:
    name = staging_name("db.daily", "20130115T101500-daily-3f2a9c")
    assert name == "db.daily__stage_20130115t101500_daily_3f2a9c"
    assert is_staging_name(name)
    assert not is_staging_name("db.daily")


@pytest.mark.parametrize(
    ("policy", "given", "wanted"),
    [
        ("fail", "a bigint, b string, c date", ""),
        ("add_columns", "a bigint, b string, c date", "c date"),
        ("widen", "a bigint, b string, c date", "a bigint, c date"),
        ("widen", "a smallint, b string", ""),
        ("widen", "a bigint", ""),
    ],
)
def test_a_table_changes_only_as_its_policy_says_and_for_rows_that_fit_it(policy: str, given: str, wanted: str) -> None:
    def columns(text: str) -> tuple[Column, ...]:
        return tuple(Column(*one.split()) for one in text.split(", ") if one)

    assert evolution(columns(given), columns("a int, b string"), policy) == columns(wanted)


def test_an_existing_table_decides_how_it_is_published() -> None:
    parquet, iceberg = (replace(table("t.one"), format=kind) for kind in ("parquet", "iceberg"))
    assert way_of(Table("t.one"), None) == "iceberg"
    assert way_of(Table("t.one"), parquet) == "hive"
    assert way_of(Table("t.one", format="parquet"), iceberg) == "iceberg"
    merged = Table("t.one", mode="merge", keys=["id"])
    assert way_of(merged, iceberg) == "merge"
    with pytest.raises(SchemaMismatch, match=r"^jobs/a.py:1: table t.one is parquet; only Iceberg tables can be merged into"):
        way_of(merged, parquet, where="jobs/a.py:1")


def test_keys_that_are_refused_are_shown_with_the_number_of_their_rows() -> None:
    error = bad_keys("ops.scores", ["id", "day"], [(1, "mon", 2), (None, "tue", 1)])
    assert "keys (id, day) that are null or not unique; ops.scores cannot be merged by them" in str(error)
    assert "id=1, day='mon': 2 rows\n  id=None, day='tue': 1 rows" in str(error)
