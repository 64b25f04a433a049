"""Checks on staged data: Great Expectations suites that decide whether a run may publish.

`suite` reads configs/checks/*.yaml and `report` says what came out; both are light. `gate` runs a suite on a Spark
DataFrame or a SQL engine's table, and `docs` writes HTML; Great Expectations (about 2 CPU seconds) is imported only there.
"""
