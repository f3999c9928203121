"""What a migration must and must not do: each rule with its texts and examples, above the function that finds breaches.

Findings, docs/lint.md and the tests come from these rules. A story's migration builds structure and nothing else.
What must not be done to tables that are in use is said of plain tables and of hypertables alike; only tables that an
earlier file created are in use. What each statement locks was measured: tests/data/locks has the tables.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from itertools import pairwise

from dbops.lint import restored, schema
from dbops.lint.schema import RETYPES, Schema
from dbops.migrations import files, locks, reach
from dbops.migrations.sqlsplit import leading, qualified, stored
from dbops.migrations.statements import (
    CREATES_INDEX,
    CREATES_TABLE,
    LIST,
    MAYBE,
    NAME,
    NAMED,
    WORD,
    Tokens,
    statements,
)
from dbops.migrations.tokens import form, outside


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule finds at an offset; `why` and `instead` are the rule's own where they are empty."""

    offset: int
    why: str = ""
    instead: str = ""


@dataclass(frozen=True)
class File:
    """A migration that is checked: its text, and what earlier files have built."""

    text: str
    earlier: Schema = field(repr=False)

    @property
    def statements(self) -> tuple[Tokens, ...]:
        """Return the statements in order."""
        return statements(self.text)

    @cached_property
    def later(self) -> Schema:
        """Return what is built after the file."""
        return self.earlier.after(self.text)

    @cached_property
    def reaching(self) -> list[reach.Violation]:
        """Return what reaches beyond the database, or changes the runner's limits."""
        return reach.findings(self.text)

    def in_use(self, table: str) -> bool:
        """Return whether a table is there before the file; chunks are."""
        return table in self.earlier.tables or table.startswith("_timescaledb_internal.")

    def altered(self) -> Iterator[tuple[str, Tokens]]:
        """Yield each action of ALTER TABLE on a table in use, with the table."""
        for statement in self.statements:
            if self.in_use(statement.altered):
                yield from ((statement.altered, action) for action in statement.actions)

    def beginning(self, pattern: re.Pattern[str]) -> Iterator[Hit]:
        """Yield the statements that begin in a way."""
        return (Hit(statement.offset) for statement in self.statements if pattern.match(statement.form))


RULES: list[Rule] = []


@dataclass(eq=False, slots=True)
class Rule:
    """A rule: what its finding says, what to do instead, an example of each kind with a note, and what it is for.

    It decorates the function that finds what breaks it, whose docstring says what it is for. `live` rules are about
    tables in use, and so leave the baseline alone.
    """

    code: str
    name: str
    _: KW_ONLY
    why: str
    instead: str
    bad: tuple[str, str]
    good: tuple[str, str]
    live: bool = False
    about: str = field(init=False)
    find: Callable[[File], Iterator[Hit]] = field(init=False)

    def __call__(self, find: Callable[[File], Iterator[Hit]]) -> Callable[[File], Iterator[Hit]]:
        """Take a function as the one that finds what breaks the rule, and add the rule to the others."""
        self.about, self.find = inspect.getdoc(find) or "", find
        RULES.append(self)
        return find


# What several examples say.
COLUMN = "ALTER TABLE public.tickers ADD COLUMN isin text;\n"
SPLITS = "CREATE TABLE public.splits (ticker_id uuid NOT NULL, date date NOT NULL, ratio numeric NOT NULL);\n"
OWN_DATABASE = (
    "the database that the migration runs in",
    "DO $$\nBEGIN\n    EXECUTE format('ALTER DATABASE %I SET work_mem = %L', current_database(), '16MB');\nEND $$;\n",
)
ALONE_IN_FILE = "-- migrate: no-transaction\n"


@Rule(
    "KM01",
    "header",
    why="The header is incomplete.",
    instead="Write the three lines as `invoke db.new` does.",
    bad=("no header", COLUMN),
    good=(
        "all three",
        "-- Why:   the exchange identifies a stock by its ISIN.\n-- Needs: 0002.\n"
        f"-- Locks: ACCESS EXCLUSIVE on public.tickers (for an instant)\n{COLUMN}",
    ),
)
def lacks_header(file: File) -> Iterator[Hit]:
    """A migration begins with a comment of three lines: why it exists, what it relies on, and which locks it takes.

    They are for the operator who deploys it; `invoke db.migrate --plan` shows the third, and `--rehearse` compares it
    with what it measures.
    """
    said = "".join(leading(file.text)).lower()
    if missing := [word for word in ("why:", "needs:", "locks:") if word not in said]:
        yield Hit(0, f"The header lacks: {' '.join(missing)}.")
        return
    try:
        locks.parse(files.parse_header(file.text).locks)
    except ValueError as error:
        yield Hit(file.text.lower().find("locks:"), f"{error}."[:1].upper() + f"{error}."[1:])


DATA = re.compile(
    r"(?:INSERT|UPDATE|DELETE|MERGE|TRUNCATE|COPY) |SELECT .*\bINTO "
    r"|EXPLAIN .*\b(?:INSERT INTO|DELETE FROM|UPDATE|MERGE) "
    r"|CREATE (?:\S+ )?(?:\S+ )?TABLE .*\bAS (?:SELECT|WITH|VALUES|TABLE|EXECUTE|; |\Z)"
)
DATA_IN_WITH = re.compile(
    rf"(?:\( )*WITH .*\b(?:INSERT INTO|DELETE FROM|MERGE INTO|UPDATE (?:ONLY )?{NAME} (?:AS \S+ )?SET) "
)


