"""What the author of a job needs.

from framework import Jdbc, Param, Path, Table, job
"""

from framework.jobs import Jdbc, Job, Param, Path, Table, job

__all__ = ["Jdbc", "Job", "Param", "Path", "Table", "job"]
