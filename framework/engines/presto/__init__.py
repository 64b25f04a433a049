"""The Presto engine: one SQL statement on a PrestoDB server, for teams that have not left it yet."""
