from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.local.aws.glue import GlueService

from .conftest import ServiceError, call_json

COLUMNS = [{"Name": "flights", "Type": "bigint"}, {"Name": "delay", "Type": "double"}]
KEYS = [{"Name": "ds", "Type": "date"}, {"Name": "hr", "Type": "int"}]


class Glue:
    """Calls of the catalog, as a client writes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = GlueService(path)

    def __call__(self, operation: str, region: str = "us-east-1", /, **request: Any) -> Any:
        return call_json(self.service, "glue", operation, region, **request)

    def of(self, operation: str, /, **request: Any) -> Any:
        """A call about the table marts.daily."""
        return self(operation, DatabaseName="marts", TableName="daily", **request)

    def refused(self, operation: str, /, **request: Any) -> str:
        """The code with which a call is refused."""
        with pytest.raises(ServiceError) as refusal:
            self(operation, **request)
        return refusal.value.code

    def reopen(self) -> None:
        self.service.close()
        self.service = GlueService(self.path)


@pytest.fixture
def glue(tmp_path: Path) -> Iterator[Glue]:
    one = Glue(tmp_path / "glue.sqlite")
    one("CreateDatabase", DatabaseInput={"Name": "marts", "Description": "d", "LocationUri": "s3://marts/"})
    one("CreateTable", DatabaseName="marts", TableInput=table_input())
    yield one
    one.service.close()


def table_input(name: str = "daily", **parameters: str) -> dict[str, Any]:
    descriptor = {"Columns": COLUMNS, "Location": f"s3://marts/{name}/"}
    return {"Name": name, "StorageDescriptor": descriptor, "PartitionKeys": KEYS, "TableType": "EXTERNAL_TABLE", "Parameters": parameters}


def partition(ds: str, hr: int, location: str = "s3://marts/daily/") -> dict[str, Any]:
    return {"Values": [ds, str(hr)], "StorageDescriptor": {"Columns": COLUMNS, "Location": location}}


def current(glue: Glue, name: str = "daily") -> Any:
    return glue("GetTable", DatabaseName="marts", Name=name)["Table"]


# Databases and tables


def test_a_database_and_a_table_come_back_as_they_were_given(glue: Glue) -> None:
    database = glue("GetDatabase", Name="marts")["Database"]
    assert (database["Name"], database["Description"], database["LocationUri"]) == ("marts", "d", "s3://marts/")
    table = current(glue)
    assert table["StorageDescriptor"] == table_input()["StorageDescriptor"]
    assert table["VersionId"] == "0"
    assert isinstance(table["CreateTime"], float)


def test_the_catalog_survives_a_restart(glue: Glue) -> None:
    glue.of("CreatePartition", PartitionInput=partition("2013-03-08", 1))
    before = current(glue), glue.of("GetPartitions")
    glue.reopen()
    assert (current(glue), glue.of("GetPartitions")) == before


def test_names_are_folded_to_lower_case(glue: Glue) -> None:
    glue("CreateTable", DatabaseName="MARTS", TableInput=table_input("Carrier_Scorecard"))
    assert current(glue, "CARRIER_SCORECARD")["Name"] == "carrier_scorecard"


def test_what_exists_is_not_created_again(glue: Glue) -> None:
    assert glue.refused("CreateDatabase", DatabaseInput={"Name": "Marts"}) == "AlreadyExistsException"
    assert glue.refused("CreateTable", DatabaseName="marts", TableInput=table_input(owner="other")) == "AlreadyExistsException"
    assert current(glue)["Parameters"] == {}


def test_what_is_not_there_is_an_entity_not_found(glue: Glue) -> None:
    assert glue.refused("GetDatabase", Name="nowhere") == "EntityNotFoundException"
    assert glue.refused("GetTable", DatabaseName="nowhere", Name="daily") == "EntityNotFoundException"
    assert glue.refused("GetTable", DatabaseName="marts", Name="nothing") == "EntityNotFoundException"
    assert glue.refused("UpdateTable", DatabaseName="marts", TableInput=table_input("nothing")) == "EntityNotFoundException"
    assert glue.refused("GetTable", CatalogId="123:s3tablescatalog/x", DatabaseName="marts", Name="daily") == "EntityNotFoundException"


def test_a_missing_member_is_a_validation_error(glue: Glue) -> None:
    assert glue.refused("GetTable", DatabaseName="marts") == "ValidationException"
    assert glue.refused("CreateTable", DatabaseName="marts", TableInput={"Name": ""}) == "ValidationException"
    assert glue.refused("CreateTable", DatabaseName=["marts"], TableInput=table_input()) == "SerializationException"


def test_regions_have_catalogs_of_their_own(glue: Glue) -> None:
    assert glue("GetDatabases", "eu-west-1")["DatabaseList"] == []


def test_deleting_a_database_takes_its_tables_and_partitions_along(glue: Glue) -> None:
    glue.of("CreatePartition", PartitionInput=partition("2013-03-08", 1))
    glue("DeleteDatabase", Name="marts")
    glue("CreateDatabase", DatabaseInput={"Name": "marts"})
    assert glue("GetTables", DatabaseName="marts")["TableList"] == []


def test_databases_and_tables_come_in_pages(glue: Glue) -> None:
    for number in range(7):
        glue("CreateTable", DatabaseName="marts", TableInput=table_input(f"t{number}"))
        glue("CreateDatabase", DatabaseInput={"Name": f"d{number}"})

    def pages(operation: str, key: str, **request: Any) -> list[list[str]]:
        found: list[list[str]] = []
        more: dict[str, Any] = {}
        while True:
            page = glue(operation, MaxResults=3, **request, **more)
            found.append([item["Name"] for item in page[key]])
            if "NextToken" not in page:
                return found
            more = {"NextToken": page["NextToken"]}

    assert pages("GetDatabases", "DatabaseList") == [["d0", "d1", "d2"], ["d3", "d4", "d5"], ["d6", "marts"]]
    assert pages("GetTables", "TableList", DatabaseName="marts") == [["daily", "t0", "t1"], ["t2", "t3", "t4"], ["t5", "t6"]]
    assert pages("GetTables", "TableList", DatabaseName="marts", Expression="t*") == [["t0", "t1", "t2"], ["t3", "t4", "t5"], ["t6"]]
    assert pages("GetTables", "TableList", DatabaseName="marts", Expression="t[12]") == [["t1", "t2"]]
    assert glue.refused("GetTables", DatabaseName="marts", MaxResults=101) == "ValidationException"
    assert glue.refused("GetTables", DatabaseName="marts", NextToken="%%%") == "InvalidInputException"


# Versions


def test_a_stale_version_id_is_refused(glue: Glue) -> None:
    glue("UpdateTable", DatabaseName="marts", TableInput=table_input(metadata_location="v1"), VersionId="0")
    stale = {"DatabaseName": "marts", "TableInput": table_input(metadata_location="lost"), "VersionId": "0"}
    assert glue.refused("UpdateTable", **stale) == "ConcurrentModificationException"
    assert current(glue)["Parameters"] == {"metadata_location": "v1"}
    assert current(glue)["VersionId"] == "1"


def test_an_update_without_version_id_is_accepted(glue: Glue) -> None:
    glue("UpdateTable", DatabaseName="marts", TableInput=table_input(owner="a"))
    glue("UpdateTable", DatabaseName="marts", TableInput=table_input(owner="b"))
    assert current(glue)["VersionId"] == "2"


def test_racing_commits_have_one_winner_per_version_and_none_is_lost(glue: Glue) -> None:
    racers, commits = 10, 8
    acknowledged: list[tuple[str, str]] = []

    def commit(racer: int) -> None:
        for number in range(commits):
            mine = f"{racer}-{number}"
            while True:
                seen = current(glue)
                chain = ",".join(filter(None, [seen["Parameters"].get("chain"), mine]))
                try:
                    glue("UpdateTable", DatabaseName="marts", TableInput=table_input(chain=chain), VersionId=seen["VersionId"])
                except ServiceError as error:
                    if error.code != "ConcurrentModificationException":
                        raise
                    continue
                acknowledged.append((seen["VersionId"], mine))
                break

    threads = [threading.Thread(target=commit, args=(racer,)) for racer in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(current(glue)["Parameters"]["chain"].split(",")) == sorted(mine for _, mine in acknowledged)
    assert sorted(int(version) for version, _ in acknowledged) == list(range(racers * commits))


def test_updates_archive_the_version_before_unless_told_not_to(glue: Glue) -> None:
    glue("UpdateTable", DatabaseName="marts", TableInput=table_input(v="1"))
    glue("UpdateTable", DatabaseName="marts", TableInput=table_input(v="2"), SkipArchive=True)
    glue("UpdateTable", DatabaseName="marts", TableInput=table_input(v="3"))
    versions = glue.of("GetTableVersions")["TableVersions"]
    assert [(one["VersionId"], one["Table"]["Parameters"].get("v")) for one in versions] == [("3", "3"), ("2", "2"), ("0", None)]
    assert glue.of("GetTableVersion", VersionId="2")["TableVersion"]["Table"]["Parameters"] == {"v": "2"}
    page = glue.of("GetTableVersions", MaxResults=2)
    assert [one["VersionId"] for one in glue.of("GetTableVersions", NextToken=page["NextToken"])["TableVersions"]] == ["0"]
    glue.of("DeleteTableVersion", VersionId="0")
    assert glue.of("BatchDeleteTableVersion", VersionIds=["2", "7"])["Errors"][0]["VersionId"] == "7"
    assert [one["VersionId"] for one in glue.of("GetTableVersions")["TableVersions"]] == ["3"]


# Partitions


def test_partitions_are_created_read_updated_and_deleted(glue: Glue) -> None:
    glue.of("CreatePartition", PartitionInput=partition("2013-03-08", 1, "s3://a/"))
    assert glue.of("GetPartition", PartitionValues=["2013-03-08", "1"])["Partition"]["StorageDescriptor"]["Location"] == "s3://a/"
    glue.of("UpdatePartition", PartitionValueList=["2013-03-08", "1"], PartitionInput=partition("2013-03-08", 1, "s3://b/"))
    assert glue.of("GetPartition", PartitionValues=["2013-03-08", "1"])["Partition"]["StorageDescriptor"]["Location"] == "s3://b/"
    glue.of("UpdatePartition", PartitionValueList=["2013-03-08", "1"], PartitionInput=partition("2013-03-09", 1))
    assert [one["Values"] for one in glue.of("GetPartitions")["Partitions"]] == [["2013-03-09", "1"]]
    glue.of("DeletePartition", PartitionValues=["2013-03-09", "1"])
    assert glue.of("GetPartitions")["Partitions"] == []


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("CreatePartition", {"PartitionInput": partition("2013-03-08", 1)}, "AlreadyExistsException"),
        ("CreatePartition", {"PartitionInput": {"Values": ["2013-03-08"]}}, "InvalidInputException"),
        ("GetPartition", {"PartitionValues": ["2013-03-08", "2"]}, "EntityNotFoundException"),
        ("DeletePartition", {"PartitionValues": ["2013-03-08", "2"]}, "EntityNotFoundException"),
        ("UpdatePartition", {"PartitionValueList": ["x", "2"], "PartitionInput": partition("2013-03-08", 1)}, "EntityNotFoundException"),
        (
            "UpdatePartition",
            {"PartitionValueList": ["2013-03-08", "3"], "PartitionInput": partition("2013-03-08", 1)},
            "AlreadyExistsException",
        ),
    ],
)
def test_what_does_not_fit_the_partitions_there_is_refused(glue: Glue, operation: str, request_: dict[str, Any], code: str) -> None:
    glue.of("BatchCreatePartition", PartitionInputList=[partition("2013-03-08", 1), partition("2013-03-08", 3)])
    assert glue.refused(operation, DatabaseName="marts", TableName="daily", **request_) == code
    assert len(glue.of("GetPartitions")["Partitions"]) == 2


def test_batches_do_what_they_can_and_tell_the_rest(glue: Glue) -> None:
    one, two, three = partition("2013-03-08", 1), partition("2013-03-08", 2), partition("2013-03-08", 3)
    assert glue.of("BatchCreatePartition", PartitionInputList=[one])["Errors"] == []
    errors = glue.of("BatchCreatePartition", PartitionInputList=[one, two])["Errors"]
    assert [(error["PartitionValues"], error["ErrorDetail"]["ErrorCode"]) for error in errors] == [
        (one["Values"], "AlreadyExistsException")
    ]

    moved = {"PartitionValueList": two["Values"], "PartitionInput": {**two, "Parameters": {"moved": "yes"}}}
    missing = {"PartitionValueList": three["Values"], "PartitionInput": three}
    errors = glue.of("BatchUpdatePartition", Entries=[moved, missing])["Errors"]
    assert [(error["PartitionValueList"], error["ErrorDetail"]["ErrorCode"]) for error in errors] == [
        (three["Values"], "EntityNotFoundException")
    ]

    wanted = [{"Values": values["Values"]} for values in (three, two, one)]
    found = glue.of("BatchGetPartition", PartitionsToGet=wanted)
    assert [(item["Values"], item.get("Parameters")) for item in found["Partitions"]] == [
        (one["Values"], None),
        (two["Values"], {"moved": "yes"}),
    ]
    assert found["UnprocessedKeys"] == []

    errors = glue.of("BatchDeletePartition", PartitionsToDelete=wanted)["Errors"]
    assert [error["PartitionValues"] for error in errors] == [three["Values"]]
    assert glue.of("GetPartitions")["Partitions"] == []


@pytest.mark.parametrize(
    ("operation", "member", "item", "most"),
    [
        ("BatchCreatePartition", "PartitionInputList", partition("2013-03-08", 1), 100),
        ("BatchUpdatePartition", "Entries", {"PartitionValueList": ["2013-03-08", "1"], "PartitionInput": {}}, 100),
        ("BatchDeletePartition", "PartitionsToDelete", {"Values": ["2013-03-08", "1"]}, 25),
        ("BatchGetPartition", "PartitionsToGet", {"Values": ["2013-03-08", "1"]}, 1000),
    ],
)
def test_a_batch_has_the_limit_of_aws(glue: Glue, operation: str, member: str, item: dict[str, Any], most: int) -> None:
    glue.of(operation, **{member: [item] * most})
    assert glue.refused(operation, DatabaseName="marts", TableName="daily", **{member: [item] * (most + 1)}) == "ValidationException"


@pytest.fixture
def days(glue: Glue) -> Glue:
    """Partitions of every hour of March 2013."""
    inputs = [partition(f"2013-03-{day:02d}", hour) for day in range(1, 32) for hour in range(24)]
    for start in range(0, len(inputs), 100):
        assert glue.of("BatchCreatePartition", PartitionInputList=inputs[start : start + 100])["Errors"] == []
    return glue


def test_partitions_are_filtered_by_an_expression(days: Glue) -> None:
    expression = "ds BETWEEN '2013-03-02' AND '2013-03-03' AND hr IN (0, 23)"
    found = days.of("GetPartitions", Expression=expression)
    assert [item["Values"] for item in found["Partitions"]] == [
        ["2013-03-02", "0"],
        ["2013-03-02", "23"],
        ["2013-03-03", "0"],
        ["2013-03-03", "23"],
    ]
    assert len(days.of("GetPartitions", Expression="  ")["Partitions"]) == 744


def test_filtered_partitions_come_in_pages_without_gaps(days: Glue) -> None:
    values: list[list[str]] = []
    more: dict[str, Any] = {}
    while True:
        page = days.of("GetPartitions", Expression="hr < 2", MaxResults=10, **more)
        values += [item["Values"] for item in page["Partitions"]]
        if "NextToken" not in page:
            break
        assert len(page["Partitions"]) == 10
        more = {"NextToken": page["NextToken"]}
    assert values == [[f"2013-03-{day:02d}", str(hour)] for day in range(1, 32) for hour in range(2)]


def test_segments_cut_the_partitions_into_parts(days: Glue) -> None:
    parts = [days.of("GetPartitions", Segment={"SegmentNumber": number, "TotalSegments": 4})["Partitions"] for number in range(4)]
    assert [len(part) for part in parts] == [186] * 4
    assert len({tuple(item["Values"]) for part in parts for item in part}) == 744
    segment = {"SegmentNumber": 4, "TotalSegments": 4}
    assert days.refused("GetPartitions", DatabaseName="marts", TableName="daily", Segment=segment) == "InvalidInputException"


def test_the_columns_can_be_left_out(days: Glue) -> None:
    (item,) = days.of("GetPartitions", Expression="ds = '2013-03-08' AND hr = 1", ExcludeColumnSchema=True)["Partitions"]
    assert item["StorageDescriptor"] == {"Location": "s3://marts/daily/"}


def test_ten_thousand_partitions_are_filtered_with_bounded_work(glue: Glue) -> None:
    glue("CreateTable", DatabaseName="marts", TableInput={**table_input("big"), "PartitionKeys": [{"Name": "n", "Type": "int"}]})
    for start in range(0, 10_000, 100):
        inputs = [{"Values": [str(number)]} for number in range(start, start + 100)]
        glue("BatchCreatePartition", DatabaseName="marts", TableName="big", PartitionInputList=inputs)
    found = glue("GetPartitions", DatabaseName="marts", TableName="big", Expression="n >= 5000 AND n < 5003")
    assert [item["Values"] for item in found["Partitions"]] == [["5000"], ["5001"], ["5002"]]
    # A page is answered from the middle of the table, not by reading everything before it.
    page = glue("GetPartitions", DatabaseName="marts", TableName="big", MaxResults=1000)
    page = glue("GetPartitions", DatabaseName="marts", TableName="big", NextToken=page["NextToken"])
    assert page["Partitions"][0]["Values"] == ["1000"]


# Column statistics, indexes, functions, tags


def statistics(name: str, minimum: int = 1) -> dict[str, Any]:
    data = {"Type": "LONG", "LongColumnStatisticsData": {"MinimumValue": minimum, "NumberOfNulls": 0, "NumberOfDistinctValues": 3}}
    return {"ColumnName": name, "ColumnType": "bigint", "AnalyzedTime": 1700000000.0, "StatisticsData": data}


@pytest.mark.parametrize("level", ["Table", "Partition"])
def test_column_statistics_are_kept_per_table_and_per_partition(glue: Glue, level: str) -> None:
    glue.of("BatchCreatePartition", PartitionInputList=[partition("2013-03-08", 1), partition("2013-03-08", 2)])
    place = {"PartitionValues": ["2013-03-08", "1"]} if level == "Partition" else {}
    update, get, delete = (f"{verb}ColumnStatisticsFor{level}" for verb in ("Update", "Get", "Delete"))

    errors = glue.of(update, ColumnStatisticsList=[statistics("flights"), statistics("nothing")], **place)["Errors"]
    assert [error["ColumnStatistics"]["ColumnName"] for error in errors] == ["nothing"]
    glue.of(update, ColumnStatisticsList=[statistics("flights", 2)], **place)
    found = glue.of(get, ColumnNames=["flights", "delay"], **place)
    assert found["ColumnStatisticsList"] == [statistics("flights", 2)]
    assert [(error["ColumnName"], error["Error"]["ErrorCode"]) for error in found["Errors"]] == [("delay", "EntityNotFoundException")]

    elsewhere = {} if level == "Partition" else {"PartitionValues": ["2013-03-08", "1"]}
    other = "GetColumnStatisticsForTable" if level == "Partition" else "GetColumnStatisticsForPartition"
    assert glue.of(other, ColumnNames=["flights"], **elsewhere)["ColumnStatisticsList"] == []

    glue.of(delete, ColumnName="flights", **place)
    assert glue.of(get, ColumnNames=["flights"], **place)["ColumnStatisticsList"] == []
    glue.of(delete, ColumnName="flights", **place)  # of none
    assert glue.refused(delete, DatabaseName="marts", TableName="gone", ColumnName="flights", **place) == "EntityNotFoundException"


def test_statistics_have_aws_limits_and_go_with_their_partition(glue: Glue) -> None:
    glue.of("CreatePartition", PartitionInput=partition("2013-03-08", 1))
    place = {"DatabaseName": "marts", "TableName": "daily", "PartitionValues": ["2013-03-08", "1"]}
    glue("UpdateColumnStatisticsForPartition", ColumnStatisticsList=[statistics("flights")], **place)
    many = [statistics("flights")] * 26
    assert glue.refused("UpdateColumnStatisticsForPartition", ColumnStatisticsList=many, **place) == "ValidationException"
    glue.of("DeletePartition", PartitionValues=["2013-03-08", "1"])
    assert glue.refused("GetColumnStatisticsForPartition", ColumnNames=["flights"], **place) == "EntityNotFoundException"
    glue.of("CreatePartition", PartitionInput=partition("2013-03-08", 1))
    assert glue("GetColumnStatisticsForPartition", ColumnNames=["flights"], **place)["ColumnStatisticsList"] == []


def test_partition_indexes_are_remembered(glue: Glue) -> None:
    glue.of("CreatePartitionIndex", PartitionIndex={"IndexName": "by_day", "Keys": ["ds"]})
    (index,) = glue.of("GetPartitionIndexes")["PartitionIndexDescriptorList"]
    assert (index["IndexName"], index["Keys"], index["IndexStatus"]) == ("by_day", [{"Name": "ds", "Type": "date"}], "ACTIVE")
    glue.of("DeletePartitionIndex", IndexName="by_day")
    assert glue.of("GetPartitionIndexes")["PartitionIndexDescriptorList"] == []


def test_functions_are_found_by_pattern(glue: Glue) -> None:
    for name in ("Half", "halve", "double"):
        glue("CreateUserDefinedFunction", DatabaseName="marts", FunctionInput={"FunctionName": name, "ClassName": "x"})
    found = glue("GetUserDefinedFunctions", Pattern="hal.*", MaxResults=1)
    assert [one["FunctionName"] for one in found["UserDefinedFunctions"]] == ["half"]
    rest = glue("GetUserDefinedFunctions", Pattern="hal.*", NextToken=found["NextToken"])
    assert [one["FunctionName"] for one in rest["UserDefinedFunctions"]] == ["halve"]
    glue("UpdateUserDefinedFunction", DatabaseName="marts", FunctionName="half", FunctionInput={"FunctionName": "half", "ClassName": "y"})
    assert glue("GetUserDefinedFunction", DatabaseName="marts", FunctionName="half")["UserDefinedFunction"]["ClassName"] == "y"
    glue("DeleteUserDefinedFunction", DatabaseName="marts", FunctionName="half")
    assert glue.refused("GetUserDefinedFunction", DatabaseName="marts", FunctionName="half") == "EntityNotFoundException"


def test_a_database_keeps_its_tags(glue: Glue) -> None:
    glue("CreateDatabase", DatabaseInput={"Name": "tagged"}, Tags={"team": "data"})
    arn = "arn:aws:glue:us-east-1:123456789012:database/tagged"
    glue("TagResource", ResourceArn=arn, TagsToAdd={"stage": "test"})
    glue("UntagResource", ResourceArn=arn, TagsToRemove=["team"])
    assert glue("GetTags", ResourceArn=arn)["Tags"] == {"stage": "test"}


def test_an_operation_outside_the_catalog_goes_to_the_other_handler(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def other(call: Any, environ: Any, start_response: Any) -> list[bytes]:
        seen.append(call.operation)
        start_response("200 OK", [])
        return [b"{}"]

    service = GlueService(tmp_path / "glue.sqlite", otherwise=other)
    call_json(service, "glue", "StartCrawler", Name="c")
    call_json(service, "glue", "GetTags", ResourceArn="arn:aws:glue:us-east-1:123456789012:crawler/c")
    assert seen == ["StartCrawler", "GetTags"]
    service.close()
