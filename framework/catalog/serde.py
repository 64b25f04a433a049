"""How Hive's storage descriptors and Spark's formats say the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from framework.catalog import Column, TableInfo
from framework.errors import DatasetNotFound

OPEN_CSV = "org.apache.hadoop.hive.serde2.OpenCSVSerde"

_TEXT_INPUT = "org.apache.hadoop.mapred.TextInputFormat"
_TEXT_OUTPUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"

# What a new table of each format gets: the classes that Athena and Hive write themselves.
_DESCRIPTORS: Mapping[str, dict[str, Any]] = {
    "parquet": {
        "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "SerdeInfo": {
            "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            "Parameters": {"serialization.format": "1"},
        },
    },
    "orc": {
        "InputFormat": "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat",
        "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.orc.OrcSerde", "Parameters": {"serialization.format": "1"}},
    },
    "csv": {
        "InputFormat": _TEXT_INPUT,
        "OutputFormat": _TEXT_OUTPUT,
        # Quotes, so that every text survives. It reads every column as a string, and so do Athena and Trino.
        "SerdeInfo": {
            "SerializationLibrary": OPEN_CSV,
            "Parameters": {"separatorChar": ",", "quoteChar": '"', "escapeChar": "\\"},
        },
    },
    "json": {
        "InputFormat": _TEXT_INPUT,
        "OutputFormat": _TEXT_OUTPUT,
        "SerdeInfo": {"SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe", "Parameters": {"serialization.format": "1"}},
    },
}

_FORMAT_OF_LIBRARY = {
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe": "parquet",
    "parquet.hive.serde.ParquetHiveSerDe": "parquet",
    "org.apache.hadoop.hive.ql.io.orc.OrcSerde": "orc",
    "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe": "csv",
    OPEN_CSV: "csv",
    "org.openx.data.jsonserde.JsonSerDe": "json",
    "org.apache.hive.hcatalog.data.JsonSerDe": "json",
    "org.apache.hadoop.hive.serde2.JsonSerDe": "json",
}

# What Spark has to write so that the SerDe above reads it back.
WRITE_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "csv": {"sep": ",", "quote": '"', "escape": "\\", "ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false"},
    "json": {"timestampFormat": "yyyy-MM-dd HH:mm:ss.SSSSSS"},
}

# Statistics of the old files are wrong for the new ones.
_STALE_PARAMETERS = ("numRows", "numFiles", "totalSize", "rawDataSize", "COLUMN_STATS_ACCURATE")


def without_statistics(parameters: Mapping[str, str]) -> dict[str, str]:
    """A table's parameters for when its files are others."""
    return {key: value for key, value in parameters.items() if key not in _STALE_PARAMETERS}


def descriptor(table_format: str) -> dict[str, Any]:
    """Input format, output format and SerDe of a new table."""
    return deepcopy(_DESCRIPTORS[table_format])


def format_of(name: str, library: str) -> str:
    """The file format behind a SerDe class.

    Raises:
        DatasetNotFound: the SerDe is none that can be read here.
    """
    if library not in _FORMAT_OF_LIBRARY:
        raise DatasetNotFound(
            f"table {name} has the SerDe {library or '(none)'}, which cannot be read", fix="use Parquet, ORC, CSV, JSON or Iceberg"
        )
    return _FORMAT_OF_LIBRARY[library]


def reader_options(table_format: str, library: str, serde: Mapping[str, str], parameters: Mapping[str, str]) -> dict[str, str]:
    """Spark's reader options that say what the SerDe's parameters say."""
    if table_format == "json":
        return {"timestampFormat": "yyyy-MM-dd HH:mm:ss[.SSSSSS]"} if library.startswith("org.openx") else {}
    if table_format != "csv":
        return {}
    if library == OPEN_CSV:
        options = {
            "sep": serde.get("separatorChar", ","),
            "quote": serde.get("quoteChar", '"'),
            "escape": serde.get("escapeChar", "\\"),
            "multiLine": "false",
        }
    else:
        options = {
            "sep": serde.get("field.delim", serde.get("serialization.format", "\x01")),
            "quote": "",
            "escape": serde.get("escape.delim", "\\"),
            "nullValue": serde.get("serialization.null.format", "\\N"),
            "timestampFormat": "yyyy-MM-dd HH:mm:ss[.SSSSSS]",
        }
    if parameters.get("skip.header.line.count", serde.get("skip.header.line.count", "0")).strip() not in ("", "0"):
        options["header"] = "true"
    return options


def table_info(raw: Mapping[str, Any]) -> TableInfo:
    """A table as Glue's GetTable describes it (Glue API reference, Table).

    Raises:
        DatasetNotFound: its SerDe is none that can be read here.
    """
    name = f"{raw['DatabaseName']}.{raw['Name']}".lower()
    parameters = raw.get("Parameters", {})
    storage = raw.get("StorageDescriptor", {})
    columns = tuple(Column(column["Name"], column.get("Type", "string"), column.get("Comment")) for column in storage.get("Columns", []))
    keys = tuple(Column(column["Name"], column.get("Type", "string"), column.get("Comment")) for column in raw.get("PartitionKeys", []))
    if parameters.get("table_type", "").upper() == "ICEBERG":
        table_format, options = "iceberg", {}
    else:
        described = storage.get("SerdeInfo", {})
        library = described.get("SerializationLibrary", "")
        table_format = format_of(name, library)
        options = reader_options(table_format, library, described.get("Parameters", {}), parameters)
    return TableInfo(
        name=name,
        format=table_format,
        location=str(storage.get("Location", "")).rstrip("/"),
        columns=columns,
        partition_keys=keys,
        options=options,
        parameters=parameters,
        version=raw.get("VersionId"),
        raw=raw,
    )
