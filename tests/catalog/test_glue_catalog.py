"""Glue: how many calls a publish makes, and what its refusals become. Glue itself is a recording stand-in here."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from builders import glue_catalog, table

from framework.catalog import Partition
from framework.errors import AccessRefused, PublishConflict, ServiceUnavailable

KEYS = {"day": "string"}


class Recorder:
    """A Glue that takes every call, and knows some partitions."""

    def __init__(self, *present: str, refuses: str | None = None) -> None:
        self.calls: list[tuple[str, list[Any]]] = []
        self._present = set(present)
        self._refuses = refuses

    def batch_create_partition(self, **call: Any) -> dict[str, Any]:
        self.calls.append(("create", call["PartitionInputList"]))
        code = self._refuses or "AlreadyExistsException"
        refused = [item["Values"] for item in call["PartitionInputList"] if self._refuses or item["Values"][0] in self._present]
        return {
            "Errors": [
                {"PartitionValues": values, "ErrorDetail": {"ErrorCode": code, "ErrorMessage": "told by Glue"}} for values in refused
            ]
        }

    def batch_update_partition(self, **call: Any) -> dict[str, Any]:
        self.calls.append(("update", call["Entries"]))
        return {}

    def batch_delete_partition(self, **call: Any) -> dict[str, Any]:
        self.calls.append(("delete", call["PartitionsToDelete"]))
        return {}

    def sizes(self, what: str) -> list[int]:
        return sorted(len(items) for name, items in self.calls if name == what)


def days(count: int) -> list[Partition]:
    return [Partition((f"d{number:03}",), f"s3://b/run/day=d{number:03}") for number in range(count)]


def stub(*answers: tuple[str, Any]) -> Any:
    """A real Glue client with canned answers: a dict is an answer, a text an error code."""
    client = boto3.client("glue", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    stubber = Stubber(client)
    for operation, answer in answers:
        if isinstance(answer, str):
            stubber.add_client_error(operation, service_error_code=answer, service_message="told by Glue")
        else:
            stubber.add_response(operation, answer)
    stubber.activate()
    return client


def raw_table(**changes: Any) -> dict[str, Any]:
    library = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    storage = {"Columns": [{"Name": "n", "Type": "bigint"}], "Location": "s3://b/t/", "SerdeInfo": {"SerializationLibrary": library}}
    return {"DatabaseName": "db", "Name": "T", "StorageDescriptor": storage, "VersionId": "3", **changes}


class TestPartitions:
    def test_250_new_partitions_are_three_calls(self) -> None:
        glue = Recorder()
        glue_catalog(glue).put_partitions(table(keys=KEYS), days(250))
        assert glue.sizes("create") == [50, 100, 100]
        assert glue.sizes("update") == []

    def test_those_that_exist_are_switched_by_one_more_call_a_batch(self) -> None:
        glue = Recorder("d001", "d002", "d150")
        glue_catalog(glue).put_partitions(table(keys=KEYS), days(200))
        assert glue.sizes("update") == [1, 2]
        entries = [entry for name, items in glue.calls if name == "update" for entry in items]
        assert {entry["PartitionValueList"][0]: entry["PartitionInput"]["StorageDescriptor"]["Location"] for entry in entries} == {
            "d001": "s3://b/run/day=d001",
            "d002": "s3://b/run/day=d002",
            "d150": "s3://b/run/day=d150",
        }

    def test_a_partition_gets_the_table_s_descriptor_at_its_own_location(self) -> None:
        glue = Recorder()
        described = table(keys=KEYS, StorageDescriptor={"Location": "s3://b/t", "SerdeInfo": {"SerializationLibrary": "x"}})
        glue_catalog(glue).put_partitions(described, days(1))
        ((_, (sent,)),) = glue.calls
        assert sent == {
            "Values": ["d000"],
            "StorageDescriptor": {"Location": "s3://b/run/day=d000", "SerdeInfo": {"SerializationLibrary": "x"}},
        }

    def test_no_partitions_are_no_call(self) -> None:
        glue = Recorder()
        glue_catalog(glue).put_partitions(table(keys=KEYS), [])
        glue_catalog(glue).delete_partitions(table(keys=KEYS), [])
        assert glue.calls == []

    def test_deletes_go_25_a_call(self) -> None:
        glue = Recorder()
        glue_catalog(glue).delete_partitions(table(keys=KEYS), days(60))
        assert glue.sizes("delete") == [10, 25, 25]

    def test_another_refusal_is_a_conflict_that_names_the_partition(self) -> None:
        glue = Recorder(refuses="InternalServiceException")
        with pytest.raises(PublishConflict, match=r"refused partition \['d000'\] of db\.flights: told by Glue") as caught:
            glue_catalog(glue).put_partitions(table(keys=KEYS), days(1))
        assert caught.value.retryable

    def test_a_failed_call_is_told(self) -> None:
        with pytest.raises(ServiceUnavailable, match=r"could not register partitions of db\.flights in Glue: InternalServiceException"):
            glue_catalog(stub(("batch_create_partition", "InternalServiceException"))).put_partitions(table(keys=KEYS), days(1))

    def test_the_listing_follows_the_pages_and_carries_the_expression(self) -> None:
        client = boto3.client("glue", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        with Stubber(client) as stubber:
            asked = {"DatabaseName": "db", "TableName": "flights", "ExcludeColumnSchema": True, "Expression": "day > 'a'"}
            for token, value in ((None, "d1"), ("next", "d2")):
                answer = {"Partitions": [{"Values": [value], "StorageDescriptor": {"Location": f"s3://b/{value}"}}]}
                given = asked | ({"NextToken": token} if token else {})
                stubber.add_response("get_partitions", answer | ({} if token else {"NextToken": "next"}), given)
            found = glue_catalog(client).partitions(table(keys=KEYS), "day > 'a'")
        assert found == [Partition(("d1",), "s3://b/d1"), Partition(("d2",), "s3://b/d2")]


class TestFind:
    def test_a_hive_table_says_where_and_how_it_lies(self) -> None:
        found = glue_catalog(stub(("get_table", {"Table": raw_table(PartitionKeys=[{"Name": "day", "Type": "date"}])}))).find("DB.t")
        assert found is not None
        assert (found.name, found.format, found.location, found.version) == ("db.t", "parquet", "s3://b/t", "3")
        assert [column.name for column in found.all_columns] == ["n", "day"]

    def test_an_iceberg_table_is_known_by_its_parameter(self) -> None:
        found = glue_catalog(stub(("get_table", {"Table": raw_table(Parameters={"table_type": "iceberg"})}))).find("db.t")
        assert found is not None
        assert found.is_iceberg

    def test_what_is_not_there_is_none(self) -> None:
        assert glue_catalog(stub(("get_table", "EntityNotFoundException"))).find("db.t") is None

    def test_what_may_not_be_read_is_refused_access(self) -> None:
        with pytest.raises(AccessRefused, match=r"could not look up table db\.t in Glue: AccessDeniedException: told by Glue"):
            glue_catalog(stub(("get_table", "AccessDeniedException"))).find("db.t")

    def test_a_glue_that_does_not_answer_is_worth_a_retry(self) -> None:
        class Down:
            def get_table(self, **arguments: Any) -> Any:
                raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

        with pytest.raises(ServiceUnavailable) as caught:
            glue_catalog(Down()).find("db.t")
        assert caught.value.retryable

    def test_tables_that_are_not_ours_to_read_are_not_listed(self) -> None:
        views = raw_table(Name="v", StorageDescriptor={"Columns": []}, TableType="VIRTUAL_VIEW")
        client = stub(
            ("get_databases", {"DatabaseList": [{"Name": "db"}]}),
            ("get_tables", {"TableList": [raw_table(Name="b"), views, raw_table(Name="a")]}),
        )
        assert [found.name for found in glue_catalog(client).tables()] == ["db.a", "db.b"]


class TestSwitch:
    def test_the_new_definition_keeps_what_it_does_not_know_and_forgets_stale_statistics(self) -> None:
        sent: dict[str, Any] = {}

        class Glue:
            def update_table(self, **arguments: Any) -> None:
                sent.update(arguments)

        known = table(version="3", Owner="etl", DatabaseName="db", CreateTime="then", VersionId="3")
        known = type(known)(**{**vars(known), "parameters": {"numRows": "7", "team": "ops"}})
        glue_catalog(Glue()).switch(known, "s3://b/run")
        assert sent["VersionId"] == "3"
        assert sent["TableInput"]["StorageDescriptor"]["Location"] == "s3://b/run"
        assert sent["TableInput"]["Parameters"] == {"team": "ops"}
        assert sent["TableInput"]["Owner"] == "etl"
        assert not {"DatabaseName", "CreateTime", "VersionId"} & sent["TableInput"].keys()

    @pytest.mark.parametrize("code", ["ConcurrentModificationException", "VersionMismatchException"])
    def test_a_stale_version_is_a_conflict(self, code: str) -> None:
        with pytest.raises(PublishConflict, match=r"table db\.flights changed while this run was writing"):
            glue_catalog(stub(("update_table", code))).switch(table(version="1"), "s3://b/run")

    def test_another_error_is_not(self) -> None:
        with pytest.raises(ServiceUnavailable, match=r"could not switch table db\.flights"):
            glue_catalog(stub(("update_table", "InternalServiceException"))).switch(table(version="1"), "s3://b/run")


class TestCreate:
    def test_a_table_that_another_run_created_is_a_conflict(self) -> None:
        with pytest.raises(PublishConflict, match="was created by somebody else"):
            glue_catalog(stub(("create_table", "AlreadyExistsException"))).create(table())

    def test_a_database_that_is_not_there_is_created_below_the_warehouse(self) -> None:
        client = stub(("get_database", "EntityNotFoundException"), ("create_database", {}))
        assert glue_catalog(client).ensure_database("db") == "s3://warehouse/db.db"

    def test_a_database_that_another_run_created_meanwhile_is_taken(self) -> None:
        client = stub(("get_database", "EntityNotFoundException"), ("create_database", "AlreadyExistsException"))
        assert glue_catalog(client).ensure_database("db") == "s3://warehouse/db.db"

    def test_a_database_keeps_its_own_location(self) -> None:
        client = stub(("get_database", {"Database": {"Name": "db", "LocationUri": "s3://elsewhere/db/"}}))
        assert glue_catalog(client).ensure_database("db") == "s3://elsewhere/db"

    def test_dropping_what_is_not_there_is_no_error(self) -> None:
        glue_catalog(stub(("delete_table", "EntityNotFoundException"))).drop("db.t")
        with pytest.raises(AccessRefused):
            glue_catalog(stub(("delete_table", "AccessDeniedException"))).drop("db.t")
