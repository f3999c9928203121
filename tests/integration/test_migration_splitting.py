"""Statements are cut where psql and the server cut them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dbops.settings import Target
from tests.support import servers
from tests.support.servers import TestServer
from tests.unit.test_migration_sqlsplit import SINGLE

# psql reads line by line and does not see that a string goes on; the server does.
CONTINUED = "escape_string_continued_on_the_next_line"
TERMINATED = [name for name in SINGLE if not name.startswith(("un", "no_semicolon")) and name != CONTINUED]


@pytest.mark.parametrize("name", TERMINATED)
def test_psql_sends_the_same_statement(server: TestServer, empty: Target, tmp_path: Path, name: str) -> None:
    path = tmp_path / "file.sql"
    path.write_text(f"SELECT 0;\n{SINGLE[name]}\nSELECT 9;\n")
    command = ["psql", "-X", "-q", "-e", "-A", "-t", "-f", str(path), "-d", server.url(empty.database)]
    echoed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert f"\n{SINGLE[name]}\n" in echoed


def test_server_reads_a_continued_escape_string_as_one(empty: Target) -> None:
    with servers.connect(empty) as connection:
        assert connection.execute(SINGLE[CONTINUED].encode()).fetchall() == [("ab';c",)]
