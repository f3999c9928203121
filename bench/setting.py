"""Where measurements happen: a server of their own, durable, and copies of the project with other files."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from bench.measure import LIMIT_SECONDS, Command, Contender
from bench.peers import Peer
from dbops.server import Embedded, destroy, status, up
from dbops.server.directory import Layout
from dbops.settings import ROOT
from tests.support.servers import TestServer

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
class Setting:
    """A server, the directory of its programs, its versions, and a directory for files; the tools to compare with.

    `root` is the checkout that is measured, `beside` a setting with another one, if there is one to compare with.
    """

    directory: Path
    server: TestServer
    programs: Path
    versions: dict[str, str]
    peers: Sequence[Peer]
    quick: bool
    root: Path = ROOT
    beside: Setting | None = None

    @property
    def invoke_program(self) -> Path:
        """Return the Invoke that runs the tasks of the checkout."""
        return INVOKE if self.root == ROOT else self.root / ".venv" / "bin" / "invoke"

    def rounds(self, many: int) -> int:
        """Return how many runs of each contender count: so many, or a few where it is to be quick."""
        return max(2, many // 3) if self.quick else many

    def environ(self) -> dict[str, str]:
        """Return the environment of commands: the server, its own programs first, bytecode allowed."""
        kept = {key: os.environ[key] for key in ("HOME", "LANG", "XDG_CACHE_HOME") if key in os.environ}
        path = f"{self.programs}:{INVOKE.parent}:{os.environ['PATH']}"
        # dbmate refuses to run with PGGSSENCMODE.
        given = {f"PG{k.upper()}": value for k, value in self.server.parameters.items() if k != "gssencmode"}
        return {**kept, "PATH": path, **given}

    def invoke(self, *words: str, database: str = "", project: Path | None = None) -> Command:
        """Return a task as a process, on a database if one is named."""
        where = ("--url", self.server.url(database)) if database else ()
        return Command([self.invoke_program, *words, *where], self.environ(), project or self.root)

    def contenders(self, *words: str, database: str = "", tables: int | None = None) -> dict[str, Contender]:
        """Return a task as "ours" and, if there is another checkout, as "beside": in a project with so many tables."""
        project = None if tables is None else self.project(tables)
        ours: dict[str, Contender] = {"ours": self.invoke(*words, database=database, project=project)}
        if not self.beside:
            return ours
        other = f"{database}_beside" if database else ""
        return {**ours, "beside": self.beside.contenders(*words, database=other, tables=tables)["ours"]}

    def floor(self, database: str, files: Sequence[Path]) -> Command:
        """Return the least that a rebuild is: drop, create, and psql with the files in one transaction."""
        words = [word for file in files for word in ("-f", str(file))]
        return Command(["sh", "-c", FLOOR, "sh", database, *words], self.environ(), self.directory)

    def peer(self, peer: Peer, database: str, project: Path) -> Command:
        """Return another tool's rebuild of a project's migrations."""
        directory = project / "peers" / peer.name
        if not directory.exists():
            directory.mkdir(parents=True)
            peer.write(directory, [(path.stem, path.read_text()) for path in migrations(project)])
        return Command(["sh", "-c", peer.line, database], self.environ(), directory)

    def project(self, tables: int = 0) -> Path:
        """Return a copy of the project: as it is, or with as many migrations, each a table with a key and a comment."""
        directory = self.directory / f"{'project' if self.root == ROOT else 'beside'}{tables}"
        if directory.exists():
            return directory
        directory.mkdir()
        # Bytecode included.
        for name in ("dbops", "db"):
            shutil.copytree(self.root / name, directory / name)
        shutil.copy2(self.root / "tasks.py", directory)
        if tables:
            db = directory / "db"
            shutil.rmtree(db)
            for name in ("migrations", "verify/structure", "verify/baseline"):
                (db / name).mkdir(parents=True)
            for n in range(1, tables + 1):
                (db / "migrations" / f"{n:04}_create_t{n}.sql").write_text(TABLE.format(n=n))
            (db / "verify" / "structure" / "tables.sql").write_text(TABLES_ARE_THERE.format(count=tables))
            (db / "verify" / "baseline" / "rows.sql").write_text(NO_ROWS)
            self.invoke("db.fingerprint", "--write", database="postgres", project=directory)()
        return directory

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """Return an autocommit connection to a database; a statement may take as long as a command."""
        options = f"-c statement_timeout={LIMIT_SECONDS}s"
        return psycopg.connect(self.server.url(database), autocommit=True, options=options)


def migrations(project: Path) -> list[Path]:
    """Return the migrations of a project in order."""
    files = (project / "db" / "migrations").glob("*.sql")
    return sorted(files, key=lambda path: int(path.name.partition("_")[0]))


@contextmanager
def started(peers: Sequence[Peer], quick: bool, beside: Path | None = None) -> Iterator[Setting]:
    """Start a server as `invoke server.up` does, durable and with its defaults; remove it and all files at the end.

    `beside` is another checkout, with an environment of its own in `.venv`.
    """
    with tempfile.TemporaryDirectory(prefix="kapman-bench-", dir="/tmp", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        # PostgreSQL does not run as root: its account must be able to enter.
        directory.chmod(0o755)
        embedded = Embedded(Layout(directory / "server"), os.environ["PATH"])
        try:
            parameters = {"host": str(embedded.layout.socket), "port": str(up(embedded).port), "user": "postgres"}
            installation = status(embedded).installation
            assert installation
            versions = {"PostgreSQL": installation.version, "TimescaleDB": installation.timescaledb}
            setting = Setting(directory, TestServer(parameters), installation.binaries, versions, peers, quick)
            yield replace(setting, beside=replace(setting, root=beside) if beside else None)
        finally:
            destroy(embedded)
