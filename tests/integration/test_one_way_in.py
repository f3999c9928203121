"""Each session has its settings in force, whatever the environment, a role, or something in between has to say."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dbops import postgres
from dbops.errors import DbopsError, PreflightError, ServerError, UsageError
from dbops.server.cluster import Account
from dbops.settings import Target
from tests.support import operators, servers
from tests.support.forwarder import Startup, forwarder, refused, without_options
from tests.support.pooler import pooler_of
from tests.support.processes import run_invoke
from tests.support.servers import TestServer

# What libpq sends beside the options of a connection, and what wins over them.
ENVIRONMENT = {
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Kathmandu",
    "PGGEQO": "off",
    "PGOPTIONS": "-c search_path=public -c intervalstyle=sql_standard",
    "PGCLIENTENCODING": "SJIS",
}
BETWEEN: dict[str, Startup] = {
    "options dropped in silence": without_options,
    "options refused as RDS Proxy does": refused("0A000", "RDS Proxy currently doesn't support command-line options."),
    "options refused as PgBouncer does": refused("08P01", "unsupported startup parameter: options"),
    "options refused in another language": refused("0A000", "Parameter wird nicht angenommen", "VERHÄNGNISVOLL"),
    "options refused without words": refused("08P01", "no"),
}
# A policy that would hide rows is an error where it is only read.
IN_READING = {**postgres.SETTINGS, "row_security": "off"}
READING = {
    "status": ["db.status"],
    "verify": ["db.verify"],
    "verify --empty": ["db.verify", "--empty"],
    "fingerprint": ["db.fingerprint"],
    "drift": ["db.drift"],
    "migrate --plan": ["db.migrate", "--plan"],
    "rebuild --plan": ["db.rebuild", "--plan"],
    "wait": ["db.wait"],
}


def in_force(connection: postgres.Connection) -> dict[str, object]:
    rows = connection.execute("SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings").fetchall()
    found = {str(name).lower(): value for name, value in rows}
    return {name: found[name] for name in postgres.SETTINGS}


@pytest.mark.parametrize("variable", [*ENVIRONMENT, "all"])
def test_environment_does_not_reach_a_session(empty: Target, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name, value in ENVIRONMENT.items():
        if variable in (name, "all"):
            monkeypatch.setenv(name, value)
    with postgres.connect(empty) as connection:
        assert in_force(connection) == dict(postgres.SETTINGS)
    with postgres.reader(empty) as connection, postgres.reading(connection):
        assert {**in_force(connection), "default_transaction_isolation": "read committed"} == IN_READING


@pytest.mark.parametrize("variable", ["PGTZ", "PGDATESTYLE", "PGGEQO", "PGOPTIONS"])
def test_environment_that_the_server_would_refuse_does_not_reach_it(built: Target, variable: str) -> None:
    done = run_invoke("db.status", DATABASE_URL=operators.dsn(built), **{variable: "nonsense"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", BETWEEN)
def test_settings_are_in_force_through_what_drops_or_refuses_them(server: TestServer, empty: Target, kind: str) -> None:
    server.execute(f'ALTER DATABASE "{empty.database}" SET search_path = public')
    server.execute(f"ALTER DATABASE \"{empty.database}\" SET datestyle = 'German'")
    with forwarder(server, startup=BETWEEN[kind]) as (far, _):
        with postgres.connect(far.target(empty.database)) as connection:
            assert in_force(connection) == dict(postgres.SETTINGS)
        with servers.connect(far.target(empty.database)) as connection:
            assert connection.execute("SHOW search_path").fetchone() == ("public",), "the trial is of no use"
        with postgres.reader(far.target(empty.database)) as connection:
            with pytest.raises(RuntimeError, match="outside of a transaction"):
                connection.execute("SHOW search_path")
            with postgres.reading(connection):
                assert in_force(connection) == IN_READING


def acts_as(connection: postgres.Connection) -> str:
    (row,) = connection.execute("SELECT current_user::text").fetchall()
    return str(row[0])


@pytest.mark.parametrize("kind", [*BETWEEN, "nothing"])
@pytest.mark.parametrize(
    "given", ["by the database", "by ALTER ROLE", "by ALTER ROLE in the database", "and taken away"]
)
def test_session_is_the_connecting_role_or_the_one_that_was_given_to_it(
    server: TestServer, empty: Target, kind: str, given: str
) -> None:
    with (
        operators.role(server) as owner,
        operators.role(server, f"LOGIN NOINHERIT IN ROLE {owner}") as member,
        forwarder(server, startup=BETWEEN.get(kind, dict)) as (far, _),
    ):
        target = operators.as_role(far.target(empty.database), member)
        whose = {
            "by the database": f'DATABASE "{empty.database}"',
            "by ALTER ROLE in the database": f'ROLE {member} IN DATABASE "{empty.database}"',
        }.get(given, f"ROLE {member}")
        server.execute(f"ALTER {whose} SET role = {owner}")
        with servers.connect(target) as connection:
            assert acts_as(connection) == owner, "the trial is of no use"
        if given == "and taken away":
            server.execute(f"REVOKE {owner} FROM {member}")
        expected = owner if given.startswith("by ALTER") else member
        with postgres.connect(target) as connection:
            assert acts_as(connection) == expected
        with postgres.reader(target) as connection, postgres.reading(connection):
            assert acts_as(connection) == expected
            with postgres.reading(connection):
                assert acts_as(connection) == expected


def test_library_that_an_owner_makes_sessions_load_does_not_keep_the_operator_out(
    server: TestServer, empty: Target
) -> None:
    server.execute(f"ALTER DATABASE \"{empty.database}\" SET local_preload_libraries = 'nowhere'")
    with pytest.raises(psycopg.OperationalError, match="nowhere"), servers.connect(empty):
        pass
    with postgres.connect(empty) as connection:
        assert connection.execute("SHOW local_preload_libraries").fetchone() == ("",)


@pytest.mark.parametrize("verb", [*READING, "migrate", "rebuild"])
@pytest.mark.slow
def test_each_verb_works_through_a_proxy_that_refuses_options(server: TestServer, built: Target, verb: str) -> None:
    words = READING.get(verb, [f"db.{verb}"])
    with forwarder(server, startup=refused("0A000", "no command-line options here")) as (far, _):
        done = operators.invoke(*words, target=far.target(built.database))
    assert done.returncode == 0, done.stderr


def test_refused_password_is_tried_once(server: TestServer, empty: Target) -> None:
    asked: list[dict[str, str]] = []

    def counted(parameters: dict[str, str]) -> bytes | dict[str, str]:
        asked.append(parameters)
        return refused("28P01", 'password authentication failed for user "x"')(parameters)

    with forwarder(server, startup=counted) as (far, _), pytest.raises(ServerError, match="password authentication"):
        postgres.connect(far.target(empty.database))
    assert len(asked) == 1


@pytest.fixture(scope="module")
def logging() -> Iterator[TestServer]:
    """Return a server that logs each statement with the process that ran it."""
    configuration = f"{servers.PRELOAD}log_statement = all\nlog_line_prefix = '%p '\n"
    with servers.throwaway_server(configuration) as started:
        yield started


@pytest.fixture(scope="module")
def read_target(logging: TestServer) -> Target:
    target = logging.target("kapman_dev")
    done = operators.invoke("db.rebuild", target=target)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize("ignored", [False, True], ids=["refused", "dropped"])
@pytest.mark.parametrize("verb", READING)
@pytest.mark.slow
def test_nothing_is_read_outside_a_transaction_that_has_its_settings(
    logging: TestServer, read_target: Target, verb: str, ignored: bool
) -> None:
    assert logging.directory
    log = next(logging.directory.rglob("*.log"))
    with pooler_of(logging, ignored=("options",) if ignored else ()) as pooler:
        begin = log.stat().st_size
        done = operators.invoke(*READING[verb], target=pooler.target(read_target.database))
    assert "Traceback" not in done.stderr
    expected = 3 if verb == "rebuild --plan" else 0
    assert done.returncode == expected, done.stderr
    if expected:
        assert "pooler" in done.stderr
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read().decode()
    assert unsettled(text) == []


def unsettled(log: str) -> list[str]:
    """Return the statements that a process ran outside of a transaction that begins with the settings."""
    found = re.findall(r"^(\d+) LOG:  (?:statement|execute [^:]*): (.*)$", log, re.MULTILINE)
    assert any(text.startswith("BEGIN") for _, text in found)
    inside: set[str] = set()
    wrong = []
    for pid, text in found:
        if text.startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL \"search_path\" = 'pg_catalog'"):
            inside.add(pid)
        elif text == "ROLLBACK":
            inside.discard(pid)
        elif pid not in inside and not re.match(r"SET (application_name|client_encoding)\b", text, re.IGNORECASE):
            wrong.append(text)
    return wrong


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_sessions_to_work_in_are_the_servers_own(server: TestServer, empty: Target, mode: str) -> None:
    with pooler_of(server, mode) as pooler, pytest.raises(PreflightError, match="goes through a pooler"):
        postgres.connect(pooler.target(empty.database))


UNUSABLE = {
    "sslmode": "verifyfull",
    "ssl_min_protocol_version": "TLSv9",
    "target_session_attrs": "primary-only",
    "channel_binding": "yes",
    "connect_timeout": "soon",
    "keepalives_idle": "often",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_parameter_is_a_mistake_in_the_url(empty: Target, name: str) -> None:
    wrong = Target({**empty.parameters, "host": "127.0.0.1", name: UNUSABLE[name]}, empty.database)
    with pytest.raises(UsageError, match=UNUSABLE[name]) as refusal:
        postgres.connect(wrong)
    assert ("verify-full" in refusal.value.hint) == (name == "sslmode")


RULED_OUT = {"target_session_attrs": "standby", "requirepeer": "nobody-else", "require_auth": "scram-sha-256"}


@pytest.mark.parametrize("name", RULED_OUT)
def test_server_that_a_parameter_rules_out_is_no_server_that_is_down(
    server: TestServer, empty: Target, name: str
) -> None:
    if server.directory is None:
        pytest.skip("a given server may fit")
    with pytest.raises(ServerError) as refusal:
        postgres.connect(Target({**empty.parameters, name: RULED_OUT[name]}, empty.database))
    assert "rules this server out" in refusal.value.hint


SIGN = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"


@pytest.fixture(scope="module")
def tls() -> Iterator[tuple[TestServer, Path]]:
    """Return a server with TLS on a loopback port, and the directory of its certificate, which is for localhost."""
    with servers.reachable_directory() as directory:
        for name in ("server", "other"):
            subprocess.run(
                [*shlex.split(SIGN), "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"],
                check=True,
                capture_output=True,
            )
        Account.current().own(directory)
        (directory / "server.key").chmod(0o600)
        port = servers.free_port()
        lines = [
            "ssl = on",
            f"ssl_cert_file = '{directory}/server.crt'",
            f"ssl_key_file = '{directory}/server.key'",
            "listen_addresses = '127.0.0.1'",
            f"port = {port}",
        ]
        with servers.throwaway_server("\n".join(["", *lines, ""])) as started:
            assert started.directory
            hba = next(started.directory.rglob("pg_hba.conf"))
            hba.write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
            started.execute("SELECT pg_reload_conf()")
            far = {"host": "localhost", "hostaddr": "127.0.0.1", "port": str(port), "user": "postgres"}
            yield TestServer({**far, "gssencmode": "disable"}), directory


TLS = {
    "no certificate authority": ({"sslmode": "verify-full", "sslrootcert": "/nowhere/ca.pem"}, "sslrootcert=system"),
    "another certificate authority": ({"sslmode": "verify-ca", "sslrootcert": "{other}"}, "name the right one"),
    "the system's authorities": ({"sslmode": "verify-full", "sslrootcert": "system"}, "name the right one"),
    "another host name": ({"sslmode": "verify-full", "sslrootcert": "{server}", "host": "db.test"}, "host name"),
    "no TLS asked for": ({"sslmode": "disable"}, "sslmode=verify-full"),
    "no key for the client's certificate": ({"sslmode": "require", "sslcert": "{server}", "sslkey": "/no"}, "sslkey"),
}


@pytest.mark.parametrize("kind", TLS)
def test_mistakes_with_certificates_are_answered_with_what_is_missing(tls: tuple[TestServer, Path], kind: str) -> None:
    server, directory = tls
    files = {name: str(directory / f"{name}.crt") for name in ("server", "other")}
    changes, way = TLS[kind]
    wrong = Target({**server.parameters, **{k: v.format(**files) for k, v in changes.items()}}, "postgres")
    with pytest.raises(DbopsError) as refusal:
        postgres.connect(wrong)
    assert way in refusal.value.hint, str(refusal.value)
    right = {"sslmode": "verify-full", "sslrootcert": files["server"]}
    postgres.connect(Target({**server.parameters, **right}, "postgres")).close()


def test_server_without_tls_is_no_server_that_is_down(server: TestServer, empty: Target) -> None:
    with forwarder(server) as (far, _), pytest.raises(ServerError, match="does not support SSL") as refusal:
        postgres.connect(far.target(empty.database, sslmode="require"))
    assert "ssl = on" in refusal.value.hint


def test_unknown_host_is_no_server_that_is_down(empty: Target) -> None:
    with pytest.raises(ServerError, match=r"resolve|translate") as refusal:
        postgres.connect(Target({**empty.parameters, "host": "nosuch.invalid"}, empty.database))
    assert refusal.value.hint == "Correct the host in DATABASE_URL."
