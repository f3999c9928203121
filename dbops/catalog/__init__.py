"""The schema as text, read from the live catalogs: its fingerprint, its drift, its diagram."""

from dbops.catalog.expected import ExpectedSchema, read_expected
from dbops.catalog.text import fingerprint, schema_asked, schema_text
