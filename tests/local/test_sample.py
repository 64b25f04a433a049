"""The sample data on real servers, compared with the package's own files as pandas reads them."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest

from framework.errors import ServiceUnavailable
from framework.local import postgres, sample
from framework.local.sample import SampleTarget, source
from framework.local.service import Endpoint
from framework.local.supervisor import Supervisor

pytestmark = pytest.mark.services


def ignore(what: str, done: int, total: int) -> None:
    """Watch nothing."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleTarget]:
    supervisor = Supervisor(tmp_path_factory.mktemp("sample"))
    try:
        endpoints = supervisor.up(["s3", "aws", "postgres"])
        yield SampleTarget(endpoints["postgres"], endpoints["s3"], endpoints["aws"])
    finally:
        supervisor.down()


@pytest.fixture(scope="module")
def first(target: SampleTarget) -> sample.SeedReport:
    return sample.seed(target, ignore)


@pytest.fixture(scope="module")
def sample_target(target: SampleTarget, first: sample.SeedReport) -> SampleTarget:
    """Where the sample data are."""
    assert first.loaded
    return target


@pytest.fixture(scope="module")
def client(target: SampleTarget) -> Callable[[str], Any]:
    import boto3

    keys = {"aws_access_key_id": target.s3["access_key"], "aws_secret_access_key": target.s3["secret_key"], "region_name": "us-east-1"}
    session = boto3.Session(**keys)
    # One URL for every service: the endpoint hands S3 calls on.
    clients = {name: session.client(name, endpoint_url=target.aws["url"]) for name in ("s3", "glue")}
    return clients.__getitem__


@pytest.fixture
def database(sample_target: SampleTarget) -> Iterator[psycopg.Connection[Any]]:
    with postgres.connect(sample_target.postgres, database="airline_ops") as connection:
        yield connection


@cache
def package(name: str) -> pd.DataFrame:
    """A file of the package; pandas' default way to read 24.166379999999997 is a little off."""
    return pd.read_csv(source.folder() / name, float_precision="round_trip")


