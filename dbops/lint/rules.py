"""What a migration must and must not do, as sqlfluff rules.

A story's migration builds structure and nothing else: it moves no data, starts nothing that acts by itself,
touches no role, adds no extension beside TimescaleDB, and leaves transactions to the runner. Statements that
sqlfluff cannot parse (SAVEPOINT, CREATE RULE, CREATE EVENT TRIGGER) fail the lint as such.
"""
# ruff: noqa: N801 - sqlfluff takes a rule's code from the name of its class

from __future__ import annotations

import re

from sqlfluff.core.rules import BaseRule, LintResult, RuleContext
from sqlfluff.core.rules.crawlers import RootOnlyCrawler, SegmentSeekerCrawler

from dbops.lint import live, schema
from dbops.lint.live import words

HEADER = ("why:", "needs:", "locks:")
JOBS = re.compile(r"(add|alter|run)_job|(add|alter)_\w*policy|add_policies", re.IGNORECASE)
DEFINITIONS = {
    "alter_table_statement",
    "comment_clause",
    "create_index_statement",
    "create_materialized_view_statement",
    "create_table_statement",
    "create_view_statement",
    "drop_table_statement",
    "drop_view_statement",
}
SNAKE_CASE = re.compile(r"[a-z_][a-z0-9_]*")
KEYS = {"PRIMARY", "UNIQUE", "REFERENCES", "FOREIGN", "CHECK", "EXCLUDE"}


def found(context: RuleContext, what: str) -> LintResult:
    """Return a finding at the segment that the rule looks at."""
    return LintResult(anchor=context.segment, description=what)


class Rule_KM01(BaseRule):
    """A migration begins with a comment that says why, what it needs, and which locks it takes."""

    name = "kapman.header"
    groups = ("all", "kapman")
    crawl_behaviour = RootOnlyCrawler()

    def _eval(self, context: RuleContext) -> LintResult | None:
        header = []
        for segment in context.segment.raw_segments:
            if segment.is_code:
                break
            header.append(segment.raw)
        missing = [word for word in HEADER if word not in "".join(header).lower()]
        anchor = next((s for s in context.segment.raw_segments if s.raw), context.segment)
        return LintResult(anchor, description=f"The header lacks: {' '.join(missing)}") if missing else None


class Rule_KM02(BaseRule):
    """A migration moves no data."""

    name = "kapman.data"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler(
        {
            "copy_statement",
            "create_table_as_statement",
            "delete_statement",
            "insert_statement",
            "into_clause",
            "merge_statement",
            "truncate_table",
            "update_statement",
        }
    )

    def _eval(self, context: RuleContext) -> LintResult:
        return found(context, "No statement may insert, update, delete or copy data.")


class Rule_KM03(BaseRule):
    """A migration starts nothing that acts by itself."""

    name = "kapman.automation"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"create_trigger", "create_policy_statement", "function_name"})

    def _eval(self, context: RuleContext) -> LintResult | None:
        if context.segment.is_type("function_name") and not JOBS.fullmatch(context.segment.raw.split(".")[-1]):
            return None
        return found(context, "No trigger, job or policy may be created.")


class Rule_KM04(BaseRule):
    """A migration touches no role and no password."""

    name = "kapman.roles"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler(
        {
            "alter_role_statement",
            "create_role_statement",
            "create_user_statement",
            "drop_role_statement",
            "drop_user_statement",
            "set_session_authorization_statement",
            "set_statement",
            "reset_statement",
        }
    )

    def _eval(self, context: RuleContext) -> LintResult | None:
        if context.segment.is_type("set_statement", "reset_statement") and "ROLE" not in words(context.segment):
            return None
        return found(context, "Roles are the operator's; the runner chooses the one that a migration runs as.")


class Rule_KM05(BaseRule):
    """A migration creates no extension but TimescaleDB."""

    name = "kapman.extension"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"create_extension_statement"})

    def _eval(self, context: RuleContext) -> LintResult | None:
        reference = context.segment.get_child("extension_reference")
        if reference is not None and reference.raw.strip('"') == "timescaledb":
            return None
        return found(context, "No extension but timescaledb.")


