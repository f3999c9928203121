"""Run the check files of `db/verify/` and return what they say.

A check file is one query with four columns: `check_name text, passed boolean, expected text, actual text`.
A check that did not run did not pass: a file that fails, times out or returns nothing is itself a failure.
"""

from dbops.verification.files import CheckFile, list_checks, select
from dbops.verification.model import Check, Verification
from dbops.verification.runner import verify

__all__ = ["Check", "CheckFile", "Verification", "list_checks", "select", "verify"]
