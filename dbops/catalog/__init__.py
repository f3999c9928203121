"""The schema as text, read from the live catalogs: its fingerprint, its drift, its diagram."""

from dbops.catalog.text import fingerprint, schema_text

__all__ = ["fingerprint", "schema_text"]
