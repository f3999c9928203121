"""What a migration must and must not do, as sqlfluff rules.

A story's migration builds structure and nothing else: it moves no data, starts nothing that acts by itself,
touches no role, adds no extension beside TimescaleDB, and leaves transactions to the runner. Statements that
sqlfluff cannot parse (SAVEPOINT, CREATE RULE, CREATE EVENT TRIGGER) fail the lint as such.

What must not be done to tables that are in use, squawk says for plain tables, and KM10 to KM12 for hypertables. Their
chunks are tables of their own: what PostgreSQL does to one table is done to all of them, and CONCURRENTLY does not
exist. Only hypertables that an earlier file created count.
"""
# ruff: noqa: N801 - sqlfluff takes a rule's code from the name of its class

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlfluff.core.parser import BaseSegment
from sqlfluff.core.rules import BaseRule, LintResult, RuleContext
from sqlfluff.core.rules.crawlers import RootOnlyCrawler, SegmentSeekerCrawler

from dbops.lint import schema
from dbops.migrations.names import qualified, stored

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
PER_CHUNK = "timescaledb.transaction_per_chunk"
# Defaults that do not rewrite a table: PostgreSQL evaluates what is not volatile once (ALTER TABLE, Notes).
NOT_VOLATILE = {"now", "transaction_timestamp", "statement_timestamp"}
SERIAL = {"SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL2", "SERIAL4", "SERIAL8"}
WRITES_BLOCKED = "every chunk, with writes to all of them blocked"
ALL_BLOCKED = "every chunk, with reads and writes of all of them blocked"
UNIQUE = (
    "A unique index on a hypertable blocks writes to all chunks while it is built: neither CONCURRENTLY nor"
    f" {PER_CHUNK} can build it. Create it together with the table, or plan a pause of the writers."
)


def words(segment: BaseSegment) -> list[str]:
    """Return the keywords that stand directly in a segment, in capitals."""
    return [part.raw_upper for part in segment.segments if part.is_type("keyword")]


def table_of(statement: BaseSegment) -> str:
    """Return the table that a statement is about, with its schema; empty if it names none."""
    reference = statement.get_child("table_reference")
    return qualified(reference.raw) if reference else ""


def per_chunk(statement: BaseSegment) -> bool:
    """Return whether an index is built chunk by chunk, each in a transaction of its own."""
    options = statement.get_child("relation_options")
    return any(
        option.segments and "".join(option.raw.split()).lower().removesuffix("=true") == PER_CHUNK
        for option in (options.recursive_crawl("relation_option") if options else ())
    )


class Rule_KM00(BaseRule):
    """What the rules share: each finds the segments that it seeks and that are wrong. No rule itself."""

    groups = ("all", "kapman")
    message = ""

    def _eval(self, context: RuleContext) -> LintResult | list[LintResult] | None:
        return LintResult(context.segment, description=self.message) if self._is_wrong(context.segment) else None

    def _is_wrong(self, segment: BaseSegment) -> bool:
        """Return whether a segment that the rule seeks is a finding: every one, unless a rule looks closer."""
        return True


class Rule_KM01(Rule_KM00):
    """A migration begins with a comment that says why, what it needs, and which locks it takes."""

    name = "kapman.header"
    crawl_behaviour = RootOnlyCrawler()

    def _eval(self, context: RuleContext) -> LintResult | list[LintResult] | None:
        header = []
        for segment in context.segment.raw_segments:
            if segment.is_code:
                break
            header.append(segment.raw)
        missing = [word for word in HEADER if word not in "".join(header).lower()]
        anchor = next((s for s in context.segment.raw_segments if s.raw), context.segment)
        return LintResult(anchor, description=f"The header lacks: {' '.join(missing)}") if missing else None


class Rule_KM02(Rule_KM00):
    """A migration moves no data."""

    name = "kapman.data"
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
    message = "No statement may insert, update, delete or copy data."


class Rule_KM03(Rule_KM00):
    """A migration starts nothing that acts by itself."""

    name = "kapman.automation"
    crawl_behaviour = SegmentSeekerCrawler({"create_trigger", "create_policy_statement", "function_name"})
    message = "No trigger, job or policy may be created."

    def _is_wrong(self, segment: BaseSegment) -> bool:
        return not segment.is_type("function_name") or JOBS.fullmatch(segment.raw.split(".")[-1]) is not None


class Rule_KM04(Rule_KM00):
    """A migration touches no role and no password."""

    name = "kapman.roles"
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
    message = "Roles are the operator's; the runner chooses the one that a migration runs as."

    def _is_wrong(self, segment: BaseSegment) -> bool:
        return not segment.is_type("set_statement", "reset_statement") or "ROLE" in words(segment)


class Rule_KM05(Rule_KM00):
    """A migration creates no extension but TimescaleDB."""

    name = "kapman.extension"
    crawl_behaviour = SegmentSeekerCrawler({"create_extension_statement"})
    message = "No extension but timescaledb."

    def _is_wrong(self, segment: BaseSegment) -> bool:
        reference = segment.get_child("extension_reference")
        return reference is None or reference.raw.strip('"') != "timescaledb"


