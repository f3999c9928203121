"""What a migration must not do to tables that are in use, where TimescaleDB differs from PostgreSQL.

For plain tables squawk says it. A hypertable's chunks are tables of their own: what PostgreSQL does to one table is
done to all of them, and CONCURRENTLY does not exist. Only hypertables that an earlier file created count.
"""
# ruff: noqa: N801 - sqlfluff takes a rule's code from the name of its class

from __future__ import annotations

from collections.abc import Iterator

from sqlfluff.core.parser import BaseSegment
from sqlfluff.core.rules import BaseRule, LintResult, RuleContext
from sqlfluff.core.rules.crawlers import SegmentSeekerCrawler

from dbops.lint import schema

PER_CHUNK = "timescaledb.transaction_per_chunk"
# Defaults that do not rewrite a table: PostgreSQL evaluates what is not volatile once (ALTER TABLE, Notes).
NOT_VOLATILE = {"now", "transaction_timestamp", "statement_timestamp"}
SERIAL = {"SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL2", "SERIAL4", "SERIAL8"}
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
    return schema.qualified(reference.raw) if reference else ""


def per_chunk(statement: BaseSegment) -> bool:
    """Return whether an index is built chunk by chunk, each in a transaction of its own."""
    options = statement.get_child("relation_options")
    return any(
        option.segments and "".join(option.raw.split()).lower().removesuffix("=true") == PER_CHUNK
        for option in (options.recursive_crawl("relation_option") if options else ())
    )


class Rule_KM10(BaseRule):
    """An index on a hypertable is built chunk by chunk.

    Built in one transaction it blocks writes to every chunk to the end, and CONCURRENTLY is refused with 0A000.
    """

    name = "kapman.hypertable_index"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler(
        {"create_index_statement", "reindex_statement_segment", "alter_table_statement"}
    )

    def _eval(self, context: RuleContext) -> list[LintResult]:
        statement = context.segment
        if table_of(statement) not in schema.before(context.path).hypertables:
            return []
        if statement.is_type("alter_table_statement"):
            return [
                LintResult(constraint, description=UNIQUE)
                for constraint in statement.recursive_crawl("table_constraint", "column_constraint_segment")
                if {"UNIQUE", "PRIMARY", "EXCLUDE"}.intersection(words(constraint))
            ]
        what = self._index(statement) if statement.is_type("create_index_statement") else self._reindex(statement)
        return [LintResult(statement, description=what)] if what else []

    @staticmethod
    def _index(statement: BaseSegment) -> str:
        given = words(statement)
        if "UNIQUE" in given:
            return UNIQUE
        if "CONCURRENTLY" in given:
            return f"TimescaleDB refuses CONCURRENTLY on a hypertable: write WITH ({PER_CHUNK}) instead."
        if per_chunk(statement):
            return ""
        return f"An index on a hypertable blocks writes to all chunks while it is built: add WITH ({PER_CHUNK})."

    @staticmethod
    def _reindex(statement: BaseSegment) -> str:
        if any(part.raw_upper == "CONCURRENTLY" for part in statement.raw_segments):
            return "TimescaleDB refuses REINDEX CONCURRENTLY of a hypertable: reindex its chunks one by one."
        return "REINDEX blocks reads and writes of every chunk: reindex the chunks one by one, outside a migration."


