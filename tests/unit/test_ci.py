"""What continuous integration runs is what the README tells a reader to type, and skips nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.parser import Parser

import tasks
from dbops.settings import ROOT
from tests.support.docs_pages import blocks


def test_ci_runs_the_commands_of_the_readme_and_the_slow_tests() -> None:
    commands = re.findall(r"^(pip install .*?) +#", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("pip install")] == commands
    assert "python3 -m uv run nox -s slow" in lines


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_skipped_test_fails_in_ci_only(tmp_path: Path, ci: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_sessionfinish  # noqa: F401\n")
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it(): pytest.skip()\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", str(tmp_path)]
    environ = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, "1 skipped" in done.stdout) == (code, True), done.stdout


def actionlint(*arguments: str, workflow: str | None = None) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "actionlint"
    command = [str(program), "-no-color", "-shellcheck=", "-pyflakes=", *arguments]
    return subprocess.run(command, cwd=ROOT, input=workflow, capture_output=True, text=True, check=False)


def test_workflow_has_no_findings_of_actionlint() -> None:
    done = actionlint()
    assert (done.returncode, done.stdout) == (0, "")


def test_workflow_of_another_repository_has_no_findings_of_actionlint() -> None:
    [workflow, _] = [block.text for block in blocks(ROOT / "docs" / "ci.md") if block.language == "yaml"]
    done = actionlint("-", workflow=workflow)
    assert (done.returncode, done.stdout) == (0, "")
    commands = re.findall(r"run: kapman (.*)", workflow)
    assert len(commands) >= 4
    for command in commands:
        Parser(contexts=tasks.namespace.to_contexts()).parse_argv(command.split())
    assert actionlint("-", workflow=workflow.replace("  tests:", "  tests:\n    need: [x]")).returncode == 1


@pytest.mark.parametrize(
    ("right", "wrong", "finding"),
    [
        ("${{ github.ref }}", "${{ github.rev }}", 'property "rev" is not defined'),
        ("pull_request:", "pull_requests:", 'unknown Webhook event "pull_requests"'),
        ("timeout-minutes: 45", "timeout: 45", 'unexpected key "timeout"'),
    ],
)
def test_actionlint_finds_an_error_in_the_workflow(right: str, wrong: str, finding: str) -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert right in workflow
    done = actionlint("-", workflow=workflow.replace(right, wrong))
    assert done.returncode == 1
    assert finding in done.stdout
