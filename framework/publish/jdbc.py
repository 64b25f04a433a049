"""Publish a DataFrame to a table of a database: Spark writes the staged table, the database does the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from framework.errors import EngineUnavailable
from framework.publish import Published, Staged, schema
from framework.publish.database import DatabaseTable
from framework.sources import jdbc, splits

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_BATCH = 10_000  # rows a round trip
_WRITE = {
    # Several rows an INSERT; and texts without a type, which the database takes for json, uuid and the like (pgjdbc).
    "postgresql": {"reWriteBatchedInserts": "true", "stringtype": "unspecified"},
    # Several rows an INSERT, and values as literals: of the parameters of prepared statements, MariaDB makes null of a time after 2038.
    "mysql": {"rewriteBatchedStatements": "true", "useCursorFetch": "false", "useServerPrepStmts": "false"},
}


class JdbcArea:
    """Staging area of one run for one table of a database.

    Args:
        connections: how many may be written with at once.
    """

    def __init__(self, spark: SparkSession, table: DatabaseTable, connections: int) -> None:
        self._spark = spark
        self._table = table
        self._connections = connections
        self._schema = ""
        self._staged: Staged | None = None

    def write(self, frame: DataFrame) -> Staged:
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        frame = frame.toDF(*[name.lower() for name in frame.columns])
        names = self._table.prepare(schema.columns_of(frame))
        frame = frame.toDF(*names)
        counted = Observation("written")
        writer = frame.observe(counted, F.count(F.lit(1)).alias("rows")).write.format("jdbc").mode("append")
        options = {
            **self._options(),
            **_WRITE[self._table.database.kind],
            "batchsize": str(_BATCH),
            "numPartitions": str(self._connections),
        }
        writer.options(**options).save()
        wanted, found = int(counted.get["rows"]), self._table.staged()
        if found != wanted:
            # Spark does not know whether a task that it lost had committed its rows, and gives them to another one.
            raise EngineUnavailable(
                f"{found:,} rows are staged in {self._table.stage} and {wanted:,} were written: a task was lost while it wrote",
                fix="run the job again",
            )
        self._schema = ", ".join(
            f"`{field.name}` {field.dataType.simpleString()}" for field in frame.schema.fields if field.dataType.typeName() == "decimal"
        )
        self._staged = Staged(found, self._table.stage)
        return self._staged

    def read(self) -> DataFrame:
        assert self._staged is not None, "write() comes first"
        options = {**self._options(), "fetchsize": str(_BATCH), **({"customSchema": self._schema} if self._schema else {})}
        parts = splits.count(self._staged.rows, self._connections)
        predicates = self._table.parts(parts) if parts > 1 else []
        if not predicates:
            return self._spark.read.format("jdbc").options(**options).load()
        url, table = options.pop("url"), options.pop("dbtable")
        return self._spark.read.jdbc(url, table, predicates=predicates, properties=options)

    def publish(self) -> Published:
        assert self._staged is not None, "write() comes first"
        return self._table.publish(self._staged.rows)

    def discard(self) -> None:
        self._table.discard()

    def _options(self) -> dict[str, str]:
        database = self._table.database
        schema_name, _, name = self._table.stage.partition(".")
        quoted = ".".join(splits.quoted(part, database.kind) for part in (schema_name, name))
        return {**database.login, **jdbc.SESSION[database.kind], **database.options, "url": database.url, "dbtable": quoted}
