"""What the operator sees. Only this package knows rich, JSON and JUnit.

Results go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

from dbops.report.base import View
from dbops.report.json_lines import JsonView
from dbops.report.text import TextView

__all__ = ["JsonView", "TextView", "View", "plain_view", "view"]


def view(output_format: str, log_level: str) -> View:
    """Return the view for a format (json, or anything else for people) and a log level."""
    return JsonView(log_level) if output_format == "json" else TextView(log_level)


def plain_view() -> View:
    """Return the view for errors that come before the options are known to be sound."""
    return TextView("WARNING")