def one(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return tuple(row)


def body(client: Callable[[str], Any], uri: str) -> bytes:
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    content: bytes = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


# ------------------------------------------------------------------------------------------------------------------ flights


def test_a_first_seed_reports_every_dataset_with_its_rows(first: sample.SeedReport) -> None:
    rows = {loaded.name: loaded.rows for loaded in first.loaded}
    assert rows == {
        "flights": 336_776,
        "weather": 26_115,
        "reference.airlines": 16,
        "reference.airports": 1_458,
        "reference.planes": 3_322,
    }
    assert all(loaded.bytes > 0 for loaded in first.loaded)


def test_every_flight_of_the_package_is_in_the_database(database: psycopg.Connection[Any]) -> None:
    columns = ["carrier", "flight", "tailnum", "origin", "dest", "dep_delay", "arr_delay", "air_time", "distance"]
    names = ", ".join([*columns, """to_char(time_hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""", "flight_date::text"])
    query = f"select {names} from flights order by id"
    found = pd.DataFrame(database.execute(query).fetchall(), columns=[*columns, "time_hour", "flight_date"])

    expected = package("flights.csv.zip").copy()
    expected["flight_date"] = pd.to_datetime(expected[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    expected = expected[[*columns, "time_hour", "flight_date"]]
    numbers = ["dep_delay", "arr_delay", "air_time"]
    found[numbers] = found[numbers].astype("float64")
    found["tailnum"] = found["tailnum"].where(found["tailnum"].notna(), None)
    expected["tailnum"] = expected["tailnum"].where(expected["tailnum"].notna(), None)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


@pytest.mark.parametrize("column", ["sched_dep_time", "dep_time", "sched_arr_time", "arr_time"])
def test_every_timestamp_shows_the_clock_reading_that_the_package_has(database: psycopg.Connection[Any], column: str) -> None:
    found = [row[0] for row in database.execute(f"select to_char({column}, 'HH24MI')::int from flights order by id")]
    readings = package("flights.csv.zip")[column]
    expected = [None if pd.isna(reading) else int(reading) % 2400 for reading in readings]
    assert found == expected


def test_actual_times_are_the_scheduled_ones_plus_the_delay(database: psycopg.Connection[Any]) -> None:
    departures = "dep_time is distinct from sched_dep_time + make_interval(mins => dep_delay)"
    arrivals = "arr_delay is not null and arr_time is distinct from sched_arr_time + make_interval(mins => arr_delay)"
    backwards = "arr_time <= dep_time or sched_arr_time <= sched_dep_time or sched_dep_time::date <> flight_date"
    assert one(database, f"select count(*) from flights where {departures} or {arrivals} or {backwards}") == (0,)


def test_a_cancelled_flight_has_no_times_and_a_diverted_one_no_arrival_delay(database: psycopg.Connection[Any]) -> None:
    cancelled = "dep_time is null and dep_delay is null and arr_time is null and arr_delay is null and air_time is null"
    query = f"select count(*) filter (where {cancelled}), count(*) filter (where dep_time is not null and arr_delay is null) from flights"
    assert one(database, query) == (8_255, 1_175)


def test_flights_of_a_day_are_found_by_an_index(database: psycopg.Connection[Any]) -> None:
    plan = " ".join(row[0] for row in database.execute("explain select * from flights where flight_date = '2013-02-09'"))
    assert "flights_flight_date" in plan


# ------------------------------------------------------------------------------------------------------------------ weather


def test_each_day_of_weather_is_one_file_of_json_lines(sample_target: SampleTarget, client: Callable[[str], Any]) -> None:
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket="emrjobs-raw", Prefix="weather/")
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    days = pd.date_range("2013-01-01", "2013-12-30").strftime("%Y-%m-%d")
    assert keys == [f"weather/date={day}/part-0000.json" for day in days]


def test_a_days_file_holds_what_was_measured_and_no_key_for_what_was_not(sample_target: SampleTarget, client: Callable[[str], Any]) -> None:
    lines = body(client, "s3://emrjobs-raw/weather/date=2013-02-09/part-0000.json").decode().splitlines()
    found = [json.loads(line) for line in lines]

    everything = package("weather.csv")
    expected = everything[(everything.month == 2) & (everything.day == 9)].drop(columns=["year", "month", "day", "hour"])
    assert found == [{key: value for key, value in row.items() if not pd.isna(value)} for row in expected.to_dict("records")]
    assert any("wind_gust" not in record for record in found)


# ---------------------------------------------------------------------------------------------------------- reference tables


def test_airlines_are_an_iceberg_table(sample_target: SampleTarget, client: Callable[[str], Any]) -> None:
    from pyiceberg.catalog.glue import GlueCatalog

    s3 = sample_target.s3
    properties = {"s3.endpoint": s3["url"], "s3.access-key-id": s3["access_key"], "s3.secret-access-key": s3["secret_key"]}
    table = GlueCatalog("test", client=client("glue"), **properties).load_table("reference.airlines")
    assert table.location() == "s3://emrjobs-warehouse/reference.db/airlines"
    assert table.scan().to_arrow().to_pylist() == package("airlines.csv").to_dict("records")


def test_airports_are_parquet_as_hive_describes_it(sample_target: SampleTarget, client: Callable[[str], Any]) -> None:
    table = client("glue").get_table(DatabaseName="reference", Name="airports")["Table"]
    storage = table["StorageDescriptor"]
    assert table["TableType"] == "EXTERNAL_TABLE"
    assert storage["SerdeInfo"]["SerializationLibrary"] == "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"

    found = pd.read_parquet(io.BytesIO(body(client, f"{storage['Location']}/part-00000.snappy.parquet")))
    kinds = {"object": "string", "float64": "double", "int32": "int"}
    assert [column["Name"] for column in storage["Columns"]] == list(found.columns)
    assert [column["Type"] for column in storage["Columns"]] == [kinds[str(kind)] for kind in found.dtypes]
    expected = package("airports.csv")
    assert expected.tzone.isna().sum() == found.tzone.isna().sum() == 3
    pd.testing.assert_frame_equal(found.fillna(""), expected.fillna(""), check_dtype=False)


def test_planes_are_the_packages_csv_with_its_header_and_nulls_described(sample_target: SampleTarget, client: Callable[[str], Any]) -> None:
    table = client("glue").get_table(DatabaseName="reference", Name="planes")["Table"]
    storage = table["StorageDescriptor"]
    content = body(client, f"{storage['Location']}/planes.csv")
    assert content == (source.folder() / "planes.csv").read_bytes()
    assert b'"' not in content  # LazySimpleSerDe knows no quotes
    assert [column["Name"] for column in storage["Columns"]] == content.decode().splitlines()[0].split(",")
    assert storage["SerdeInfo"]["Parameters"]["serialization.null.format"] == "NA"
    assert table["Parameters"]["skip.header.line.count"] == "1"


def test_the_catalog_of_the_framework_finds_all_three(sample_target: SampleTarget, client: Callable[[str], Any]) -> None:
    from framework.catalog.serde import table_info

    tables = client("glue").get_tables(DatabaseName="reference")["TableList"]
    formats = {info.name: info.format for info in map(table_info, tables)}
    assert formats == {"reference.airlines": "iceberg", "reference.airports": "parquet", "reference.planes": "csv"}


def test_databases_lie_under_the_warehouse(sample_target: SampleTarget, client: Callable[[str], Any]) -> None:
    found = {item["Name"]: item["LocationUri"] for item in client("glue").get_databases()["DatabaseList"]}
    names = ("reference", "marts", "lake")
    assert {name: found[name] for name in names} == {name: f"s3://emrjobs-warehouse/{name}.db" for name in names}


# ----------------------------------------------------------------------------------------------------------------- seeding again


def test_a_second_seed_loads_nothing_and_takes_milliseconds(sample_target: SampleTarget) -> None:
    told: list[str] = []
    spent = []
    for _ in range(5):
        began = time.process_time()
        assert sample.seed(sample_target, lambda what, done, total: told.append(what)).loaded == ()
        spent.append(time.process_time() - began)
    assert told == []
    assert min(spent) < 0.05


def test_a_seed_that_broke_off_is_done_again(sample_target: SampleTarget) -> None:
    target = replace(sample_target, database="broke_off")

    def break_off(what: str, done: int, total: int) -> None:
        if what.startswith("flights") and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample.seed(target, break_off)
    with postgres.connect(target.postgres, database="broke_off") as connection:
        assert one(connection, "select to_regclass('flights')") == (None,)
    told: list[tuple[str, int, int]] = []
    again = sample.seed(target, lambda *event: told.append(event))
    assert [(loaded.name, loaded.rows) for loaded in again.loaded] == [("flights", 336_776)]
    # In bytes, and never backwards.
    assert told == sorted(told)
    assert told[-1] == ("flights to PostgreSQL", 31_053_850, 31_053_850)


def test_what_a_half_done_seed_left_on_s3_is_replaced(sample_target: SampleTarget, client: Callable[[str], Any]) -> None:
    target = replace(sample_target, raw="s3://half-done-raw", warehouse="s3://emrjobs-warehouse")
    client("glue").delete_table(DatabaseName="reference", Name="planes")
    client("s3").put_object(Bucket="emrjobs-warehouse", Key="reference.db/airports/leftover.parquet", Body=b"half a file")

    again = sample.seed(target, ignore)

    assert {loaded.name for loaded in again.loaded} == {"weather", "reference.airlines", "reference.airports", "reference.planes"}
    found = client("s3").list_objects_v2(Bucket="emrjobs-warehouse", Prefix="reference.db/airports/")
    assert [Path(item["Key"]).name for item in found["Contents"]] == ["part-00000.snappy.parquet"]
    assert sample.seed(target, ignore).loaded == ()


def test_two_seeds_at_once_load_once(sample_target: SampleTarget) -> None:
    target = replace(sample_target, database="at_once")
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: sample.seed(target, ignore), range(2)))
    assert sorted(len(report.loaded) for report in reports) == [0, 1]


def test_a_database_that_is_down_is_named_without_its_password(sample_target: SampleTarget) -> None:
    values = {**sample_target.postgres.values, "port": "1", "password": "hunter2"}
    target = replace(sample_target, postgres=Endpoint("postgres", values, secret=frozenset({"password"})))
    with pytest.raises(ServiceUnavailable, match="could not open the database for the sample data") as caught:
        sample.seed(target, ignore)
    assert "hunter2" not in str(caught.value)