@Rule(
    "KM02",
    "data",
    why="A migration inserts, updates, deletes or copies no rows.",
    instead="Do it in batches, outside a migration.",
    bad=("fills a column", "UPDATE public.tickers SET sector = 'Unknown';\n"),
    good=(
        "a default fills the column for old rows and new ones, and rewrites nothing",
        "ALTER TABLE public.tickers ADD COLUMN venue text NOT NULL DEFAULT 'unknown';\n",
    ),
)
def moves_data(file: File) -> Iterator[Hit]:
    """A migration builds structure and moves no data.

    A backfill in a migration holds its locks until the last row is written, and cannot be stopped and resumed.
    [live-changes.md](live-changes.md) shows where it goes instead.
    """
    for statement in file.statements:
        if DATA.match(statement.form) or DATA_IN_WITH.match(statement.nested):
            yield Hit(statement.offset)
        else:
            calls = statement.calls(
                r"drop_chunks?|refresh_continuous_aggregate|run_job|delete_job|setval"
                r"|lo_(?:creat|create|from_bytea|put|unlink)"
            )
            yield from (Hit(call.offset) for call in calls)


JOBS = r"(?:add|alter)_job|(?:add|alter)_\w*policy|(?:add|alter)_policies"
ACTS = re.compile(r"CREATE (?:OR REPLACE )?(?:CONSTRAINT TRIGGER|TRIGGER|EVENT TRIGGER|POLICY|RULE) ")


@Rule(
    "KM03",
    "automation",
    why="A migration creates no trigger, rule, job or policy.",
    instead="Let the application or an operator do it.",
    bad=(
        "a policy that deletes data by itself",
        "SELECT public.add_retention_policy('public.ohlcv', interval '730 days');\n",
    ),
    good=(
        "structure that waits for an operator",
        "SELECT public.set_chunk_time_interval('public.ohlcv', interval '30 days');\n",
    ),
)
def starts_automation(file: File) -> Iterator[Hit]:
    """A migration starts nothing that acts by itself: no trigger, rule, job or policy.

    What a migration builds must behave in the same way on a developer's machine and in production, whatever runs beside
    it.
    """
    yield from file.beginning(ACTS)
    yield from (Hit(call.offset) for statement in file.statements for call in statement.calls(JOBS))


SETS_ROLE = re.compile(
    r"SET (?:SESSION |LOCAL )?(?:ROLE|SESSION AUTHORIZATION|AUTHORIZATION) |RESET (?:ROLE|SESSION AUTHORIZATION)\b"
)


@Rule(
    "KM04",
    "roles",
    why="Roles belong to the whole server, and the runner chooses the one that a migration runs as.",
    instead="Remove it.",
    bad=("a role", "CREATE ROLE app LOGIN;\n"),
    good=("a right for a role that the operator has made", "GRANT SELECT ON public.tickers TO reader;\n"),
)
def touches_roles(file: File) -> Iterator[Hit]:
    """A migration touches no role and no password.

    Roles belong to the whole server, and their names differ between environments. The runner chooses the role that a
    migration runs as.
    """
    yield from (Hit(finding.offset) for finding in file.reaching if finding.kind is reach.ROLE)
    yield from file.beginning(SETS_ROLE)


@Rule(
    "KM05",
    "extension",
    why="The only extension is timescaledb.",
    instead="Use what PostgreSQL has itself.",
    bad=("a function that PostgreSQL has itself", "CREATE EXTENSION pgcrypto;\n"),
    good=("the one that the schema needs", "CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;\n"),
)
def creates_another_extension(file: File) -> Iterator[Hit]:
    """TimescaleDB is the only extension: each further one must be installed, updated and preloaded on every server."""
    return file.beginning(re.compile(r"CREATE EXTENSION (?:IF NOT EXISTS )?+(?!TIMESCALEDB |\"timescaledb\" )"))


@Rule(
    "KM06",
    "transaction",
    why="The runner begins and ends the transaction.",
    instead="Remove it.",
    bad=("a transaction of its own", f"BEGIN;\n{COLUMN}COMMIT;\n"),
    good=("the statement alone", COLUMN),
)
def controls_the_transaction(file: File) -> Iterator[Hit]:
    """The runner begins and ends the transaction, so that a file and its row in the ledger commit together."""
    return file.beginning(
        re.compile(r"(?:BEGIN|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE)\b|(?:START|PREPARE|SET) TRANSACTION\b")
    )


KINDS = r"(?:TABLE|VIEW|MATERIALIZED VIEW|FOREIGN TABLE|TYPE|DOMAIN|SEQUENCE|INDEX|FUNCTION|PROCEDURE|AGGREGATE)"
BARE = re.compile(
    rf"(?:CREATE (?:OR REPLACE )?(?:UNLOGGED |RECURSIVE )?|ALTER |DROP |COMMENT ON ){KINDS} (?:CONCURRENTLY )?{MAYBE}"
    rf"{LIST}|TRUNCATE (?:TABLE )?(?:ONLY )?(?P<truncated>{NAME})"
    rf"|REFRESH MATERIALIZED VIEW (?:CONCURRENTLY )?(?P<view>{NAME})"
)
INDEXED = re.compile(rf"CREATE (?:UNIQUE )?INDEX .*?\bON (?:ONLY )?{LIST}")
NAMES_TABLE = re.compile(
    rf"(?:\bREFERENCES|\bPARTITION OF|\b(?:ATTACH|DETACH) PARTITION|\bINHERITS \(|[(,] LIKE) (?P<names>{NAME})"
)


