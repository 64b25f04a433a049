"""What publishing asks of a kind of database: one file each, one small contract."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from framework.catalog import Column
from framework.errors import ConfigError, EmrjobsError
from framework.sources.jdbc import Database

PUBLICATIONS = "emrjobs_publications"
STAGE_MARK = "__stage_"


@dataclass(frozen=True)
class Target:
    """A table as its database describes it.

    Attributes:
        schema: or, in MySQL, the database.
        columns: name in lower case -> its own name and type.
        required: those that no row can leave out.
        generated: those that only the database fills.
    """

    schema: str
    table: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    generated: frozenset[str] = frozenset()

    @property
    def exists(self) -> bool:
        return bool(self.columns)


class Client(Protocol):
    """A client for one kind of database: a module of `framework.sources`."""

    def connect(self, database: Database) -> AbstractContextManager[Any]:
        """A connection in a transaction, which is committed when the context is left.

        Raises:
            MissingExtra: the client's package is not installed.
        """

    def is_own(self, exc: BaseException) -> bool:
        """True for an error of the database or its client."""

    def is_passing(self, exc: BaseException) -> bool:
        """True for one after which the same transaction may succeed: a conflict, or a connection that broke with an unknown outcome."""

    def explain(self, exc: Any, database: Database, what: str) -> EmrjobsError:
        """What the database said, as an error of this framework; `what` was being done."""


class Dialect(Protocol):
    """One kind of database. Names of tables and columns come quoted, but for those in a `Target`.

    Attributes:
        client: what connects to it.
        longest: bytes of a table's name.
        ddl_commits: a statement that makes or drops a table commits what was done before it.
        same: compares two values, of which null equals null.
        once: what an INSERT ends with that does nothing where the key is there.
        publications: columns of the table of publications.
        clock: a query of the time in UTC, as `2024-01-31T23:59:59`.
    """

    kind: str
    client: Client
    longest: int
    ddl_commits: bool
    same: str
    once: str
    publications: str
    clock: str

    def describe(self, cursor: Any, table: str, name: str) -> Target:
        """The table, without columns when there is none.

        Raises:
            SchemaMismatch: it is no table that can be published to; `name` is what the job calls it.
        """

    def check_keys(self, cursor: Any, target: Target, keys: Sequence[str], given: Sequence[str], name: str) -> None:
        """Rows with the columns `given` can be merged by `keys`, both in the table's own spelling.

        Raises:
            SchemaMismatch: they cannot.
        """

    def new_type(self, kind: str, *, key: bool) -> str | None:
        """The type of a new column for one of Spark's; None when there is none."""

    def spark_type(self, kind: str, given: str) -> str:
        """A column's type in Spark's words; `given` is what the job gives for it."""

    def lock(self, cursor: Any, name: str) -> None:
        """Wait for others that make a table of that name, where the database does not see to it by itself."""

    def make_stage(self, cursor: Any, stage: str, columns: str, comment: str) -> None:
        """Make a staged table."""

    def stages(self, cursor: Any, schema: str) -> Sequence[tuple[str, str, int]]:
        """Name, comment and size in bytes of each staged table."""

    def delete(self, table: str) -> str:
        """The beginning of a DELETE of rows of a table that is called t."""

    def upsert(self, keys: Sequence[str], others: Sequence[str]) -> str:
        """What an INSERT ends with that replaces rows with the same keys."""

    def parts(self, cursor: Any, stage: str, count: int) -> list[str]:
        """Predicates that cut the staged table into parts; none to read it in one."""


_LOADERS = {"postgresql": ("framework.publish.dialects.postgresql", "PostgreSql"), "mysql": ("framework.publish.dialects.mysql", "MySql")}


def open_dialect(database: Database) -> Dialect:
    """The dialect of a connection's database.

    Raises:
        ConfigError: jobs do not publish to its kind.
    """
    if database.kind not in _LOADERS:
        raise ConfigError(f"connection {database.connection} is {database.kind}; jobs publish to {' and '.join(_LOADERS)} only")
    module, name = _LOADERS[database.kind]
    dialect: Dialect = getattr(importlib.import_module(module), name)()
    return dialect
