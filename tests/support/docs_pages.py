"""The commands and files in README and docs: which a test runs, and which say why it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbops.settings import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCED = re.compile(
    r"(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_PATH = re.compile(r"-- (?P<path>db/[\w/]+\.sql)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """One code block of a page; `line` is where it begins, `mark` the comment above it, `path` the file it is."""

    page: Path
    line: int
    language: str
    text: str
    mark: str
    path: str

    @property
    def commands(self) -> int:
        """Return how many commands a block of shell commands has."""
        return sum(bool(line.strip()) and not line.startswith("#") for line in self.text.splitlines())

    @property
    def is_run(self) -> bool:
        """Return whether a test runs it."""
        return self.language == "sh" and not self.mark.startswith("not run: ")

    @property
    def exit_code(self) -> int:
        """Return the exit code that the page promises: 0 unless the comment above says another one."""
        code = re.fullmatch(r"exit code: (\d+)", self.mark)
        return int(code[1]) if code else 0


def run(block: Block, directory: Path, environ: Mapping[str, str]) -> str:
    """Run a block of shell commands as a reader would, and return what it printed; assert that it ends as it says."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    around = {**os.environ, **environ, "PATH": path}
    done = subprocess.run(command, cwd=directory, env=around, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == block.exit_code, f"{block.page.name}:{block.line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCED.finditer(text):
        path = _PATH.match(match["text"])
        line = text.count("\n", 0, match.start("text"))
        found.append(
            Block(page, line, match["language"], match["text"], match["mark"] or "", path["path"] if path else "")
        )
    return found