@Rule(
    "KM07",
    "schema",
    why="The schema is missing.",
    instead="",
    bad=("no schema", "ALTER TABLE tickers ADD COLUMN isin text;\n"),
    good=("with a schema", COLUMN),
)
def leaves_out_the_schema(file: File) -> Iterator[Hit]:
    """What a migration defines or changes has its schema in its name.

    Without one, `search_path` decides what is meant.
    """
    for statement in file.statements:
        if re.match(r"CREATE (?:GLOBAL |LOCAL )?TEMP(?:ORARY)? ", statement.form):
            continue
        found: list[re.Match[str] | None] = [INDEXED.match(statement.form) or BARE.match(statement.form)]
        found += NAMES_TABLE.finditer(statement.nested) if re.match("CREATE|ALTER", statement.form) else []
        for match in found:
            listed = next((group for group in match.groups() if group), "") if match else ""
            # The column of COMMENT ON COLUMN has its table in front.
            for bare in (stored(name) for name in listed.split(" , ") if name and " . " not in name):
                at = next((part.offset for part in statement.parts if part.name == bare), statement.offset)
                yield Hit(at, f"Write the schema before {bare}.")
        if re.match(
            rf"COMMENT ON (?:COLUMN {WORD} \. {WORD} IS|(?:CONSTRAINT|TRIGGER) {WORD} ON {WORD} IS) ", statement.form
        ):
            yield Hit(statement.offset, "Write the schema before the table's name.")


CONSTRAINTS = {"PRIMARY", "UNIQUE", "REFERENCES", "FOREIGN", "CHECK", "EXCLUDE"}


@Rule(
    "KM08",
    "constraint",
    why="The constraint has no name.",
    instead="Write CONSTRAINT and a name before it.",
    bad=("PostgreSQL makes up the name", "ALTER TABLE public.tickers ADD CHECK (symbol <> '') NOT VALID;\n"),
    good=(
        "a name",
        "ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '') NOT VALID;\n",
    ),
)
def leaves_a_constraint_unnamed(file: File) -> Iterator[Hit]:
    """Every constraint is named explicitly.

    Checks, error messages and later migrations refer to it, and a name that PostgreSQL makes up can differ between
    databases.
    """
    for statement in file.statements:
        if re.match(r"CREATE (?:\S+ )?(?:\S+ )?TABLE ", statement.form):
            elements = statement.inside
        elif statement.form.startswith("CREATE DOMAIN "):
            elements = [statement.parts[2:]]
        else:
            elements = [action.parts[1:] for action in statement.actions if action.form.startswith("ADD ")]
        for parts in map(outside, elements):
            texts = [part.text if part.kind == "word" else "" for part in parts]
            for n, text in enumerate(texts):
                if text not in CONSTRAINTS or (text == "REFERENCES" and "FOREIGN" in texts[:n]):
                    continue
                is_column = text == "EXCLUDE" and texts[n + 1 : n + 2] != ["USING"]
                if not is_column and (n < 2 or texts[n - 2] != "CONSTRAINT"):
                    yield Hit(parts[n].offset)
                    break


@Rule(
    "KM09",
    "block",
    why="It cannot be checked what is run here.",
    instead="Write the statements themselves.",
    bad=("code", "DO $$ BEGIN DELETE FROM public.tickers; END $$;\n"),
    good=OWN_DATABASE,
)
def hides_statements(file: File) -> Iterator[Hit]:
    """A migration hides nothing in a block, a procedure, a prepared statement, a cursor or EXPLAIN.

    Neither lint nor a reviewer can tell what it does. The exception is a block that only executes statements about its
    own database, whose name a migration cannot know.
    """
    for statement in file.statements:
        hidden = statement.form.startswith("DO ") and not reach.is_about_own_database(statement.parts)
        hidden |= statement.form.startswith(("PREPARE ", "EXECUTE ", "DECLARE ", "EXPLAIN "))
        if hidden or (statement.form.startswith("CALL ") and not list(statement.calls(JOBS))):
            yield Hit(statement.offset)


PER_CHUNK = re.compile(r"TIMESCALEDB \. TRANSACTION_PER_CHUNK (?:= (?:TRUE|ON|1|') )?[,)]")
REINDEXES = re.compile(
    rf"REINDEX (?:\( (?P<options>[^)]*)\) )?(?P<what>TABLE|INDEX|SCHEMA) (?P<concurrently>CONCURRENTLY )?{NAMED} "
)
UNIQUE_ON_HYPERTABLE = (
    "A unique index on a hypertable blocks writes to all chunks while it is built: neither CONCURRENTLY nor"
    " timescaledb.transaction_per_chunk can build it.",
    "Create it together with the table, or plan a pause of the writers.",
)


