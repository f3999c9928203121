"""The schema as text, read from the live catalogs: its fingerprint, its drift, its diagram."""

from dbops.catalog.diagram import diagram
from dbops.catalog.drift import Drift, ObjectDrift, against, compare, drift, read_expected
from dbops.catalog.text import fingerprint, schema_text

__all__ = [
    "Drift",
    "ObjectDrift",
    "against",
    "compare",
    "diagram",
    "drift",
    "fingerprint",
    "read_expected",
    "schema_text",
]
