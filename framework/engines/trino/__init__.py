"""The Trino engine: one SQL statement over the lake and every connection."""
