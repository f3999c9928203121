"""What the docs show of the tool, taken from real runs on a terminal of 80 columns: as SVG and as plain text.

`nox -s screens` writes docs/screens; a test takes the screens again and compares what does not vary.
"""

from __future__ import annotations

import html
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pexpect
import psycopg
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from dbops.settings import ROOT
from tests.support import servers
from tests.support.servers import TestServer

DIRECTORY = ROOT / "docs" / "screens"
COLUMNS = 80
DATABASE = "kapman_dev"
# The socket's directory as it is shown, and what has the same length and can be made on any machine.
SHOWN = "/var/run/postgresql"
PREFIX = "/tmp/kapman-"
ROWS = """
INSERT INTO tickers (symbol, name) SELECT 'T' || n, 'Company ' || n FROM generate_series(1, 40) AS n;
INSERT INTO ohlcv (ticker_id, date, open, high, low, close, volume)
SELECT t.id, date '2025-01-01' + n, 10, 12, 9, 11, 1000 FROM tickers AS t, generate_series(0, 249) AS n
"""
CHANGES = """
DROP INDEX ohlcv_date_idx;
ALTER TABLE tickers ALTER COLUMN sector TYPE text;
CREATE TABLE tickers_backup AS SELECT * FROM tickers
"""
MIGRATION = """\
-- Why:   splits adjust historical prices.
-- Needs: 0002.
-- Locks: SHARE ROW EXCLUSIVE on public.tickers.

CREATE TABLE public.splits (
    ticker_id uuid NOT NULL REFERENCES public.tickers (id),
    date date NOT NULL,
    ratio numerik(12, 6) NOT NULL
);
"""
_CONTROL = re.compile(
    r"\x1b\[(?P<number>\??\d*)(?P<letter>[A-HJKhl])|(?P<return>\r)|(?P<feed>\n)|(?P<text>(?:\x1b\[[\d;]*m|[^\x1b\r\n])+)"
)


@dataclass(frozen=True, slots=True)
class Screen:
    """A command, how it ended, and the lines that it left on the terminal, with their colours."""

    name: str
    command: str
    exit_code: int
    lines: tuple[str, ...]

    def text(self) -> str:
        """Return the screen without colours."""
        return self._drawn().export_text(clear=False)

    def svg(self) -> str:
        """Return the screen as a picture that loads nothing from elsewhere."""
        code_format = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        title = f"{self.command}, exit code {self.exit_code}"
        return self._drawn().export_svg(title=title, code_format=code_format, unique_id=f"screen-{self.name}")

    def _drawn(self) -> Console:
        console = Console(file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor")
        for line in (f"$ {self.command}", *self.lines):
            text = Text.from_ansi(line)
            # As a terminal does, wherever a word ends.
            for part in text.divide(range(COLUMNS, len(text), COLUMNS)):
                console.print(part, soft_wrap=True, highlight=False)
        return console


def steady(text: str) -> str:
    """Return a screen's text without what varies between runs and servers: times, sizes, versions, counts of checks."""
    text = html.unescape(re.sub(r"<[^>]*>", " ", text)).replace("\xa0", " ")
    text = re.sub(r"kapman_scratch_[0-9a-f]{12}", "SCRATCH", text)
    text = re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?", "DATE", text)
    text = re.sub(r"(PostgreSQL|TimescaleDB) \d[\w.]*", r"\1 VERSION", text)
    text = re.sub(r"\b\d+(\.\d+)?\s+(s|ms|bytes|kB|MB|GB)\b|\b\d+\.\d\d\b", "NUMBER", text)
    text = re.sub(r"\b\d+ (sessions?|conditions|checks|passed)\b|\b\d+ of \d+ checks", "COUNT", text)
    return re.sub(r"\s+", "", text)


def take() -> list[Screen]:
    """Run the commands on a server of their own and return their screens."""
    with servers.throwaway_server() as server, _shown_address(server) as host, _copy() as repository:
        environ = {
            **{name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "DATABASE_URL": f"postgresql://postgres@/{DATABASE}?host={host}&port=5432",
        }

        def run(name: str, command: str, answer: str = "") -> Screen:
            child = pexpect.spawn(
                "/bin/bash", ["-c", f"stty -echo; {command}" if not answer else command],
                cwd=str(repository), env=environ, dimensions=(200, COLUMNS), encoding="utf-8", timeout=90,
            )  # fmt: skip
            seen = io.StringIO()
            child.logfile_read = seen
            if answer:
                child.expect_exact("): ")
                child.sendline(answer)
            child.expect(pexpect.EOF)
            child.close()
            lines = tuple(line.replace(host, SHOWN) for line in emulated(seen.getvalue()))
            return Screen(name, command, child.exitstatus, lines)

        screens = [run("rebuild", "invoke db.rebuild")]
        _execute(server, ROWS)
        # In a session of its own: one that has just inserted would count its rows twice.
        _execute(server, "ANALYZE")
        screens.append(run("consent", "invoke db.rebuild", DATABASE))
        (repository / "db" / "migrations" / "0007_add_splits_table.sql").write_text(MIGRATION)
        screens.append(run("migration-error", "invoke db.migrate"))
        (repository / "db" / "migrations" / "0007_add_splits_table.sql").unlink()
        _execute(server, CHANGES)
        screens.append(run("verify", "invoke db.verify"))
        screens.append(run("drift", "invoke db.drift"))
        return screens


def emulated(output: str) -> list[str]:
    """Return the lines that are left on a terminal: of control sequences, those that rich's live display uses."""
    lines, row = [""], 0
    for match in _CONTROL.finditer(output):
        if match["feed"]:
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif match["text"]:
            lines[row] += match["text"]
        elif match["letter"] == "A":
            row = max(0, row - int(match["number"] or 1))
        elif match["letter"] == "K":
            lines[row] = ""
    return [line.rstrip() for line in lines if line.strip()]


@contextmanager
def _shown_address(server: TestServer) -> Iterator[str]:
    """Yield a directory whose path has the length of the one that is shown, with the server's socket on port 5432."""
    directory = Path(f"{PREFIX}{os.urandom(8).hex()[: len(SHOWN) - len(PREFIX)]}")
    directory.mkdir()
    try:
        parameters = server.parameters
        (directory / ".s.PGSQL.5432").symlink_to(Path(parameters["host"]) / f".s.PGSQL.{parameters['port']}")
        yield str(directory)
    finally:
        shutil.rmtree(directory)


@contextmanager
def _copy() -> Iterator[Path]:
    """Yield a copy of what tasks need of the repository, to which migrations can be added."""
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory) / "repository"
        for name in ("db", "dbops"):
            shutil.copytree(ROOT / name, where / name)
        shutil.copy(ROOT / "tasks.py", where)
        yield where


def _execute(server: TestServer, statements: str) -> None:
    with psycopg.connect(**{**server.parameters, "dbname": DATABASE}, autocommit=True) as connection:  # type: ignore[arg-type]
        for statement in statements.split(";"):
            connection.execute(statement.encode())


def main() -> None:
    """Write the screens that differ from those that are there."""
    DIRECTORY.mkdir(exist_ok=True)
    for screen in take():
        for suffix, content in ((".txt", screen.text()), (".svg", screen.svg())):
            path = DIRECTORY / f"{screen.name}{suffix}"
            if not path.exists() or steady(path.read_text(encoding="utf-8")) != steady(content):
                path.write_text(content, encoding="utf-8")
                print(f"written: {path.relative_to(ROOT)}")  # noqa: T201


if __name__ == "__main__":
    main()
