"""Registering many partitions in Glue, and finding one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from benchmarks import measure
from framework.catalog import Column, Partition, TableInfo
from framework.config.loader import load
from framework.local.target import open_platform

ROOT = FilePath(__file__).parents[1]
MANY, SINGLE = 10_000, 500
ALL = 100_000
TABLE = "bench.partitions"


def results(rounds: int) -> str:
    """A section in Markdown."""
    with open_platform(load(ROOT, "embedded"), lambda event: None) as platform:
        catalog, glue = platform.catalog, platform.aws.client("glue")
        root = f"{catalog.ensure_database('bench')}/partitions"
        keys = (Column("day", "int"),)
        made = TableInfo(TABLE, "parquet", root, (Column("n", "bigint"),), keys)
        partitions = [Partition((str(number),), f"{root}/day={number}") for number in range(MANY)]

        def fresh() -> TableInfo:
            catalog.drop(TABLE)
            return catalog.create(made)

        def batches() -> measure.Cost:
            table = fresh()
            return measure.block(lambda: catalog.put_partitions(table, partitions))

        def one_by_one() -> measure.Cost:
            table = fresh()

            def act() -> None:
                for one in partitions[:SINGLE]:
                    storage: dict[str, Any] = {**table.raw["StorageDescriptor"], "Location": one.location}
                    glue.create_partition(
                        DatabaseName="bench",
                        TableName="partitions",
                        PartitionInput={"Values": list(one.values), "StorageDescriptor": storage},
                    )

            return measure.block(act)

        whole: list[Partition] = []
        pruned: list[Partition] = []
        costs = measure.in_turn(rounds, {"one by one": one_by_one, "batches": batches}, warm_up=0)
        table = fresh()
        catalog.put_partitions(table, [Partition((str(number),), f"{root}/day={number}") for number in range(ALL)])
        with _counted(glue) as asked_whole:
            whole_costs = measure.block(lambda: whole.extend(catalog.partitions(table)))
        with _counted(glue) as asked:
            pruned_costs = measure.block(lambda: pruned.extend(catalog.partitions(table, "day = 7321")))
        catalog.drop(TABLE)
    per_one = measure.median(costs["one by one"]) / SINGLE
    per_batch = measure.median(costs["batches"]) / MANY
    return "\n".join(
        [
            "## Partitions of a Hive-layout table, on the local Glue",
            "",
            f"One CreatePartition a partition was measured on {SINGLE} partitions, `put_partitions` (100 a call, 8 calls at a time) on {MANY:,}.",
            "",
            "| what | ms a partition | times as fast (goal 20) |",
            "|---|---|---|",
            f"| CreatePartition one by one | {per_one * 1000:.2f} | 1 |",
            f"| `put_partitions` | {per_batch * 1000:.3f} | {per_one / per_batch:.1f} |",
            "",
            f"Of a table of {ALL:,} partitions, what a read fetches from Glue:",
            "",
            "| what | partitions | calls | bytes of the answers | s |",
            "|---|---|---|---|---|",
            f"| a predicate that leaves one | {len(pruned)} | {len(asked)} | {sum(asked):,} | {pruned_costs.wall:.2f} |",
            f"| all | {len(whole):,} | {len(asked_whole):,} | {sum(asked_whole):,} | {whole_costs.wall:.1f} |",
        ]
    )


@contextlib.contextmanager
def _counted(glue: Any) -> Iterator[list[int]]:
    """Bytes of each answer that the client gets while the context is open."""
    sizes: list[int] = []

    def note(http_response: Any, **_: Any) -> None:
        sizes.append(len(http_response.content))

    glue.meta.events.register("after-call.glue", note, unique_id="counted")
    try:
        yield sizes
    finally:
        glue.meta.events.unregister("after-call.glue", unique_id="counted")
