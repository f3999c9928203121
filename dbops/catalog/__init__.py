"""The schema as text, read from the live catalogs: its fingerprint, its drift, its diagram."""

from dbops.catalog.diagram import diagram
from dbops.catalog.drift import STEP, Drift, ObjectDrift, against, compare, compare_texts, read_expected
from dbops.catalog.text import fingerprint, schema_text

__all__ = [
    "STEP",
    "Drift",
    "ObjectDrift",
    "against",
    "compare",
    "compare_texts",
    "diagram",
    "fingerprint",
    "read_expected",
    "schema_text",
]
