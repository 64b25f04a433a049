"""The lake's Iceberg tables as pyiceberg opens them, on either kind of catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from framework.aws import Aws
from framework.imports import EarlyImport

if TYPE_CHECKING:
    from pyiceberg.catalog import MetastoreCatalog

# Of many that commit to one table each waits for its turn; the default gives up after 4 looks, the last a minute apart.
_LOCK = {"lock-check-min-wait-time": "0.05", "lock-check-max-wait-time": "2", "lock-check-retries": "60"}


def _import() -> None:
    import pyiceberg.io.pyarrow
    import pyiceberg.serializers  # noqa: F401


_early = EarlyImport(_import)
preload = _early.begin
"""Start importing pyiceberg in the background; `open_lake` waits for it."""


def open_lake(aws: Aws, metastore: str | None) -> MetastoreCatalog:
    """A client of its own, for one thread.

    Args:
        metastore: `thrift://host:port` of a Hive metastore; None for Glue.
    """
    _early.finish()
    storage = {"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO", "s3.region": aws.region}
    if endpoint := aws.endpoint("s3"):
        storage["s3.endpoint"] = endpoint
    if keys := aws.credentials():
        storage |= {"s3.access-key-id": keys.key_id, "s3.secret-access-key": keys.secret}
        if keys.token:
            storage["s3.session-token"] = keys.token
    if metastore is None:
        from pyiceberg.catalog.glue import GlueCatalog

        return GlueCatalog("emrjobs", client=aws.client("glue"), **storage)
    from pyiceberg.catalog.hive import HiveCatalog

    from framework.catalog.hive import address

    host, port = address(metastore)
    return HiveCatalog("emrjobs", uri=f"thrift://{host}:{port}", **_LOCK, **storage)
