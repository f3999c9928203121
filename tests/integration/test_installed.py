"""What another repository gets: the verbs of an installed package, and the collections in its own tasks.py."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from dbops.settings import ROOT, Target
from tests.support import operators
from tests.support.docs_pages import blocks
from tests.support.servers import TestServer

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository that has nothing of this one."""
    where = tmp_path / "other"
    where.mkdir()
    return where


def run(program: Path, *words: str, directory: Path, url: str, code: int = 0) -> str:
    environ = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(directory), "DATABASE_URL": url}
    done = subprocess.run(
        [str(program), *words], cwd=directory, env=environ, text=True, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_verbs_of_an_installed_package_work_in_any_directory(
    server: TestServer, target: Target, programs: Path, repository: Path
) -> None:
    kapman, url = programs / "kapman", server.url(target.database)
    said = run(kapman, "db.rebuild", directory=repository, url=url)
    assert "`kapman db.verify`" in said
    run(kapman, "db.verify", "--empty", directory=repository, url=url)
    run(kapman, "db.status", "--require-current", directory=repository, url=url)
    run(kapman, "db.drift", directory=repository, url=url)
    assert "nothing to apply" in run(kapman, "db.migrate", directory=repository, url=url)
    server.execute("CREATE TABLE extra (a integer)", target.database)
    assert "extra" in run(kapman, "db.verify", directory=repository, url=url, code=1)
    assert list(repository.iterdir()) == []


def test_lint_of_an_installed_package_says_what_it_could_not_look_at(programs: Path, repository: Path) -> None:
    said = run(programs / "kapman", "db.lint", directory=repository, url="postgresql://127.0.0.1:1/d", code=1)
    assert "sqlfluff cannot be run, so its rules were not looked at" in said
    assert "0 findings in" in said


def test_settings_file_of_an_installed_package_is_that_of_the_current_directory(
    programs: Path, repository: Path
) -> None:
    (repository / ".env").write_text("KAPMAN_ENV=staging\n")
    said = run(programs / "kapman", "db.status", directory=repository, url="postgresql://127.0.0.1:1/d", code=2)
    assert 'unknown environment "staging"\n  --> .env:1\n' in said


@pytest.mark.parametrize(
    "words", ["db.new add_x", "db.new --renumber 0001_x.sql", "db.fingerprint --write", "db.diagram"]
)
def test_what_writes_into_a_checkout_says_that_there_is_none(
    server: TestServer, built: Target, programs: Path, repository: Path, words: str
) -> None:
    before = sorted(str(path) for path in programs.parent.rglob("*.sql"))
    url = server.url(built.database)
    said = run(programs / "kapman", *words.split(), directory=repository, url=url, code=2)
    assert "there is no repository to write into" in said
    assert sorted(str(path) for path in programs.parent.rglob("*.sql")) == before


def test_collections_work_in_the_tasks_of_another_repository(
    server: TestServer, target: Target, programs: Path, repository: Path
) -> None:
    [lines] = [block.text for block in blocks(ROOT / "README.md") if "from dbops.tasks import" in block.text]
    ours = "from invoke import task\n\n\n@task\ndef build(context, fast=False):\n    print('built', fast)\n\n\n"
    (repository / "tasks.py").write_text(f"{ours}{lines}ns.add_task(build)\n")
    invoke, url = programs / "invoke", server.url(target.database)
    listed = run(invoke, "--list", directory=repository, url=url)
    assert len(re.findall(r"^  (?:build|db\.rebuild|server\.up)\b", listed, re.MULTILINE)) == 3
    words = ("build", "--fast", "db.rebuild", "db.verify", "db.verify")
    said = run(invoke, *words, directory=repository, url=url)
    assert said.count("built True") == 1
    assert len(re.findall("checks? passed in", said)) == 2
    assert operators.exists(server, target.database)
    said = run(invoke, "db.status", "--url", f"{url}x", "db.drop", "--url", url, directory=repository, url=url, code=2)
    assert "but two are named" in said
    assert "dry run" in run(invoke, "--dry", "db.drop", directory=repository, url=url, code=2)
    assert operators.exists(server, target.database)
    assert "error: unknown environment" in run(invoke, "db.status", "-e", "x", directory=repository, url=url, code=2)


def test_collections_under_another_name_are_advised_by_that_name(programs: Path, repository: Path) -> None:
    (repository / "tasks.py").write_text(
        "from invoke import Collection\nfrom dbops.tasks import db\nns = Collection(kapman=db)\n"
    )
    url = "postgresql://127.0.0.1:1/d"
    said = run(programs / "invoke", "kapman.status", "--env", "test", directory=repository, url=url, code=3)
    assert "`invoke server.up`" in said or "`invoke" not in said