@Rule(
    "KM10",
    "index",
    why="The index is built while writes are blocked.",
    instead="Write CREATE INDEX CONCURRENTLY, in a file with -- migrate: no-transaction.",
    bad=("blocks writes to all chunks", "CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume);\n"),
    good=(
        "chunk by chunk, outside a transaction",
        f"{ALONE_IN_FILE}CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume)"
        " WITH (timescaledb.transaction_per_chunk);\n",
    ),
    live=True,
)
def blocks_writes_for_an_index(file: File) -> Iterator[Hit]:
    """An index of a table in use is built CONCURRENTLY, since a plain build blocks writes until it ends.

    On a hypertable, TimescaleDB refuses CONCURRENTLY (0A000): there it is built chunk by chunk, each in a transaction
    of its own. UNIQUE has neither form on a hypertable: create such an index with its table, or plan a pause of the
    writers.
    """
    hypertables, partitioned = file.earlier.hypertables, file.earlier.partitioned
    for statement in file.statements:
        if match := CREATES_INDEX.match(statement.form):
            table = qualified(match["name"])
            if not (file.in_use(table) or table in file.earlier.views):
                continue
            if match["concurrently"] and not match["only"] and table in partitioned:
                yield Hit(
                    statement.offset,
                    "PostgreSQL refuses CONCURRENTLY on a partitioned table.",
                    "Build it ON ONLY the table, CONCURRENTLY on each partition, and attach these.",
                )
            elif table not in hypertables:
                if not match["concurrently"] and not (match["only"] and table in partitioned):
                    yield Hit(statement.offset)
            elif match["unique"]:
                yield Hit(statement.offset, *UNIQUE_ON_HYPERTABLE)
            elif match["concurrently"]:
                yield Hit(
                    statement.offset,
                    "TimescaleDB refuses CONCURRENTLY on a hypertable.",
                    "Write WITH (timescaledb.transaction_per_chunk) instead.",
                )
            elif not PER_CHUNK.search(statement.nested):
                yield Hit(
                    statement.offset,
                    "An index on a hypertable blocks writes to all chunks while it is built.",
                    "Add WITH (timescaledb.transaction_per_chunk), in a file with -- migrate: no-transaction.",
                )
        elif match := REINDEXES.match(statement.nested):
            table = qualified(match["name"])
            concurrently = match["concurrently"] or "CONCURRENTLY" in (match["options"] or "")
            if match["what"] == "TABLE" and table in hypertables:
                why = "TimescaleDB refuses REINDEX CONCURRENTLY of a hypertable." if concurrently else ""
                yield Hit(statement.offset, why, "Reindex its chunks one by one, outside a migration.")
            elif not concurrently and (match["what"] != "TABLE" or file.in_use(table)):
                instead = "Write REINDEX (CONCURRENTLY), in a file with -- migrate: no-transaction."
                yield Hit(statement.offset, "", instead)
    for table, action in file.altered():
        if not action.form.startswith("ADD "):
            continue
        if " USING INDEX " in action.form and table in hypertables:
            yield Hit(action.offset, "TimescaleDB refuses USING INDEX on a hypertable.", UNIQUE_ON_HYPERTABLE[1])
        elif re.search(r"\b(?:PRIMARY KEY|UNIQUE|EXCLUDE) (?!USING INDEX)", action.form):
            using = (
                "CREATE UNIQUE INDEX CONCURRENTLY in a file with -- migrate: no-transaction, and ADD CONSTRAINT ..."
                " USING INDEX in the next."
            )
            yield Hit(action.offset, *(UNIQUE_ON_HYPERTABLE if table in hypertables else ("", using)))


LIVE = "docs/live-changes.md shows how."
BLOCKED = "all rows while reads and writes are blocked"
IN_DEFAULT_PARTITION = "reads all rows of the default partition while reads and writes are blocked"
WEAK = re.compile(
    r"VALIDATE CONSTRAINT |ALTER (?:COLUMN )?\S+ SET STATISTICS |SET |RESET |CLUSTER ON |SET WITHOUT CLUSTER"
)


@Rule(
    "KM11",
    "alter",
    why="This reads or rewrites all rows.",
    instead=LIVE,
    bad=(
        "reads all chunks",
        "ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_volume_check CHECK (volume >= 0);\n",
    ),
    good=(
        "only rows that are written from now on",
        "ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_volume_check CHECK (volume >= 0) NOT VALID;\n",
    ),
    live=True,
)
def reads_or_rewrites_rows(file: File) -> Iterator[Hit]:
    """ALTER TABLE reads or rewrites no rows of a table in use.

    It would do so under a lock that blocks others, on a hypertable for all chunks. Changes of the catalog alone take an
    instant and are not found.
    """
    # The tables on which the transaction has a strong lock already.
    held: set[str] = set()
    transactional = schema.is_transactional(file.text)
    for statement in file.statements:
        if file.in_use(table := statement.altered):
            is_strong = not all(WEAK.match(action.form) for action in statement.actions)
            held |= {table} if is_strong and transactional else set()
            for action in statement.actions:
                what, instead = _done_to_rows(action, table, file, held=table in held or is_strong)
                if what:
                    yield Hit(action.offset, f"This {what}.", instead)
        if transactional and (read := held & statement.tables_read):
            yield Hit(
                statement.offset,
                f"This reads {min(read)} while an earlier statement's lock on it blocks others until the end.",
                "Move it to a file of its own.",
            )
        if transactional:
            # A foreign key locks the table that it refers to.
            held |= {qualified(match["name"]) for match in re.finditer(rf"\bREFERENCES {NAMED}", statement.nested)}
        parent = re.search(rf"\bPARTITION OF {NAMED} ", statement.form)
        if parent and qualified(parent["name"]) in file.earlier.defaults:
            yield Hit(statement.offset, f"This {IN_DEFAULT_PARTITION}.")


