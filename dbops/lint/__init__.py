"""The plugin that gives sqlfluff the rules for migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlfluff.core.plugin import hookimpl

if TYPE_CHECKING:
    from sqlfluff.core.rules import BaseRule


@hookimpl
def get_rules() -> list[type[BaseRule]]:
    """Return the rules; sqlfluff wants them imported here, after its own."""
    from dbops.lint.rules import RULES

    return RULES
