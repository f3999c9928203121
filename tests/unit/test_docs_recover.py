"""docs/recover.md explains each error that the code can raise, and no other."""

from __future__ import annotations

import re

from dbops import cli, postgres
from dbops.migrations import errors
from dbops.settings import ROOT
from tests.support.error_texts import ANY, texts

PAGE = (ROOT / "docs" / "recover.md").read_text(encoding="utf-8")
# What a server says is not in the code: it is only known what it is recognised by.
SERVER = "The server cannot be reached: exit code 3"
# Texts that the driver, or another one of the texts above, supplies as a whole.
PASSED_ON = {
    "dbops/database/consent.py",
    "dbops/database/rebuild.py",
    "dbops/database/wait.py",
    "dbops/migrations/files.py",
    "dbops/migrations/ledger.py",
    "dbops/migrations/reach.py",
    "dbops/postgres/errors.py",
    "dbops/server/packages.py",
    "dbops/settings/options.py",
}


def rows(section: str = "") -> list[str]:
    """Return the messages in the tables of the page, or of one of its sections."""
    parts = re.split(r"^###? ", PAGE, flags=re.MULTILINE)
    chosen = "\n".join(part for part in parts if not section or part.startswith(section))
    return re.findall(r"^\| `([^`]+)` \|", chosen, re.MULTILINE)


def plain(text: str) -> str:
    return re.sub(f"{ANY}+", ANY, text)


def test_each_message_is_explained_once() -> None:
    assert sorted(rows()) == sorted(set(rows()))


def test_each_error_of_the_code_has_a_row() -> None:
    missing = [
        f"{text.where}: {plain(text.text)}" for text in texts() if plain(text.text) not in {ANY, "None", "", *rows()}
    ]
    assert not missing, "add to docs/recover.md a row for:\n" + "\n".join(missing)


def test_each_row_belongs_to_an_error_of_the_code() -> None:
    known = {plain(text.text) for text in texts()}
    command_line = (ROOT / "dbops" / "cli.py").read_text()
    gone = [
        row
        for row in rows()
        if row not in known
        and not any(re.search(pattern, row) for pattern, _ in postgres.HINTS_BY_MESSAGE)
        and not all(part in command_line for part in row.split(ANY))
    ]
    assert gone == ["cannot connect: …"], "no error of the code has these texts of docs/recover.md"


def test_only_known_modules_pass_on_whole_texts() -> None:
    assert {text.where.split(":")[0] for text in texts() if plain(text.text) == ANY} <= PASSED_ON


def test_each_answer_of_a_server_that_has_a_hint_has_a_row() -> None:
    answers = rows(SERVER)
    assert [
        pattern for pattern, _ in postgres.HINTS_BY_MESSAGE if not any(re.search(pattern, a) for a in answers)
    ] == []


def test_each_sqlstate_with_advice_has_a_row() -> None:
    assert set(re.findall(r"^\| ([0-9A-Z]{5}) \|", PAGE, re.MULTILINE)) == set(errors._HINTS)


def test_tasks_that_are_named_exist() -> None:
    import tasks

    named = set(re.findall(r"`invoke (\w+\.\w+)", PAGE))
    assert named <= set(tasks.namespace.task_names), cli