def _done_to_rows(action: Tokens, table: str, file: File, *, held: bool) -> tuple[str, str]:
    """Return what an action of ALTER TABLE does to the rows, and what to do instead; empty for nothing.

    `held` is whether the transaction has a strong lock on the table already.
    """
    earlier, text = file.earlier, action.form
    if text.startswith("VALIDATE CONSTRAINT ") and held:
        return (
            "reads all rows while the lock of another ALTER TABLE blocks others until the end",
            "Move it to a later file.",
        )
    if match := re.match(rf"ADD (?:CONSTRAINT {WORD} )?PRIMARY KEY USING INDEX (?P<index>{WORD}) ", text):
        columns = earlier.indexes.get(stored(match["index"]), [])
        if nullable := [column for column in columns if (table, column) not in earlier.not_null]:
            return (
                f"reads {BLOCKED}, since {nullable[0]} may be null",
                f"SET NOT NULL before, with the proof of a CHECK constraint. {LIVE}",
            )
    elif match := re.match(rf"ADD (?:CONSTRAINT {WORD} )?(?P<kind>CHECK|FOREIGN KEY)\b", text):
        if "NOT VALID" not in text:
            blocked = "reads and writes are" if match["kind"] == "CHECK" else "writes are"
            return (
                f"reads all rows while {blocked} blocked",
                f"Add it NOT VALID, and VALIDATE CONSTRAINT in a later file. {LIVE}",
            )
    elif action.added_column:
        return _done_by_new_column(action, file)
    elif match := RETYPES.match(text):
        start = next(n for n, part in enumerate(action.parts) if part.text == "TYPE" and part.kind == "word") + 1
        new = "".join(part.text.lower() for part in action.parts[start:])
        if not is_wider(earlier.types.get((table, stored(match["name"])), ""), new):
            return (
                f"rewrites {BLOCKED}",
                f"Add a column of the new type, fill it in batches, change the clients, and drop the old one. {LIVE}",
            )
    elif re.match(rf"ALTER (?:COLUMN )?{WORD} SET EXPRESSION ", text):
        return f"rewrites {BLOCKED}", "Add another column, and drop the old one when no client uses it."
    elif match := re.match(rf"ALTER (?:COLUMN )?(?P<name>{WORD}) SET NOT NULL ", text):
        if (table, stored(match["name"])) not in earlier.not_null:
            return (
                f"reads {BLOCKED}",
                "In earlier files add CHECK (column IS NOT NULL) NOT VALID and validate it, which spares the scan."
                f" {LIVE}",
            )
    elif re.match(r"SET (?:LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)\b", text):
        return f"copies {BLOCKED}", "Plan a pause, and do it outside a migration."
    elif match := re.match(rf"ATTACH PARTITION {NAMED} ", text):
        part = qualified(match["name"])
        if table in earlier.defaults:
            return (
                IN_DEFAULT_PARTITION,
                "In earlier files add to the default partition a CHECK that rules these rows out, NOT VALID, and"
                " validate it: that spares the scan.",
            )
        if file.in_use(part) and part not in earlier.checked:
            return (
                f"reads {BLOCKED} in {part}",
                "In earlier files add to it a CHECK that says what its rows hold, NOT VALID, and validate it: that"
                " spares the scan.",
            )
    return "", ""


# Functions of PostgreSQL that are volatile (pg_proc.provolatile); what is not is evaluated once for all rows.
VOLATILE = re.compile(
    r"random\w*|gen_random_\w+|uuidv\d|clock_timestamp|timeofday|nextval|setval|currval|lastval|currtid2|amvalidate|set_config|txid_\w+|pg_\w+"
    r"|lo_\w+|loread|lowrite|query_to_\w+|table_to_\w+|cursor_to_\w+|schema_to_\w+|database_to_\w+|brin_\w+|gin_clean_pending_list|ts_\w+"
    r"|current_query|inet_\w+|binary_upgrade_\w+|\w+_transforms_\w+|has_\w+|suppress_\w+|unique_key_recheck|RI_\w+|be_lo\w*"
)
WORDS_BEFORE_PARENTHESIS = {
    "CHECK", "DEFAULT", "IN", "AND", "OR", "NOT", "VALUES", "KEY", "AS", "USING", "ANY", "ALL", "CAST", "NUMERIC",
    "VARCHAR",
    "CHAR", "CHARACTER", "VARYING", "DECIMAL", "BIT", "TIME", "TIMESTAMP", "INTERVAL", "UNIQUE", "WITH", "ARRAY", "ROW",
    "COALESCE", "NULLIF", "GREATEST", "LEAST", "EXTRACT", "FLOAT",
}  # fmt: skip


SERIAL = {"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"}