class Rule_KM11(BaseRule):
    """ALTER TABLE of a hypertable reads or rewrites no chunk: it would do so for all, under ACCESS EXCLUSIVE."""

    name = "kapman.hypertable_alter"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler({"alter_table_statement"})

    def _eval(self, context: RuleContext) -> list[LintResult]:
        earlier = schema.before(context.path)
        table = table_of(context.segment)
        if table not in earlier.hypertables:
            return []
        not_null = {column for name, column in earlier.not_null if name == table}
        strong = self._added_not_valid(context.parent_stack[0])
        return [
            LintResult(action, description=f"This {what}. {instead}")
            for action in context.segment.get_children("alter_table_action_segment")
            for what, instead in self._findings(action, not_null, strong)
        ]

    @staticmethod
    def _added_not_valid(file: BaseSegment) -> set[str]:
        """Return the constraints that the file itself adds: their strong locks last to the end of its transaction."""
        names = (part.get_child("object_reference") for part in file.recursive_crawl("table_constraint"))
        return {name.raw.lower() for name in names if name}

    def _findings(self, action: BaseSegment, not_null: set[str], strong: set[str]) -> Iterator[tuple[str, str]]:
        """Yield what an action does to the chunks, and what to do instead."""
        given = words(action)
        if given == ["VALIDATE", "CONSTRAINT"] and action.segments[-1].raw.lower() in strong:
            yield (
                "reads every chunk while the lock of ADD CONSTRAINT blocks writes to all of them",
                "Move it to a later file.",
            )
        if given[:1] == ["ADD"]:
            yield from self._added_constraint(action)
            yield from self._added_column(action)
        elif "TYPE" in given:
            yield (
                "rewrites every chunk, with reads and writes of all of them blocked",
                "Add a column of the new type, fill it in batches, and drop the old one.",
            )
        elif given[-3:] == ["SET", "NOT", "NULL"]:
            reference = action.get_child("column_reference")
            if reference and reference.raw.lower() not in not_null:
                yield (
                    "reads every chunk, with reads and writes of all of them blocked",
                    "In earlier files add CHECK (column IS NOT NULL) NOT VALID and validate it: that spares the scan.",
                )
        elif {"LOGGED", "UNLOGGED", "TABLESPACE"}.intersection(given) or given[:3] == ["SET", "ACCESS", "METHOD"]:
            yield (
                "copies every chunk, with reads and writes of all of them blocked",
                "Do it chunk by chunk, outside a migration.",
            )

    @staticmethod
    def _added_constraint(action: BaseSegment) -> Iterator[tuple[str, str]]:
        constraint = action.get_child("table_constraint")
        if constraint is None:
            return
        given = words(constraint)
        if {"CHECK", "FOREIGN"}.intersection(given) and "VALID" not in given:
            yield (
                "reads every chunk, with writes to all of them blocked",
                "Add it NOT VALID, and VALIDATE CONSTRAINT in a later file.",
            )

    @staticmethod
    def _added_column(action: BaseSegment) -> Iterator[tuple[str, str]]:
        data_type = action.get_child("data_type")
        if data_type is None:
            return
        given = {word for part in action.get_children("column_constraint_segment") for word in words(part)}
        if {"CHECK", "REFERENCES"}.intersection(given):
            yield (
                "reads every chunk, with writes to all of them blocked",
                "Add the column alone, then the constraint NOT VALID, and validate it in a later file.",
            )
        functions = {
            name.raw.split(".")[-1].lower()
            for part in action.get_children("column_constraint_segment")
            if "DEFAULT" in words(part)
            for name in part.recursive_crawl("function_name")
        }
        if data_type.raw_upper in SERIAL or "GENERATED" in given or functions - NOT_VOLATILE:
            yield (
                "rewrites every chunk, with reads and writes of all of them blocked",
                "Add the column without it, SET DEFAULT for new rows, and fill the old ones in batches.",
            )


class Rule_KM12(BaseRule):
    """What cannot run in a transaction says `-- migrate: no-transaction` in its file's header."""

    name = "kapman.no_transaction"
    groups = ("all", "kapman")
    crawl_behaviour = SegmentSeekerCrawler(
        {"create_index_statement", "drop_index_statement", "reindex_statement_segment", "alter_table_statement"}
    )

    def _eval(self, context: RuleContext) -> LintResult | None:
        concurrent = next((s for s in context.segment.raw_segments if s.raw_upper == "CONCURRENTLY"), None)
        if (not concurrent and not per_chunk(context.segment)) or not schema.is_transactional(
            context.parent_stack[0].raw
        ):
            return None
        what = "CONCURRENTLY" if concurrent else PER_CHUNK
        return LintResult(
            concurrent or context.segment,
            description=f"{what} cannot run in a transaction: give the file the header -- migrate: no-transaction.",
        )


RULES: list[type[BaseRule]] = [Rule_KM10, Rule_KM11, Rule_KM12]
