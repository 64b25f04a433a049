"""Typed, layered settings."""
