"""What the author of a job needs.

from framework import Jdbc, Newest, Param, Path, Table, job
"""

from framework.jobs import Jdbc, Job, Newest, Param, Path, Table, job

__all__ = ["Jdbc", "Job", "Newest", "Param", "Path", "Table", "job"]
