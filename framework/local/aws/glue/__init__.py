"""The Glue Data Catalog: databases, tables and their versions, partitions, column statistics, functions.

On SQLite instead of moto, because a catalog must not lose commits: read, check and write of every change are one
transaction, and an answered call is on disk. Everything else of Glue (crawlers, jobs, connections) goes to moto.
"""

from framework.local.aws.glue.service import GlueService

__all__ = ["GlueService"]
