"""Reference tables into the catalog, one of each kind that is met on EMR: Iceberg, Hive-layout Parquet, Hive-layout CSV."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from framework.local.sample import source
from framework.local.sample.seeding import Loaded, Seeding, explained
from framework.sources.paths import split_s3

if TYPE_CHECKING:
    from mypy_boto3_glue.type_defs import StorageDescriptorTypeDef

log = logging.getLogger(__name__)

DATABASES = ("reference", "marts", "lake")

_DATABASE = "reference"
_MARKER = "emrjobs.sample"  # a parameter of planes, which is made last

# Column -> type in the catalog, in the order of the CSV files.
AIRPORTS = {
    "faa": "string", "name": "string", "lat": "double", "lon": "double", "alt": "int", "tz": "int", "dst": "string", "tzone": "string",
}  # fmt: skip
PLANES = {
    "tailnum": "string", "year": "int", "type": "string", "manufacturer": "string", "model": "string", "engines": "int", "seats": "int",
    "speed": "int", "engine": "string",
}  # fmt: skip


def is_loaded(seeding: Seeding) -> bool:
    """Whether all three tables are there and planes names this version."""
    tables = seeding.tables.parameters(_DATABASE)
    return set(_LOADERS) <= set(tables) and tables["planes"].get(_MARKER) == seeding.version


def load(seeding: Seeding) -> list[Loaded]:
    """The databases, then the tables one by one; what an earlier seed left of a table is deleted first."""
    what = f"reference tables to {'the Hive metastore' if seeding.target.metastore else 'Glue'}"
    sizes = {name: (seeding.files / f"{name}.csv").stat().st_size for name in _LOADERS}
    done, total = 0, sum(sizes.values())
    loaded: list[Loaded] = []
    with explained("load the sample tables"):
        seeding.ensure_bucket(seeding.target.warehouse)
        for database in DATABASES:
            seeding.tables.ensure_database(database)
        for name, load_table in _LOADERS.items():
            seeding.tell(what, done, total)
            began = time.monotonic()
            _clear(seeding, name)
            rows, stored = load_table(seeding)
            loaded.append(Loaded(f"{_DATABASE}.{name}", _location(seeding, name), rows, stored, time.monotonic() - began))
            done += sizes[name]
    seeding.tell(what, done, total)
    return loaded


def _airlines(seeding: Seeding) -> tuple[int, int]:
    import pyarrow as pa

    rows = source.rows(seeding.files / "airlines.csv")
    schema = pa.schema([pa.field("carrier", pa.string(), nullable=False), pa.field("name", pa.string(), nullable=False)])
    s3 = seeding.target.s3
    properties = {
        "s3.endpoint": s3["url"],
        "s3.region": s3["region"],
        "s3.access-key-id": s3["access_key"],
        "s3.secret-access-key": s3["secret_key"],
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
    }
    table = seeding.tables.iceberg(properties).create_table(
        f"{_DATABASE}.airlines", schema=schema, location=_location(seeding, "airlines"), properties={"format-version": "2"}
    )
    table.append(pa.Table.from_pylist(rows, schema=schema))
    return len(rows), sum(task.file.file_size_in_bytes for task in table.scan().plan_files())


def _airports(seeding: Seeding) -> tuple[int, int]:
    import pyarrow.csv
    import pyarrow.parquet

    types = {"string": pyarrow.string(), "double": pyarrow.float64(), "int": pyarrow.int32()}
    options = pyarrow.csv.ConvertOptions(
        column_types={name: types[kind] for name, kind in AIRPORTS.items()}, null_values=["NA"], strings_can_be_null=True
    )
    table = pyarrow.csv.read_csv(seeding.files / "airports.csv", convert_options=options)
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    seeding.put(f"{_location(seeding, 'airports')}/part-00000.snappy.parquet", file.getvalue(), "application/octet-stream")
    parquet = "org.apache.hadoop.hive.ql.io.parquet"
    _create_external(
        seeding,
        "airports",
        AIRPORTS,
        {
            "InputFormat": f"{parquet}.MapredParquetInputFormat",
            "OutputFormat": f"{parquet}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{parquet}.serde.ParquetHiveSerDe", "Parameters": {"serialization.format": "1"}},
        },
        {"classification": "parquet"},
    )
    return table.num_rows, file.tell()


def _planes(seeding: Seeding) -> tuple[int, int]:
    # The file as it is, described as Athena's user guide says for CSV without quotes: LazySimpleSerDe keeps the types (OpenCSVSerde
    # reads every column as a string), skips the header and takes NA for null.
    file = seeding.files / "planes.csv"
    body = file.read_bytes()
    seeding.put(f"{_location(seeding, 'planes')}/planes.csv", body, "text/csv")
    _create_external(
        seeding,
        "planes",
        PLANES,
        {
            "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
            "SerdeInfo": {
                "SerializationLibrary": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
                "Parameters": {"field.delim": ",", "serialization.format": ",", "serialization.null.format": "NA"},
            },
        },
        {"classification": "csv", "skip.header.line.count": "1", _MARKER: seeding.version},
    )
    return len(source.rows(file)), len(body)


_LOADERS: dict[str, Callable[[Seeding], tuple[int, int]]] = {"airlines": _airlines, "airports": _airports, "planes": _planes}
"""Table -> what loads it and returns its rows and stored bytes; in this order, for the marker's sake."""


def _location(seeding: Seeding, table: str) -> str:
    return f"{seeding.target.warehouse}/{_DATABASE}.db/{table}"


def _clear(seeding: Seeding, table: str) -> None:
    seeding.tables.drop(_DATABASE, table)
    bucket, prefix = split_s3(f"{_location(seeding, table)}/")
    for page in seeding.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        if found := page.get("Contents", []):
            seeding.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": item["Key"]} for item in found], "Quiet": True})


def _create_external(
    seeding: Seeding, name: str, columns: dict[str, str], storage: StorageDescriptorTypeDef, parameters: dict[str, str]
) -> None:
    """A Hive-layout table as Athena's CREATE EXTERNAL TABLE writes it."""
    described = {**storage, "Location": _location(seeding, name)}
    seeding.tables.create_external(_DATABASE, name, columns, described, {"EXTERNAL": "TRUE", **parameters})