def _done_by_new_column(action: Tokens, file: File) -> tuple[str, str]:
    """Return what a new column does to the rows that are there, and what to do instead; empty for nothing.

    A default rewrites them if it calls a function whose result differs from row to row, or may.
    """
    type_of_column = action.added_column.type if action.added_column else ""
    words = [part.text if part.kind == "word" else "" for part in action.parts]
    outer = [part.text for part in outside(action.parts) if part.kind == "word"]
    value = action.parts[words.index("DEFAULT") + 1 :] if "DEFAULT" in words else []
    ends = ("CONSTRAINT", "NOT", "CHECK", "REFERENCES", "UNIQUE", "PRIMARY", "GENERATED", "COLLATE")
    stop = next((n for n, part in enumerate(value) if part.text in ends and part.kind == "word"), len(value))
    rewrites = type_of_column in SERIAL or "GENERATED" in outer
    for n, (part, following) in enumerate(pairwise(value[:stop])):
        if not part.name or following.text != "(" or part.text in WORDS_BEFORE_PARENTHESIS:
            continue
        schema_name = value[n - 2].name if n > 1 and value[n - 1].text == "." else ""
        if schema_name in ("", "pg_catalog"):
            # PostgreSQL's own now() is found before one in public.
            ours = not schema_name and f"public.{part.name}" in file.later.volatile and part.name != "now"
            rewrites |= ours or VOLATILE.fullmatch(part.name) is not None
        else:
            rewrites |= f"{schema_name}.{part.name}" not in file.later.stable
    if rewrites:
        return (
            f"rewrites {BLOCKED}",
            "Add the column without it, SET DEFAULT for new rows, and fill the old ones in batches.",
        )
    if qualified(type_of_column) in file.earlier.domains and "[" not in type_of_column:
        return (
            f"rewrites {BLOCKED}, since the type is a domain with constraints",
            "Use the domain's base type, and add its CHECK to the table NOT VALID.",
        )
    if "CHECK" in outer or ("REFERENCES" in outer and value):
        return (
            f"reads {BLOCKED}",
            "Add the column alone, then the constraint NOT VALID, and validate it in a later file.",
        )
    return "", ""


SIZED = re.compile(r"(?P<base>varchar|charactervarying|text|numeric|decimal)(?:\((?P<size>\d+)(?:,(?P<scale>\d+))?\))?")


def is_wider(old: str, new: str) -> bool:
    """Return whether all values of one type are values of another as they are stored, so that no row is read."""
    before, after = SIZED.fullmatch(old), SIZED.fullmatch(new)
    if not before or not after:
        return False
    is_text = [match["base"] in ("varchar", "charactervarying", "text") for match in (before, after)]
    if is_text[0] != is_text[1]:
        return False
    if not after["size"]:
        return True
    same_scale = (before["scale"] or "0") == (after["scale"] or "0")
    return bool(before["size"]) and same_scale and int(before["size"]) <= int(after["size"])


ALONE = re.compile(r"VACUUM\b|REINDEX (?:SCHEMA|DATABASE|SYSTEM) |CLUSTER (?:VERBOSE )?(?:; |\Z)")
CONTINUOUS = re.compile(r"CREATE MATERIALIZED VIEW .*TIMESCALEDB \. CONTINUOUS\b(?!.*WITH NO DATA)")


@Rule(
    "KM12",
    "no_transaction",
    why="This cannot run in a transaction.",
    instead="Give the file the header -- migrate: no-transaction.",
    bad=(
        "the runner would open a transaction",
        "CREATE INDEX CONCURRENTLY tickers_sector_idx ON public.tickers (sector);\n",
    ),
    good=(
        "the header says so",
        f"{ALONE_IN_FILE}CREATE INDEX CONCURRENTLY tickers_sector_idx ON public.tickers (sector);\n",
    ),
)
def cannot_run_in_a_transaction(file: File) -> Iterator[Hit]:
    """What PostgreSQL and TimescaleDB refuse to do in a transaction needs a file of its own.

    `-- migrate: no-transaction` stands in its header. Without it, the migration fails when it is run.
    """
    if not schema.is_transactional(file.text):
        return
    for statement in file.statements:
        words = (part for part in statement.parts if part.kind == "word" and part.text == "CONCURRENTLY")
        if re.match(r"(?:CREATE|DROP|REINDEX|ALTER TABLE)\b", statement.form) and (word := next(words, None)):
            yield Hit(word.offset, "CONCURRENTLY cannot run in a transaction.")
        elif PER_CHUNK.search(statement.nested):
            yield Hit(statement.offset, "timescaledb.transaction_per_chunk cannot run in a transaction.")
        elif ALONE.match(statement.form) or CONTINUOUS.match(statement.nested):
            yield Hit(statement.offset)


COMMENTS_TABLE = re.compile(rf"COMMENT ON TABLE {NAMED} IS ' ")


@Rule(
    "KM13",
    "comment",
    why="The table has no comment.",
    instead="Say what one row is: COMMENT ON TABLE ... IS '...'.",
    bad=("no comment", SPLITS),
    good=("what one row is", f"{SPLITS}COMMENT ON TABLE public.splits IS 'One row per stock split';\n"),
)
def leaves_a_table_without_comment(file: File) -> Iterator[Hit]:
    """Every new table has a comment that says what one row is: docs/schema.md and every client show it."""
    commented = {
        statement.named(COMMENTS_TABLE)
        for statement in file.statements
        if any(part.text.strip() for part in statement.parts if part.kind == "string")
    }
    for statement in file.statements:
        if (name := statement.named(CREATES_TABLE)) and name not in commented:
            yield Hit(statement.offset, f"Table {name} has no comment.")


