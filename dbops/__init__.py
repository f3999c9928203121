"""Operate the KapMan database: drop, create, migrate and verify it, and prove the result."""

__version__ = "0.1.0"
