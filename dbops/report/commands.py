"""The commands and settings that texts name, as the operator has to type them: completed in this one place.

Texts of the core say `invoke db.rebuild` and DATABASE_URL. What is shown has the program as it was started, the words
that named the target, and the option or variable that the target came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_COMMAND = re.compile("`invoke ([^`]+)`")
_SETTING = re.compile(r"\b(in|into|to) DATABASE_URL\b")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """How the operator runs this program.

    `program` is what precedes a task, as in `uv run invoke`; `target` the words that name the database, without a
    password; `source` the option or the variables that name it; `names` what each task is called here, where it is
    another name; `on_database` the tasks that take a target.
    """

    program: str = "invoke"
    target: str = ""
    source: str = "DATABASE_URL"
    names: Mapping[str, str] = field(default_factory=dict)
    on_database: frozenset[str] = frozenset()

    def complete(self, text: str) -> str:
        """Return a text whose commands can be typed as they are."""

        def command(found: re.Match[str]) -> str:
            words = found[1].split(" ")
            named = {"--env", "--url", "--help"} & set(words) or not self.on_database & set(words)
            here = [self.names.get(word, word) for word in words]
            return f"`{' '.join(filter(None, (self.program, *here, '' if named else self.target)))}`"

        return _COMMAND.sub(command, _SETTING.sub(rf"\1 {self.source}", text))


_current = CommandLine()


def use(line: CommandLine) -> CommandLine:
    """Complete texts for a command line from now on, and return the one of before."""
    global _current
    before, _current = _current, line
    return before


def complete(text: str) -> str:
    """Return a text whose commands are complete for the command line that runs."""
    return _current.complete(text)