class Rule_KM06(BaseRule):
    """A migration leaves transactions to the runner."""

    name = "kapman.transaction"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"transaction_statement"})

    def _eval(self, context: RuleContext) -> LintResult:
        return found(context, "The runner begins and ends the transaction.")


class Rule_KM07(BaseRule):
    """What a migration defines has a schema in its name."""

    name = "kapman.schema"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"table_reference", "create_type_statement"})

    def _eval(self, context: RuleContext) -> LintResult | None:
        named = context.segment
        if named.is_type("create_type_statement"):
            named = named.get_child("data_type", "object_reference") or named
        elif not self._defines(context):
            return None
        if "." in named.raw.split("(")[0]:
            return None
        return LintResult(named, description=f"Write the schema before {named.raw}.")

    def _defines(self, context: RuleContext) -> bool:
        """Return whether the table is one of a definition; the new name in RENAME TO cannot have a schema."""
        within = [segment.get_type() for segment in context.parent_stack]
        if "select_statement" in within or not DEFINITIONS.intersection(within):
            return False
        parts = [part for part in context.parent_stack[-1].segments if part.is_code]
        position = next(number for number, part in enumerate(parts) if part is context.segment)
        return position == 0 or parts[position - 1].raw_upper != "TO"


class Rule_KM08(BaseRule):
    """Every constraint is named explicitly."""

    name = "kapman.constraint"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"column_constraint_segment", "table_constraint"})

    def _eval(self, context: RuleContext) -> LintResult | None:
        given = words(context.segment)
        if "CONSTRAINT" in given or not KEYS.intersection(given):
            return None
        return found(context, "Write CONSTRAINT and a name before it.")


class Rule_KM09(BaseRule):
    """A migration hides nothing in a block of code."""

    name = "kapman.block"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"do_statement"})

    def _eval(self, context: RuleContext) -> LintResult:
        return found(context, "Write the statements themselves: what DO runs cannot be checked.")


class Rule_KM13(BaseRule):
    """Every new table has a comment."""

    name = "kapman.comment"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"create_table_statement", "create_table_as_statement"})

    def _eval(self, context: RuleContext) -> LintResult | None:
        table = context.segment.get_child("table_reference")
        if table is None or {"TEMP", "TEMPORARY"}.intersection(words(context.segment)):
            return None
        for comment in context.parent_stack[0].recursive_crawl("comment_clause"):
            about, text = comment.get_child("table_reference"), comment.get_child("quoted_literal")
            commented = words(comment)[:3] == ["COMMENT", "ON", "TABLE"] and text and text.raw.strip("' \n")
            if about and commented and schema.qualified(about.raw) == schema.qualified(table.raw):
                return None
        return LintResult(table, description=f"Say what it holds: COMMENT ON TABLE {table.raw} IS '...'.")


class Rule_KM14(BaseRule):
    """A name is in snake_case and needs no quotes."""

    name = "kapman.names"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"quoted_identifier", "naked_identifier", "function_name_identifier"})

    def _eval(self, context: RuleContext) -> LintResult | None:
        # A collation's name is not ours to choose, nor is a role's.
        others = ("collation_reference", "role_reference", "extension_reference", "index_access_method")
        if SNAKE_CASE.fullmatch(context.segment.raw) or any(s.is_type(*others) for s in context.parent_stack):
            return None
        what = f"{context.segment.raw}: write names in snake_case and without quotes, so that no query must quote them."
        return found(context, what)


RULES: list[type[BaseRule]] = [
    Rule_KM01,
    Rule_KM02,
    Rule_KM03,
    Rule_KM04,
    Rule_KM05,
    Rule_KM06,
    Rule_KM07,
    Rule_KM08,
    Rule_KM09,
    Rule_KM13,
    Rule_KM14,
    *live.RULES,
]
