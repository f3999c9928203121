"""Where measurements happen: a server of their own, durable, and copies of the project with other files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from bench.measure import LIMIT_SECONDS, Command
from bench.peers import Peer
from dbops.settings import ROOT

FLOOR = """\
name=$1; shift
dropdb --if-exists --force "$name" && createdb "$name" && psql -qX1 -v ON_ERROR_STOP=1 -d "$name" "$@"
"""
INVOKE = Path(sys.executable).parent / "invoke"
TABLE = """\
-- Why:   a measurement.
-- Needs: nothing.
-- Locks: none that others wait for.

CREATE TABLE public.t{n} (id integer NOT NULL, name text);
ALTER TABLE public.t{n} ADD CONSTRAINT t{n}_pkey PRIMARY KEY (id);
COMMENT ON TABLE public.t{n} IS 'Table {n}';
"""
TABLES_ARE_THERE = """\
SELECT
    'tables' AS check_name,
    count(*) = {count} AS passed,
    '{count} tables with a key and a comment' AS expected,
    count(*)::text AS actual
FROM pg_catalog.pg_class AS c
WHERE
    c.relnamespace = 'public'::pg_catalog.regnamespace AND c.relkind = 'r'
    AND pg_catalog.obj_description(c.oid, 'pg_class') IS NOT NULL
    AND EXISTS (SELECT 1 FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'p')
"""
NO_ROWS = """\
SELECT 'rows' AS check_name, NOT EXISTS (SELECT 1 FROM public.t1) AS passed, 'no row' AS expected, 'any' AS actual
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the project with migrations and checks of its own."""

    directory: Path
    migrations: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """A server, as its superuser reaches it by socket, and a directory for files."""

    directory: Path
    socket: Path
    programs: Path
    versions: dict[str, str]
    quick: bool = False

    def environ(self) -> dict[str, str]:
        """Return the environment of commands: the server by its socket, its own programs first, bytecode allowed."""
        kept = {key: os.environ[key] for key in ("HOME", "LANG", "XDG_CACHE_HOME") if key in os.environ}
        return {
            **kept,
            "PATH": f"{self.programs}:{INVOKE.parent}:{os.environ['PATH']}",
            "PGHOST": str(self.socket),
            "PGUSER": "postgres",
        }

    def url(self, database: str) -> str:
        """Return a database's address."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket))}&port=5432"

    def invoke(self, *words: str, database: str = "", project: Path = ROOT) -> Command:
        """Return a task as a process, on a database if one is named."""
        where = ("--url", self.url(database)) if database else ()
        return Command([INVOKE, *words, *where], self.environ(), project)

    def floor(self, database: str, files: Sequence[Path]) -> Command:
        """Return the least that a rebuild is: drop, create, and psql with the files in one transaction."""
        words = [word for file in files for word in ("-f", str(file))]
        return Command(["sh", "-c", FLOOR, "sh", database, *words], self.environ(), self.directory)

    def peer(self, peer: Peer, database: str, project: Project) -> Command:
        """Return another tool's rebuild of a project's migrations."""
        directory = project.directory / "peers" / peer.name
        if not directory.exists():
            directory.mkdir(parents=True)
            peer.write(directory, [(path.stem, path.read_text()) for path in project.migrations])
        return Command(["sh", "-c", peer.line, database], {**self.environ(), **peer.environ}, directory)

    def project(self, tables: int = 0) -> Project:
        """Return a copy of the project: as it is, or with as many migrations, each a table with a key and a comment."""
        directory = self.directory / f"project{tables}"
        if not directory.exists():
            directory.mkdir()
            # Bytecode included.
            for name in ("dbops", "db"):
                shutil.copytree(ROOT / name, directory / name)
            shutil.copy2(ROOT / "tasks.py", directory)
            if tables:
                _write_tables(directory / "db", tables)
        migrations = (directory / "db" / "migrations").glob("*.sql")
        return Project(directory, tuple(sorted(migrations, key=lambda path: int(path.name.partition("_")[0]))))

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """Return an autocommit connection to a database; a statement may take as long as a command."""
        options = f"-c statement_timeout={LIMIT_SECONDS}s"
        return psycopg.connect(self.url(database), autocommit=True, options=options)


def _write_tables(db: Path, count: int) -> None:
    """Replace the migrations by others that each make a table, and the checks by some of those tables."""
    shutil.rmtree(db)
    for name in ("migrations", "verify/structure", "verify/baseline"):
        (db / name).mkdir(parents=True)
    for n in range(1, count + 1):
        (db / "migrations" / f"{n:04}_create_t{n}.sql").write_text(TABLE.format(n=n))
    (db / "verify" / "structure" / "tables.sql").write_text(TABLES_ARE_THERE.format(count=count))
    (db / "verify" / "baseline" / "rows.sql").write_text(NO_ROWS)


@contextmanager
def server(quick: bool) -> Iterator[Setting]:
    """Start a server as `invoke server.up` does, durable and with its defaults; remove it and all files at the end."""
    directory = Path(tempfile.mkdtemp(prefix="kapman-bench-", dir="/tmp"))
    # PostgreSQL does not run as root: its account must be able to enter.
    directory.chmod(0o755)
    environ = {**os.environ, "KAPMAN_SERVER_DIR": str(directory / "server")}
    command = [str(INVOKE), "server.up", "--format", "json", "--log-level", "WARNING"]
    try:
        try:
            answer = subprocess.run(command, cwd=ROOT, env=environ, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(answer.stdout.splitlines()[-1])
            yield Setting(
                directory,
                directory / "server" / "socket",
                Path(found["programs"]),
                {"PostgreSQL": found["postgresql"], "TimescaleDB": found["timescaledb"]},
                quick,
            )
        finally:
            subprocess.run(
                [str(INVOKE), "server.destroy", "--yes"], cwd=ROOT, env=environ, check=False, capture_output=True
            )
    finally:
        shutil.rmtree(directory, ignore_errors=True)
