"""The schema as text, read from the live catalogs: its fingerprint, its drift, its diagram."""

from dbops.catalog.diagram import diagram
from dbops.catalog.drift import Drift, ObjectDrift, drift
from dbops.catalog.text import fingerprint, schema_text

__all__ = ["Drift", "ObjectDrift", "diagram", "drift", "fingerprint", "schema_text"]
