"""Every command in README and docs works as it stands there, or says above it why it is not run here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dbops.settings import ROOT, Target
from tests.support import operators, servers
from tests.support.docs_pages import PAGES, blocks, run
from tests.support.servers import TestServer

pytestmark = pytest.mark.slow

WITH_COMMANDS = [page for page in PAGES if any(block.is_run for block in blocks(page))]
RUN = sum(block.commands for page in PAGES for block in blocks(page) if block.is_run)
NOT_RUN = sum(block.commands for page in PAGES for block in blocks(page) if block.mark.startswith("not run: "))


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_commands_of_a_page_end_as_it_says(page: Path, server: TestServer, built: Target, checkout: Path) -> None:
    restored = servers.renamed(built, f"{built.database}_restored")
    environ = {
        "DATABASE_URL": operators.dsn(built),
        "RESTORED_URL": restored.url(),
        "RESTORED": restored.database,
        "KAPMAN_SERVER_DIR": str(checkout.parent / "server"),
    }
    try:
        for block in blocks(page):
            if block.path:
                (checkout / block.path).write_text(block.text)
            if block.is_run:
                run(block, checkout, environ)
    finally:
        servers.drop_quietly(server, restored.database)


def test_most_commands_are_run() -> None:
    print(f"{RUN} commands in {len(WITH_COMMANDS)} pages are run, {NOT_RUN} are marked as not run")  # noqa: T201
    assert RUN >= 20


def test_example_for_tests_of_other_repositories_passes(server: TestServer, tmp_path: Path) -> None:
    (example,) = [block.text for block in blocks(ROOT / "docs" / "testing.md") if block.language == "python"]
    (tmp_path / "test_example.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(tmp_path)]
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    environ = {**outer, "KAPMAN_TEST_DATABASE_URL": operators.dsn(server.target())}
    done = subprocess.run(command, cwd=tmp_path, env=environ, text=True, capture_output=True, timeout=60, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
