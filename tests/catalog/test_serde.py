"""Storage descriptors and Spark's formats."""

from __future__ import annotations

import pytest

from framework.catalog import serde
from framework.errors import DatasetNotFound

OPEN_CSV = "org.apache.hadoop.hive.serde2.OpenCSVSerde"
LAZY = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"


@pytest.mark.parametrize("table_format", ["parquet", "orc", "csv", "json"])
def test_a_format_comes_back_from_its_own_descriptor(table_format: str) -> None:
    described = serde.descriptor(table_format)
    assert serde.format_of("db.t", described["SerdeInfo"]["SerializationLibrary"]) == table_format


def test_a_descriptor_is_the_caller_s_own() -> None:
    serde.descriptor("csv")["SerdeInfo"]["Parameters"]["separatorChar"] = "|"
    assert serde.descriptor("csv")["SerdeInfo"]["Parameters"]["separatorChar"] == ","


@pytest.mark.parametrize("library", ["", "com.example.SomeSerDe"])
def test_an_unknown_serde_is_named(library: str) -> None:
    with pytest.raises(DatasetNotFound, match=f"db.t has the SerDe {library or '.none.'}, which cannot be read"):
        serde.format_of("db.t", library)


def test_the_separators_of_a_csv_serde_become_reader_options() -> None:
    options = serde.reader_options("csv", OPEN_CSV, {"separatorChar": ";", "quoteChar": "'"}, {})
    assert (options["sep"], options["quote"], options["escape"]) == (";", "'", "\\")
    options = serde.reader_options("csv", LAZY, {}, {})
    assert (options["sep"], options["quote"], options["nullValue"]) == ("\x01", "", "\\N")
    assert serde.reader_options("csv", LAZY, {"field.delim": "\t"}, {})["sep"] == "\t"


@pytest.mark.parametrize(("count", "header"), [("1", "true"), ("0", None), ("", None)])
def test_a_header_line_is_skipped_where_the_table_says_so(count: str, header: str | None) -> None:
    for parameters, own in (({"skip.header.line.count": count}, {}), ({}, {"skip.header.line.count": count})):
        assert serde.reader_options("csv", OPEN_CSV, own, parameters).get("header") == header


def test_columnar_formats_need_no_options() -> None:
    assert serde.reader_options("parquet", "", {}, {}) == {}
    assert serde.reader_options("orc", "", {}, {}) == {}


def test_what_is_written_reads_back_with_the_descriptor_s_own_options() -> None:
    described = serde.descriptor("csv")["SerdeInfo"]
    reads = serde.reader_options("csv", described["SerializationLibrary"], described["Parameters"], {})
    writes = serde.WRITE_OPTIONS["csv"]
    for option in ("sep", "quote", "escape"):
        assert reads[option] == writes[option]
