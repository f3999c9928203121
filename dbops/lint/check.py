"""Check SQL files with every linter that is installed: the runner's own refusals, our rules, sqlfluff and squawk."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

from dbops.errors import UsageError
from dbops.lint import schema, squawk
from dbops.lint.findings import SYNTAX_ERROR, Finding, settle
from dbops.lint.rules import RULES, File
from dbops.migrations import files, released
from dbops.migrations.released import Release
from dbops.migrations.sqlsplit import location_at
from dbops.settings import ROOT, shown_path

_INSTALL = "In a checkout, install what pyproject.toml names under `lint`, as `uv sync --group lint` does."

NEXT = "Restore it, and write the change as a new migration: `invoke db.new NAME`."


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


def lint(paths: Iterable[Path], directory: Path, *, partly: bool = False) -> LintResult:
    """Check SQL files and directories, and that the released files of a directory of migrations are unchanged.

    `partly` goes on without sqlfluff and squawk where they are not installed; the result is not complete then. Raises
    UsageError for a path without SQL, and where a linter is missing or fails.
    """
    sources: list[Path] = []
    for path in paths:
        sql = sorted(path.rglob("*.sql")) if path.is_dir() else [path] if path.is_file() else []
        if not sql:
            raise UsageError(
                f"there is no SQL in {shown_path(path)}",
                where=shown_path(path),
                hint="Name a file or a directory with SQL.",
            )
        sources += sql
    found, notes = lint_files(sources, partly=partly)
    complete = not absent()
    description = ""
    try:
        release = released.find(directory)
        found += changes(directory, release)
        description = f"{len(release.names)}, {release.description}"
    except released.UnknownHistoryError as problem:
        complete = complete and not os.environ.get("CI")
        notes.append(f"it is not known whether released migrations are unchanged: {problem}")
    return LintResult(len(sources), tuple(found), description, tuple(notes), complete)


def lint_files(sources: list[Path], *, partly: bool = False) -> tuple[list[Finding], list[str]]:
    """Return what is found in files and no waiver allows, by file and position; and notes on what was not looked at."""
    missing = absent()
    if missing and not partly:
        raise UsageError(f"{' and '.join(missing)} cannot be run", where="the linters", hint=_INSTALL)
    notes = [
        f"{name} cannot be run, so its rules were not looked at: {_INSTALL[0].lower()}{_INSTALL[1:-1]}"
        for name in missing
    ]
    found: defaultdict[Path, list[Finding]] = defaultdict(list)
    texts: dict[Path, str] = {}
    for file in sources:
        try:
            texts[file] = files.read_sql(file)
        except files.InvalidFileError as problem:
            line, column = (problem.location.line, problem.location.column) if problem.location else (1, 1)
            found[file].append(Finding(shown_path(file), line, column, "unreadable", f"The file {problem}."))
    for file, finding in (*refused_by_the_runner(texts), *own_findings(texts)):
        found[file].append(finding)
    by_linter = {
        "sqlfluff": list(sqlfluff_findings(texts)) if "sqlfluff" not in missing else [],
        "squawk": list(squawk.findings(texts)) if "squawk" not in missing else [],
    }
    # Each of the two knows valid SQL that the other cannot parse: an error is what neither can.
    unparsed = {
        name: {file for file, finding in findings if finding.rule == SYNTAX_ERROR}
        for name, findings in by_linter.items()
    }
    invalid = unparsed["squawk"] if "sqlfluff" in missing else unparsed["squawk"] & unparsed["sqlfluff"]
    for name, findings in by_linter.items():
        for file, finding in findings:
            if finding.rule != SYNTAX_ERROR or (name == "squawk" and file in invalid):
                found[file].append(finding)
            elif file not in invalid:
                notes.append(f"{name} cannot parse {finding.path}:{finding.line}: its rules do not look at it")
    settled = [
        item
        for file in dict.fromkeys([*sources, *found])
        for item in settle(shown_path(file), texts.get(file, ""), found[file])
    ]
    return settled, list(dict.fromkeys(notes))


def absent() -> list[str]:
    """Return the linters that are not installed, or have no configuration here, as beside an installed package."""
    here = {
        "sqlfluff": find_spec("sqlfluff") and (ROOT / ".sqlfluff").is_file(),
        "squawk": squawk.program() and (ROOT / ".squawk.toml").is_file(),
    }
    return [name for name, there in here.items() if not there]


def refused_by_the_runner(texts: Mapping[Path, str]) -> Iterator[tuple[Path, Finding]]:
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
                yield file, Finding(shown_path(file), line, column, "migration", why)


def own_findings(texts: Mapping[Path, str]) -> Iterator[tuple[Path, Finding]]:
    """Yield what our own rules find in files that are migrations."""
    for path, text in texts.items():
        file, number = File(text, schema.before(path)), schema.number(path)
        for rule in RULES if number > schema.BASELINE else [rule for rule in RULES if number and not rule.live]:
            for hit in rule.find(file):
                place = location_at(text, hit.offset, shown_path(path))
                why, instead = hit.why or rule.why, hit.instead or rule.instead
                yield path, Finding(place.path, place.line, place.column, rule.code, why, instead)


def changes(directory: Path, release: Release) -> Iterator[Finding]:
    """Yield what contradicts that released files are unchanged and new ones are numbered above them."""
    here = {path.name: path for path in directory.glob("*.sql")}
    new = {name: path for name, path in here.items() if name not in release.names}
    for name in released.changed_names(directory, release):
        shown = shown_path(directory / name)
        before = _normalised(released.content(directory, release, name))
        if name in here:
            after = _normalised(here[name].read_bytes())
            if after != before:
                why = f"This file is released ({release.description}) and was edited; comments count."
                old, new_lines = before.splitlines(), after.splitlines()
                same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new_lines, strict=False)))
                yield Finding(shown, max(1, min(same + 1, len(new_lines))), 1, "released-edited", why, NEXT)
        else:
            copy = next((n for n, path in new.items() if _normalised(path.read_bytes()) == before), "")
            what = f"was renamed to {copy}" if copy else "was removed"
            yield Finding(
                shown, 1, 1, "released-removed", f"{name} is released ({release.description}) and {what}.", NEXT
            )
    highest = max((schema.number(Path(name)) for name in release.names), default=0)
    for name, path in sorted(new.items()):
        if 0 < schema.number(path) <= highest:
            why = f"A new migration must be numbered above {highest:04}, the last released one ({release.description})."
            renumber = f"Run `invoke db.new --renumber {name}`."
            yield Finding(shown_path(path), 1, 1, "released-number", why, renumber)


def _normalised(content: bytes) -> str:
    """Return a text as its checksum sees it; what is not UTF-8 is compared all the same."""
    try:
        return files.normalise(content)
    except UnicodeDecodeError:
        return content.decode("latin-1")


def sqlfluff_findings(texts: Mapping[Path, str]) -> Iterator[tuple[Path, Finding]]:
    """Yield what sqlfluff finds in files, under this repository's configuration alone."""
    from sqlfluff.core import FluffConfig, Linter

    text = (ROOT / ".sqlfluff").read_text(encoding="utf-8")
    linters = {
        True: Linter(FluffConfig.from_string(text)),
        # A check's four columns have a fixed order: check_name, passed, expected, actual.
        False: Linter(FluffConfig.from_string(text, overrides={"exclude_rules": "structure.column_order"})),
    }
    for file, sql in texts.items():
        for violation in linters[bool(schema.number(file))].lint_string(sql, fname=str(file)).get_violations():
            rule = {"PRS": SYNTAX_ERROR}.get(violation.rule_code(), violation.rule_code())
            why = f"{violation.desc()} [{violation.rule_name()}]"
            yield file, Finding(shown_path(file), violation.line_no, violation.line_pos, rule, why)
