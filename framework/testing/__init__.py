"""`emrjobs test`: jobs on small data that is declared beside them.

- `cases`: `jobs/<job>.test.yaml`, read and checked without Spark;
- `frames`: its rows as DataFrames of the types that the job expects;
- `compare`: what came out against what was expected, row by row;
- `run`: one case on a Spark session.
"""
