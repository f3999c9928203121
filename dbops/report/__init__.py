"""What the operator sees. Only this package knows rich, JSON and JUnit.

Results go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

from dbops.report.base import View, opened, plain
from dbops.report.github import GitHub

__all__ = ["GitHub", "View", "opened", "plain", "view"]


def view(output_format: str, log_level: str, github: GitHub | None = None) -> View:
    """Return the view for a format (json, or anything else for people) and a log level; `github` adds what it shows."""
    from dbops.report.json import JsonView
    from dbops.report.text import TextView

    return JsonView(log_level, github) if output_format == "json" else TextView(log_level, github)
