"""Spark: the JVM behind a session (`jvm`), the session (`session`), what it is doing (`progress`), its start-up archive (`training`)."""