class Rule_KM06(Rule_KM00):
    """A migration leaves transactions to the runner."""

    name = "kapman.transaction"
    crawl_behaviour = SegmentSeekerCrawler({"transaction_statement"})
    message = "The runner begins and ends the transaction."


class Rule_KM07(Rule_KM00):
    """What a migration defines has a schema in its name."""

    name = "kapman.schema"
    crawl_behaviour = SegmentSeekerCrawler({"table_reference", "create_type_statement"})

    def _eval(self, context: RuleContext) -> LintResult | list[LintResult] | None:
        named = context.segment
        if named.is_type("create_type_statement"):
            named = named.get_child("data_type", "object_reference") or named
        else:
            within = [segment.get_type() for segment in context.parent_stack]
            if "select_statement" in within or not DEFINITIONS.intersection(within):
                return None
            # The new name in RENAME TO cannot have a schema.
            parts = [part for part in context.parent_stack[-1].segments if part.is_code]
            position = next(number for number, part in enumerate(parts) if part is named)
            if position and parts[position - 1].raw_upper == "TO":
                return None
        if "." in named.raw.split("(")[0]:
            return None
        return LintResult(named, description=f"Write the schema before {named.raw}.")


class Rule_KM08(Rule_KM00):
    """Every constraint is named explicitly."""

    name = "kapman.constraint"
    crawl_behaviour = SegmentSeekerCrawler({"column_constraint_segment", "table_constraint"})
    message = "Write CONSTRAINT and a name before it."

    def _is_wrong(self, segment: BaseSegment) -> bool:
        given = words(segment)
        return "CONSTRAINT" not in given and not KEYS.isdisjoint(given)


class Rule_KM09(Rule_KM00):
    """A migration hides nothing in a block of code."""

    name = "kapman.block"
    crawl_behaviour = SegmentSeekerCrawler({"do_statement"})
    message = "Write the statements themselves: what DO runs cannot be checked."


class Rule_KM10(Rule_KM00):
    """An index on a hypertable is built chunk by chunk.

    Built in one transaction it blocks writes to every chunk to the end, and CONCURRENTLY is refused with 0A000.
    """

    name = "kapman.hypertable_index"
    crawl_behaviour = SegmentSeekerCrawler(
        {"create_index_statement", "reindex_statement_segment", "alter_table_statement"}
    )

    def _eval(self, context: RuleContext) -> LintResult | list[LintResult] | None:
        statement, given = context.segment, words(context.segment)
        if table_of(statement) not in schema.before(context.path).hypertables:
            return None
        if statement.is_type("alter_table_statement"):
            return [
                LintResult(constraint, description=UNIQUE)
                for constraint in statement.recursive_crawl("table_constraint", "column_constraint_segment")
                if {"UNIQUE", "PRIMARY", "EXCLUDE"}.intersection(words(constraint))
            ]
        if statement.is_type("reindex_statement_segment"):
            what = "REINDEX blocks reads and writes of every chunk: reindex the chunks one by one, outside a migration."
            if any(part.raw_upper == "CONCURRENTLY" for part in statement.raw_segments):
                what = "TimescaleDB refuses REINDEX CONCURRENTLY of a hypertable: reindex its chunks one by one."
        elif "UNIQUE" in given:
            what = UNIQUE
        elif "CONCURRENTLY" in given:
            what = f"TimescaleDB refuses CONCURRENTLY on a hypertable: write WITH ({PER_CHUNK}) instead."
        elif per_chunk(statement):
            return None
        else:
            what = f"An index on a hypertable blocks writes to all chunks while it is built: add WITH ({PER_CHUNK})."
        return LintResult(statement, description=what)


