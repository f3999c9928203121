"""Give each hypertable of an empty database chunks, an old one and one of today, since their locks count as well.

A row makes a chunk, and the chunk stays when the row is deleted. Where no row can be made up that satisfies the
table's constraints, there is none.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from dbops.postgres import Connection, sql_file

_MOMENTS = {"D": ("'2000-01-03'", "pg_catalog.now()"), "N": ("1", "1000000000")}
_MOST_PARENTS = 20


def make_chunks(connection: Connection) -> None:
    """Make chunks, in a transaction of its own for each hypertable."""
    (there,) = connection.execute("SELECT pg_catalog.to_regclass('_timescaledb_catalog.hypertable')").fetchall()
    if there == (None,):
        return
    hypertables: list[Any] = connection.execute(sql_file("dbops.migrations", "hypertables").encode()).fetchall()
    for table, column, category in hypertables:
        try:
            with connection.transaction():
                parents: dict[int, dict[str, Any]] = {}
                for moment in _MOMENTS.get(category, ()):
                    _insert(connection, table, {column: moment}, parents)
                for other in [table, *reversed(parents)]:
                    connection.execute(f"DELETE FROM {_name(connection, other)}".encode())
        except psycopg.Error:
            continue


def _insert(
    connection: Connection, table: int, given: dict[str, str], parents: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    """Insert a row into a table, and before that one into each table that it must refer to; return the row.

    `parents` are the rows of those tables, which are inserted once. Raises psycopg.Error where that is not possible.
    """
    columns = connection.execute(
        sql_file("dbops.migrations", "columns_to_fill").encode(), {"table": table, "given": list(given)}
    )
    found: list[Any] = columns.fetchall()
    values = {name: given.get(name, value) for name, value, _, _ in found}
    for name, _, parent, key in found:
        if parent and parent not in parents:
            if parent == table or len(parents) == _MOST_PARENTS:
                raise psycopg.DataError("the tables refer to each other")
            parents[parent] = _insert(connection, parent, {}, parents)
        if parent:
            values[name] = sql.Literal(parents[parent][key]).as_string(connection)
    names = ", ".join(sql.Identifier(name).as_string(connection) for name in values)
    text = f"({names}) VALUES ({', '.join(values.values())})" if values else "DEFAULT VALUES"
    cursor = connection.execute(f"INSERT INTO {_name(connection, table)} {text} RETURNING *".encode())
    (made,) = cursor.fetchall()
    return dict(zip([column.name for column in cursor.description or ()], made, strict=True))


def _name(connection: Connection, table: int) -> str:
    row: Any = connection.execute("SELECT %s::oid::regclass::text", [table]).fetchone()
    return str(row[0])
