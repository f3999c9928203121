"""Write a parameter's stored value as SQL, as pg_dumpall does."""

from __future__ import annotations

import re

from psycopg import sql

# The parameters whose stored value is a list of quoted names: the server flags them GUC_LIST_QUOTE.
QUOTED_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*[^,"\s]))\s*(?:,|$)')


def setting_value(name: str, value: str) -> sql.Composable:
    """Return the value as one literal, or as a list of them for a parameter that is a list of names."""
    if name.lower() not in QUOTED_LISTS or not value.strip():
        return sql.Literal(value)
    return sql.SQL(", ").join([sql.Literal(item) for item in split_list(value)])


def split_list(value: str) -> list[str]:
    """Return the names in a stored list; doubled quotes inside quotes stand for one."""
    return [quoted.replace('""', '"') if plain == "" else plain for quoted, plain in ITEM.findall(value)]
