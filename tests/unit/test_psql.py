"""What db.psql hands over to psql: all that the target says, and nothing else that libpq would read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops import psql
from dbops.errors import ServerError
from dbops.settings import Target
from tests.support import servers

PARAMETERS = {"host": "/run/kapman", "port": "5433", "user": "owner", "client_encoding": "UTF8"}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return where a program called psql is, which is not run."""
    (tmp_path / "psql").touch(mode=0o755)
    return str(tmp_path)


def test_variables_that_libpq_reads_are_not_handed_over(path: str) -> None:
    """The embedded server would be asked for what is meant for another one."""
    others = {"PGREQUIREAUTH": "scram-sha-256", "PGTARGETSESSIONATTRS": "standby", "PGHOSTADDR": "192.0.2.1"}
    others |= {"PGSERVICE": "other", "PGPASSWORD": "other", "PGSSLMODE": "verify-full", "PGPORT": "1"}
    kept = {"PATH": path, "PGOPTIONS": "-c jit=on", "PGAPPNAME": "mine", "PSQL_PAGER": "less", "PGCLIENTENCODING": "L1"}
    arguments, environ = psql.command(Target(PARAMETERS, "d", embedded=True), {**others, **kept})
    assert environ == kept
    assert arguments == [f"{path}/psql", "--dbname", "host=/run/kapman port=5433 user=owner dbname=d"]


def test_secrets_are_handed_over_in_the_environment(path: str) -> None:
    target = Target({**PARAMETERS, "password": "s3kret"}, "d")
    arguments, environ = psql.command(target, {"PATH": path, "PGPASSWORD": "other"}, sql="SELECT 1")
    assert environ == {"PATH": path, "PGPASSWORD": "s3kret"}
    assert "s3kret" not in " ".join(arguments)
    assert arguments[-2:] == ["--command", "SELECT 1"]


def test_server_that_is_not_there_is_an_error_also_where_psql_could_ask_for_a_password() -> None:
    nowhere = Target({"host": "127.0.0.1", "port": str(servers.free_port()), "user": "u"}, "d")
    with pytest.raises(ServerError, match="Connection refused"):
        psql.check(nowhere, ask=True)
