"""Collations by which the server sorts in another way than before, as after an upgrade of its system's libraries."""

from __future__ import annotations

from dbops.postgres import Connection

# The database's own, and those that columns and indexes of it name.
_CHANGED = """
WITH used AS (
    SELECT pg_catalog.format('the collation of database %I', d.datname) AS name, d.datcollversion AS version,
           pg_catalog.pg_database_collation_actual_version(d.oid) AS actual,
           pg_catalog.format('ALTER DATABASE %I REFRESH COLLATION VERSION', d.datname) AS remedy
    FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
    UNION ALL
    SELECT pg_catalog.format('collation %I.%I', n.nspname, c.collname), c.collversion,
           pg_catalog.pg_collation_actual_version(c.oid),
           pg_catalog.format('ALTER COLLATION %I.%I REFRESH VERSION', n.nspname, c.collname)
    FROM pg_catalog.pg_collation AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
    WHERE c.oid IN (SELECT a.attcollation FROM pg_catalog.pg_attribute AS a WHERE a.attrelid >= 16384)
)
SELECT u.name, u.version, coalesce(u.actual, 'none'), u.remedy,
       pg_catalog.quote_ident(pg_catalog.current_database())
FROM used AS u WHERE u.version IS NOT NULL AND u.version IS DISTINCT FROM u.actual
"""


def changed_collations(connection: Connection) -> tuple[str, ...]:
    """Return a sentence for each collation whose version has changed since the connected database's indexes were built.

    Each says what to run; a version that the server cannot tell any more counts as changed.
    """
    return tuple(
        f"{name} had version {version} when its indexes were built, and the server has {actual} now: text may sort in"
        f" another order. Run REINDEX DATABASE {database}, then {remedy}"
        for name, version, actual, remedy, database in connection.execute(_CHANGED).fetchall()
    )
