"""Check SQL files with every linter that is installed: the runner's own refusals, our rules, sqlfluff and squawk."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dbops.errors import UsageError
from dbops.lint import schema, squawk, unchanged
from dbops.lint.findings import SYNTAX_ERROR, Finding, settle
from dbops.lint.rules import RULES, File
from dbops.migrations import files, released
from dbops.migrations.files import label
from dbops.migrations.sqlsplit import location_at
from dbops.settings import ROOT

# A check's four columns have a fixed order: check_name, passed, expected, actual.
NOT_FOR_CHECKS = "structure.column_order"
_INSTALL = "In a checkout, install what pyproject.toml names under `lint`, as `uv sync --group lint` does."


@dataclass(frozen=True, slots=True)
class LintResult:
    """What was found; `released` says what counts as released, and `notes` what was not looked at.

    `complete` is whether all was looked at that must be: in CI, what is not known is a failure.
    """

    files: int
    findings: tuple[Finding, ...]
    released: str
    notes: tuple[str, ...]
    complete: bool

    @property
    def passed(self) -> bool:
        """Return whether nothing was found, and all was looked at."""
        return self.complete and not self.findings


def check(paths: Iterable[Path], directory: Path, *, partly: bool = False) -> LintResult:
    """Check SQL files and directories, and that the released files of a directory of migrations are unchanged.

    `partly` goes on without sqlfluff and squawk where they are not installed; the result is not complete then. Raises
    UsageError for a path without SQL, and where a linter is missing or fails.
    """
    sources = [file for path in paths for file in _sql_files(path)]
    found, notes = find(sources, partly=partly)
    complete = not absent()
    description = ""
    try:
        release = released.find(directory)
        found += unchanged.check(directory, release)
        description = f"{len(release.names)}, {release.description}"
    except released.UnknownHistoryError as problem:
        complete = complete and not os.environ.get("CI")
        notes.append(f"it is not known whether released migrations are unchanged: {problem}")
    return LintResult(len(sources), tuple(found), description, tuple(notes), complete)


def find(sources: list[Path], *, partly: bool = False) -> tuple[list[Finding], list[str]]:
    """Return what is found in files and no waiver allows, by file and position; and notes on what was not looked at."""
    found: defaultdict[Path, list[Finding]] = defaultdict(list)
    texts: dict[Path, str] = {}
    notes: list[str] = []
    for file in sources:
        try:
            if not file.is_file():
                raise OSError("it is not a regular file")
            texts[file] = files.normalise(file.read_bytes())
        except (OSError, UnicodeDecodeError) as error:
            found[file].append(Finding(label(file), 1, 1, "unreadable", f"The file cannot be read: {error}."))
    for file, finding in _refused_by_the_runner(texts):
        found[file].append(finding)
    for file, text in texts.items():
        found[file] += own(file, text) if schema.number(file) else []
    missing = absent()
    if missing and not partly:
        raise UsageError(f"{' and '.join(missing)} cannot be run", where="the linters", hint=_INSTALL)
    notes += [
        f"{name} cannot be run, so its rules were not looked at: {_INSTALL[0].lower()}{_INSTALL[1:-1]}"
        for name in missing
    ]
    unparsed = list(_sqlfluff(texts, found)) if "sqlfluff" not in missing else []
    if "squawk" not in missing:
        # Each of the two knows valid SQL that the other cannot parse: an error is what neither can.
        fluffed = {file for file, _ in unparsed}
        for file, finding in squawk.check(texts):
            if finding.rule == SYNTAX_ERROR and file not in fluffed and "sqlfluff" not in missing:
                unparsed.append((file, f"squawk cannot parse {finding.path}:{finding.line}, and does not look at it"))
            else:
                found[file].append(finding)
        invalid = {file for file in texts for finding in found[file] if finding.rule == SYNTAX_ERROR}
        notes += [note for file, note in dict.fromkeys(unparsed) if file not in invalid]
    settled = [
        item
        for file in dict.fromkeys([*sources, *found])
        for item in settle(label(file), texts.get(file, ""), found[file])
    ]
    return settled, notes


def absent() -> list[str]:
    """Return the linters that are not installed, or have no configuration here, as beside an installed package."""
    here = {
        "sqlfluff": find_spec("sqlfluff") and (ROOT / ".sqlfluff").is_file(),
        "squawk": squawk.program() and (ROOT / ".squawk.toml").is_file(),
    }
    return [name for name, there in here.items() if not there]


def own(path: Path, text: str) -> Iterator[Finding]:
    """Yield what our own rules find in a migration."""
    file = File.at(path, text)
    live = schema.number(path) > schema.BASELINE
    for rule in RULES:
        for hit in rule.find(file) if live or not rule.live else ():
            place = location_at(text, hit.offset, label(path))
            yield Finding(
                place.path, place.line, place.column, rule.code, hit.why or rule.why, hit.instead or rule.instead
            )


def _sql_files(path: Path) -> list[Path]:
    found = sorted(path.rglob("*.sql")) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise UsageError(
            f"there is no SQL in {label(path)}", where=label(path), hint="Name a file or a directory with SQL."
        )
    return found


def _refused_by_the_runner(texts: dict[Path, str]) -> Iterator[tuple[Path, Finding]]:
    """Yield what `invoke db.migrate` would refuse, by itself, in files that are migrations, and what lies beside them.

    What is not named `.sql` is never given to a linter: it may be a misspelt migration.
    """
    for directory in {file.parent for file in texts if schema.number(file)}:
        by_place = {file.resolve(): file for file in texts}
        found, problems = files.examine(directory)
        for path, problem in problems or files.order_problems(found):
            file = by_place.get(path.resolve(), path)
            if file in texts or path.suffix != ".sql":
                line, column = (problem.location.line, problem.location.column) if problem.location else (1, 1)
                why = f"`invoke db.migrate` refuses this file: it {problem}."
                yield file, Finding(label(file), line, column, "migration", why)


def _sqlfluff(texts: dict[Path, str], found: dict[Path, list[Finding]]) -> Iterator[tuple[Path, str]]:
    """Add what sqlfluff finds, under this repository's configuration alone; yield what it cannot parse."""
    from sqlfluff.core import FluffConfig, Linter

    text = (ROOT / ".sqlfluff").read_text(encoding="utf-8")
    linters = {
        True: Linter(FluffConfig.from_string(text)),
        False: Linter(FluffConfig.from_string(text, overrides={"exclude_rules": NOT_FOR_CHECKS})),
    }
    for file, sql in texts.items():
        for violation in linters[bool(schema.number(file))].lint_string(sql, fname=str(file)).get_violations():
            rule, line = violation.rule_code(), violation.line_no
            if rule == "PRS":
                yield file, f"sqlfluff cannot parse {label(file)}:{line}: its rules on style do not look at it"
            else:
                why = f"{violation.desc()} [{violation.rule_name()}]"
                found[file].append(Finding(label(file), line, violation.line_pos, rule, why))
