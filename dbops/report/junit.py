"""Checks as JUnit XML: a suite per check file, so that GitHub, GitLab and Jenkins show what failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby
from xml.etree import ElementTree as ET

from dbops.report import writing
from dbops.report.text import TextView, print_as_is
from dbops.verification import Verification

# Characters that XML 1.0 cannot contain, not even escaped.
INVALID = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class JUnitView(TextView):
    """Prints the result as a JUnit document, and the rest for people; the result too if the document has a file."""

    def show(self, found: object, write: Callable[[str], None] | None = None) -> None:
        """Print a verification as a document, unless `write` gets that; draw any other result."""
        if write or not isinstance(found, Verification):
            super().show(found, write)
            return
        self.close()
        with writing():
            print_as_is(xml(found), self.out)
        self.github.verification(found)

    def document(self, name: str, found: object) -> str:
        """Return the result of a verification as XML, any other as it is drawn."""
        return xml(found) if isinstance(found, Verification) else super().document(name, found)


def xml(result: Verification) -> str:
    """Return the result as a JUnit document: a failing check is a failure, a file at fault an error."""
    root = ET.Element("testsuites")
    for number, (name, group) in enumerate(groupby(result.checks, key=lambda check: check.file)):
        checks = tuple(group)
        failed = [check for check in checks if not check.passed]
        errors = sum(check.location is not None for check in failed)
        package = name.removesuffix(".sql").replace("/", ".")
        attributes = {
            "id": str(number),
            "name": name,
            "package": package,
            "timestamp": f"{result.began:%Y-%m-%dT%H:%M:%S}" if result.began else "",
            "hostname": result.server,
            "tests": str(len(checks)),
            "failures": str(len(failed) - errors),
            "errors": str(errors),
            "time": f"{sum(check.seconds for check in checks):.6f}",
        }
        suite = ET.SubElement(root, "testsuite", {key: _valid(value) for key, value in attributes.items()})
        ET.SubElement(suite, "properties")
        for check in checks:
            attributes = {"classname": package, "name": check.name, "time": f"{check.seconds:.6f}"}
            case = ET.SubElement(suite, "testcase", {key: _valid(value) for key, value in attributes.items()})
            if not check.passed:
                kind = "error" if check.location else "failure"
                says = f"expected {_valid(check.expected)}, actual {_valid(check.actual)}"
                problem = ET.SubElement(case, kind, {"message": says, "type": kind})
                problem.text = _valid(f"{check.location}\n{check.location.excerpt()}" if check.location else says)
        ET.SubElement(suite, "system-out")
        ET.SubElement(suite, "system-err")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _valid(value: str | None) -> str:
    return "NULL" if value is None else INVALID.sub("\ufffd", value)