class Rule_KM11(Rule_KM00):
    """ALTER TABLE of a hypertable reads or rewrites no chunk: it would do so for all, under ACCESS EXCLUSIVE."""

    name = "kapman.hypertable_alter"
    crawl_behaviour = SegmentSeekerCrawler({"alter_table_statement"})

    def _eval(self, context: RuleContext) -> LintResult | list[LintResult] | None:
        earlier, table = schema.before(context.path), table_of(context.segment)
        if table not in earlier.hypertables:
            return None
        # The strong locks of constraints that the file itself adds last to the end of its transaction.
        added = context.parent_stack[0].recursive_crawl("table_constraint")
        names = (constraint.get_child("object_reference") for constraint in added)
        locked = {name.raw.lower() for name in names if name}
        not_null = {column for name, column in earlier.not_null if name == table}
        return [
            LintResult(action, description=f"This {what}. {instead}")
            for action in context.segment.get_children("alter_table_action_segment")
            for what, instead in self._findings(action, not_null, locked)
        ]

    def _findings(self, action: BaseSegment, not_null: set[str], locked: set[str]) -> Iterator[tuple[str, str]]:
        """Yield what an action does to the chunks, and what to do instead."""
        given = words(action)
        if given == ["VALIDATE", "CONSTRAINT"] and action.segments[-1].raw.lower() in locked:
            what = "reads every chunk while the lock of ADD CONSTRAINT blocks writes to all of them"
            yield what, "Move it to a later file."
        if given[:1] == ["ADD"]:
            if constraint := action.get_child("table_constraint"):
                kind = words(constraint)
                if {"CHECK", "FOREIGN"}.intersection(kind) and "VALID" not in kind:
                    yield f"reads {WRITES_BLOCKED}", "Add it NOT VALID, and VALIDATE CONSTRAINT in a later file."
            if data_type := action.get_child("data_type"):
                yield from self._added_column(data_type.raw_upper, action.get_children("column_constraint_segment"))
        elif "TYPE" in given:
            instead = "Add a column of the new type, fill it in batches, and drop the old one."
            yield f"rewrites {ALL_BLOCKED}", instead
        elif given[-3:] == ["SET", "NOT", "NULL"]:
            column = action.get_child("column_reference")
            if column and stored(column.raw) not in not_null:
                check = "In earlier files add CHECK (column IS NOT NULL) NOT VALID and validate it"
                yield f"reads {ALL_BLOCKED}", f"{check}: that spares the scan."
        elif {"LOGGED", "UNLOGGED", "TABLESPACE"}.intersection(given) or given[:3] == ["SET", "ACCESS", "METHOD"]:
            yield f"copies {ALL_BLOCKED}", "Do it chunk by chunk, outside a migration."

    @staticmethod
    def _added_column(data_type: str, constraints: list[BaseSegment]) -> Iterator[tuple[str, str]]:
        """Yield what a new column does to the chunks, by its type and its constraints, its default among them."""
        given = {word for constraint in constraints for word in words(constraint)}
        if {"CHECK", "REFERENCES"}.intersection(given):
            instead = "Add the column alone, then the constraint NOT VALID, and validate it in a later file."
            yield f"reads {WRITES_BLOCKED}", instead
        defaults = (constraint for constraint in constraints if "DEFAULT" in words(constraint))
        names = (name for default in defaults for name in default.recursive_crawl("function_name"))
        volatile = {name.raw.split(".")[-1].lower() for name in names} - NOT_VOLATILE
        if data_type in SERIAL or "GENERATED" in given or volatile:
            instead = "Add the column without it, SET DEFAULT for new rows, and fill the old ones in batches."
            yield f"rewrites {ALL_BLOCKED}", instead


class Rule_KM12(Rule_KM00):
    """What cannot run in a transaction says `-- migrate: no-transaction` in its file's header."""

    name = "kapman.no_transaction"
    crawl_behaviour = SegmentSeekerCrawler(
        {"create_index_statement", "drop_index_statement", "reindex_statement_segment", "alter_table_statement"}
    )

    def _eval(self, context: RuleContext) -> LintResult | list[LintResult] | None:
        concurrent = next((s for s in context.segment.raw_segments if s.raw_upper == "CONCURRENTLY"), None)
        if not concurrent and not per_chunk(context.segment):
            return None
        if not schema.is_transactional(context.parent_stack[0].raw):
            return None
        what = "CONCURRENTLY" if concurrent else PER_CHUNK
        return LintResult(
            concurrent or context.segment,
            description=f"{what} cannot run in a transaction: give the file the header -- migrate: no-transaction.",
        )


class Rule_KM13(Rule_KM00):
    """Every new table has a comment."""

    name = "kapman.comment"
    crawl_behaviour = SegmentSeekerCrawler({"create_table_statement", "create_table_as_statement"})

    def _eval(self, context: RuleContext) -> LintResult | list[LintResult] | None:
        table = context.segment.get_child("table_reference")
        if table is None or {"TEMP", "TEMPORARY"}.intersection(words(context.segment)):
            return None
        for comment in context.parent_stack[0].recursive_crawl("comment_clause"):
            about, text = comment.get_child("table_reference"), comment.get_child("quoted_literal")
            commented = words(comment)[:3] == ["COMMENT", "ON", "TABLE"] and text and text.raw.strip("' \n")
            if about and commented and qualified(about.raw) == qualified(table.raw):
                return None
        return LintResult(table, description=f"Say what it holds: COMMENT ON TABLE {table.raw} IS '...'.")


class Rule_KM14(Rule_KM00):
    """A name is in snake_case and needs no quotes."""

    name = "kapman.names"
    crawl_behaviour = SegmentSeekerCrawler({"quoted_identifier", "naked_identifier", "function_name_identifier"})

    def _eval(self, context: RuleContext) -> LintResult | list[LintResult] | None:
        # A collation's name is not ours to choose, nor is a role's.
        others = ("collation_reference", "role_reference", "extension_reference", "index_access_method")
        if SNAKE_CASE.fullmatch(context.segment.raw) or any(s.is_type(*others) for s in context.parent_stack):
            return None
        what = f"{context.segment.raw}: write names in snake_case and without quotes, so that no query must quote them."
        return LintResult(context.segment, description=what)


RULES: list[type[BaseRule]] = list(Rule_KM00.__subclasses__())
