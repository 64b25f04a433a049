"""What the parts of a seed share: where to, from where, with which clients, and how failures are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from framework.errors import AccessRefused, EmrjobsError, ServiceUnavailable
from framework.local.sample.catalogs import Tables, open_tables
from framework.local.service import Endpoint
from framework.sources.paths import split_s3

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

OnProgress = Callable[[str, int, int], None]
"""`on_progress(what, done, total)`, in bytes; called from several threads, never at the same time."""


@dataclass(frozen=True)
class SampleTarget:
    """Where the sample data go.

    Attributes:
        postgres: host, port, user (who may create databases), password and the database to connect to first.
        s3: url, region, access_key, secret_key.
        aws: url of the Glue API; takes the same keys.
        database: made when it is not there.
        raw, warehouse: prefixes; their buckets are made when they are not there.
        metastore: address of the Hive metastore that takes the reference tables; without it Glue does.
        search: url of OpenSearch, where it runs.
        mysql: host, port, user and password of MariaDB, where it runs.
    """

    postgres: Endpoint
    s3: Endpoint
    aws: Endpoint
    database: str = "airline_ops"
    raw: str = "s3://emrjobs-raw"
    warehouse: str = "s3://emrjobs-warehouse"
    metastore: str | None = None
    search: Endpoint | None = None
    mysql: Endpoint | None = None


@dataclass(frozen=True)
class Loaded:
    """One dataset that was loaded; `bytes` of it as read (flights) or as stored (the others)."""

    name: str
    location: str
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class SeedReport:
    """What a seed did; `loaded` is empty when all was there.

    Attributes:
        version: of the data: the package's version and the layout's.
        seconds: in all.
    """

    version: str
    seconds: float
    loaded: tuple[Loaded, ...] = ()


@dataclass(frozen=True)
class Seeding:
    """One call of `seed`.

    Attributes:
        files: folder with the package's CSV files.
        tell: takes the progress.
    """

    target: SampleTarget
    version: str
    files: Path
    s3: S3Client
    glue: GlueClient
    tell: OnProgress

    @cached_property
    def tables(self) -> Tables:
        """The catalog of the reference tables."""
        return open_tables(self)

    def put(self, uri: str, body: bytes, content_type: str) -> None:
        """Write one object."""
        bucket, key = split_s3(uri)
        self.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def ensure_bucket(self, uri: str) -> None:
        """Make the bucket of a URI when it is not there."""
        bucket, _ = split_s3(uri)
        try:
            self.s3.head_bucket(Bucket=bucket)
        except self.s3.exceptions.ClientError:
            self.s3.create_bucket(Bucket=bucket)


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise what client libraries raise as one of ours; `doing` completes "could not ..."."""
    import psycopg
    from botocore.exceptions import BotoCoreError, ClientError

    from framework.aws import explain

    try:
        yield
    except EmrjobsError:
        raise
    except (ClientError, BotoCoreError) as exc:
        raise explain(exc, doing) from exc
    except (psycopg.Error, OSError) as exc:  # pyarrow's S3 errors are OSError
        first, *rest = str(exc).strip().splitlines() or [type(exc).__name__]
        error = AccessRefused if "authentication failed" in first else ServiceUnavailable
        raise error(f"could not {doing}: {first}", details=rest, fix="`emrjobs local status` shows the servers") from exc