# Names that are given: of collations, extensions, languages and roles.
GIVEN = re.compile(
    r".*(?:\bCOLLATE|\bLANGUAGE|CREATE EXTENSION(?: IF NOT EXISTS)?|OWNER TO|FOR ROLE|SET ROLE) \Z"
    r"|(?:ALTER DEFAULT PRIVILEGES .* )?(?:GRANT|REVOKE) .* (?:TO|FROM) "
)


@Rule(
    "KM14",
    "names",
    why="A name is not in snake_case.",
    instead="Write names in snake_case and without quotes.",
    bad=(
        "quotes",
        'CREATE TABLE public."Splits" (ticker_id uuid NOT NULL);\n'
        "COMMENT ON TABLE public.\"Splits\" IS 'One row per stock split';\n",
    ),
    good=("snake_case", "ALTER TABLE public.tickers ADD COLUMN listed_at date;\n"),
)
def needs_quotes(file: File) -> Iterator[Hit]:
    """Names are in snake_case and need no quotes: a quoted name must be quoted in every query that is ever written."""
    for statement in file.statements:
        for n, part in enumerate(statement.parts):
            if part.kind not in ("word", "quoted"):
                continue
            written = file.text[part.offset : part.offset + len(part.text)] if part.kind == "word" else f'"{part.text}"'
            is_plain = re.fullmatch(r"[A-Z0-9_]+|[a-z_][a-z0-9_]*", written)
            if not is_plain and not GIVEN.match(form(statement.parts[:n], nested=True)):
                yield Hit(part.offset, f"{written} is not in snake_case, or is quoted.")


@Rule(
    "KM15",
    "reach",
    why="This reaches beyond the database.",
    instead="Remove it.",
    bad=(
        "the same in every database that the file is built in?",
        "ALTER DATABASE kapman_dev SET work_mem = '16MB';\n",
    ),
    good=OWN_DATABASE,
)
def reaches_beyond_the_database(file: File) -> Iterator[Hit]:
    """A migration stays within its database, since the same files are built and rehearsed in scratch databases.

    It names no database, changes no setting of the server, ends no session, uses no file or program of the server, and
    reaches no other server. Every verb that runs migrations refuses such statements too. What a migration sets on its
    own database goes into a DO block: `EXECUTE format('… DATABASE %I …', current_database())`.
    """
    for finding in file.reaching:
        if finding.kind not in (reach.ROLE, reach.LIMITS):
            yield Hit(finding.offset, f"{finding}.", finding.kind.instead)


@Rule(
    "KM16",
    "limits",
    why="This changes the limits that the runner sets.",
    instead="Write them in the header.",
    bad=("no limit at all", "SET lock_timeout = 0;\n"),
    good=("the header", f"-- lock-timeout: 5s\n{COLUMN}"),
)
def changes_the_limits(file: File) -> Iterator[Hit]:
    """How long a migration waits for locks and runs is the runner's, which retries and keeps to a budget.

    A file that needs more says so in its header; `SET lock_timeout`, `set_config`, `RESET ALL` and the like switch off
    what protects others.
    """
    for finding in file.reaching:
        if finding.kind is reach.LIMITS:
            yield Hit(finding.offset, f"{finding}.", finding.kind.instead)


LOCKS = re.compile(rf"(?:LOCK (?:TABLE )?(?:ONLY )?|CLUSTER (?:VERBOSE )?(?:{WORD} ON )?){LIST} |CLUSTER\b")
MOVES_STORAGE = re.compile(r"ALTER (?:INDEX|MATERIALIZED VIEW) (?:.* )?SET (?:TABLESPACE|ACCESS METHOD) ")
FULL = re.compile(r"VACUUM (?:FULL\b|\( (?:[^)]* )?FULL (?!OFF|FALSE|0)[^)]*\))")
DOMAIN_SCANS = re.compile(
    r"ALTER DOMAIN \S+(?: \. \S+)? (?:SET NOT NULL|VALIDATE CONSTRAINT|ADD (?!.*NOT VALID))"
    r"|ALTER TYPE \S+(?: \. \S+)? .*\bALTER ATTRIBUTE\b.* CASCADE\b"
)
CHUNK_CALLS = (
    r"(?:re|de)?compress_chunk|convert_to_(?:columnstore|rowstore)|move_chunk|reorder_chunk|merge_chunks|split_chunk"
    r"|attach_chunk|detach_chunk|rebuild_columnstore|pg_sleep\w*|pg_(?:try_)?advisory_\w*lock\w*"
)


