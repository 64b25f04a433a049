"""Lineage: which jobs and datasets a dataset comes from, and where it goes.

`graph.py` has jobs and datasets, from the declarations of every job, whatever its engine; `columns.py` the columns of SQL jobs, from
the parsed statement; `mermaid.py` draws; `events.py` tells OpenLineage receivers what a run read and wrote.
"""
