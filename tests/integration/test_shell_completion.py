"""Completion works in each shell that docs/shell-completion.md names, with the line that it gives.

No server is needed; the shells are: `nox -s integration` installs them as root.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pexpect
import pytest

from dbops.settings import ROOT

pytestmark = pytest.mark.slow

# A shell's start-up file, and what it holds before the line from the docs.
SHELLS = {
    "bash": (".bashrc", "bind 'set bell-style none'; PS1='ready> '\n"),
    "zsh": (".zshrc", "PS1='ready> '\n"),
    "fish": (".config/fish/config.fish", "function fish_prompt; echo -n 'ready> '; end\n"),
}


@pytest.mark.parametrize(("name", "program"), [*((name, "invoke") for name in SHELLS), ("bash", "kapman")])
def test_tab_key_completes_tasks_and_options_in_a_fresh_shell(name: str, program: str, tmp_path: Path) -> None:
    file, before = SHELLS[name]
    if not shutil.which(name) and "CI" not in os.environ:
        pytest.skip(f"there is no {name} on this machine")
    page = (ROOT / "docs" / "shell-completion.md").read_text()
    (line,) = re.findall(rf"^\| {name} \| `~/{re.escape(file)}` \| `(.+)` \|$", page, re.MULTILINE)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    # Where this directory is missing, fish reads all manual pages of the machine at its first start.
    (tmp_path / ".local" / "share" / "fish" / "generated_completions").mkdir(parents=True)
    (tmp_path / file).write_text(f"{before}{line.replace('invoke', program)}\n".replace("\\|", "|"))
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(tmp_path)}
    with pexpect.spawn(name, ["-i"], cwd=ROOT, env=environ, encoding="utf-8", timeout=60) as shell:
        shell.expect_exact("ready> ")
        shell.send(f"{program} db.rebu\t")
        shell.expect_exact("db.rebuild")
        shell.send("--chec\t")
        shell.expect_exact("--check")