@Rule(
    "KM17",
    "locks",
    why="This keeps others out until the migration ends.",
    instead="Do it outside a migration, when no client needs the table.",
    bad=("no client reads or writes until the commit", "LOCK TABLE public.tickers;\n"),
    good=(
        "a table that the file creates",
        f"{SPLITS}COMMENT ON TABLE public.splits IS 'Splits';\nLOCK TABLE public.splits;\n",
    ),
    live=True,
)
def keeps_others_out(file: File) -> Iterator[Hit]:
    """A migration takes no lock for its own sake, and does not keep a table in use from others while it has rows.

    So it contains no LOCK, CLUSTER, VACUUM FULL, REFRESH MATERIALIZED VIEW without CONCURRENTLY, constraints of a
    domain that tables use, rows locked by FOR UPDATE, advisory locks, or compression of chunks.
    """
    for statement in file.statements:
        at = statement.offset
        if match := LOCKS.match(statement.form):
            named = [qualified(name) for name in (match["names"] or "").split(" , ") if name and name != ";"]
            weak = re.search(r" IN (?:ACCESS SHARE|ROW SHARE|ROW EXCLUSIVE) MODE ", statement.form)
            if not weak and (not named or any(file.in_use(name) for name in named)):
                yield Hit(at)
        elif MOVES_STORAGE.match(statement.form):
            yield Hit(at)
        elif FULL.match(statement.nested):
            yield Hit(at, "VACUUM FULL copies a table while reads and writes are blocked.", "Remove it.")
        elif match := re.match(rf"REFRESH MATERIALIZED VIEW (?!CONCURRENTLY){NAMED} ", statement.form):
            if qualified(match["name"]) in file.earlier.views:
                yield Hit(
                    at,
                    "The view cannot be read while it is refreshed.",
                    "Write REFRESH MATERIALIZED VIEW CONCURRENTLY; the view needs a unique index for that.",
                )
        elif DOMAIN_SCANS.match(statement.form):
            yield Hit(
                at,
                "This reads or rewrites every table that uses the type, with writes to it blocked.",
                "Add the constraint to the tables instead, NOT VALID, and validate it in a later file.",
            )
        elif re.match(r"(?:\( )*(?:SELECT|WITH|TABLE)\b.* FOR (?:NO KEY |KEY )?(?:UPDATE|SHARE)\b", statement.nested):
            yield Hit(at, "The rows stay locked until the migration commits.", "Remove FOR UPDATE or FOR SHARE.")
        elif moves := next(statement.calls("create_hypertable"), None):
            if re.search(r"\bMIGRATE_DATA (?:=>|:=) (?!FALSE)", statement.nested):
                yield Hit(
                    moves.offset,
                    "The rows are copied into chunks while reads and writes are blocked.",
                    "Create a hypertable, fill it in batches, and rename both.",
                )
        else:
            yield from (Hit(call.offset) for call in statement.calls(CHUNK_CALLS))


BEHAVIOUR = re.compile(
    r"(?:ALTER|DROP) (?:POLICY|TRIGGER|RULE|EVENT TRIGGER) "
    r"|DROP (?:MATERIALIZED VIEW|PROCEDURE|ROUTINE|AGGREGATE|OPERATOR|CAST|PUBLICATION) "
    r"|SET (?:SESSION |LOCAL )?SESSION_REPLICATION_ROLE "
)
BEHAVIOUR_OF_TABLE = re.compile(
    r"(?:NO )?INHERIT |(?:ENABLE|DISABLE|FORCE|NO FORCE) (?:ROW LEVEL SECURITY|(?:REPLICA |ALWAYS )?(?:TRIGGER|RULE))\b"
)


@Rule(
    "KM18",
    "behaviour",
    why="This changes at once what other sessions may do or see.",
    instead="Do it in a release of its own, and say in a waiver why no client is surprised.",
    bad=("rows disappear for all but the owner", "ALTER TABLE public.tickers ENABLE ROW LEVEL SECURITY;\n"),
    good=("a view that shows less", "CREATE VIEW public.listed AS SELECT t.id FROM public.tickers AS t;\n"),
    live=True,
)
def changes_behaviour(file: File) -> Iterator[Hit]:
    """What other sessions may do with a table in use, and what their queries return, is not changed under them.

    Row security does that, and so do policies, triggers and rules that are switched off or dropped, and tables that
    become parts of another.
    """
    yield from file.beginning(BEHAVIOUR)
    for _, action in file.altered():
        if BEHAVIOUR_OF_TABLE.match(action.form):
            yield Hit(action.offset)


@Rule(
    "KM19",
    "restore",
    why="PostgreSQL writes this in other words after a restore.",
    instead="Write it in the words that PostgreSQL keeps.",
    bad=(
        "the literals become varchar, then text",
        "CREATE VIEW public.tech AS\nSELECT t.id FROM public.tickers AS t\nWHERE t.sector IN ('Tech', 'Software');\n",
    ),
    good=(
        "all of it is text",
        "CREATE VIEW public.tech AS\nSELECT t.id FROM public.tickers AS t\n"
        "WHERE t.sector::text IN ('Tech', 'Software');\n",
    ),
)
def reads_differently_after_a_restore(file: File) -> Iterator[Hit]:
    """A condition that a table, index, view, policy, trigger, rule or domain keeps reads the same after a restore.

    Otherwise the schema after a dump and restore, or after pg_upgrade, would differ from `db/schema.txt`. Three kinds
    change: a list of literals on a varchar column, an array of varchar, and a BETWEEN in front of `AND`.
    """
    for statement in file.statements:
        if statement.form.startswith(("CREATE ", "ALTER ")):
            yield from (Hit(*found) for found in restored.unstable(statement.parts, file.later.varchars))
