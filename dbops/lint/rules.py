"""What a migration must and must not do: one record for each rule.

A rule's record holds all that is said of it: its findings, docs/lint.md and the tests come from it. Statements are
recognised by their tokens, cut as the runner cuts them, so that nothing hides behind what a parser does not know.

A story's migration builds structure and nothing else. What must not be done to tables that are in use is said of plain
tables and of hypertables alike; only tables that an earlier file created are in use. What each statement locks was
measured: tests/data/locks has the tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dbops.lint import restored, schema
from dbops.lint.schema import Schema
from dbops.migrations import files, locks, reach
from dbops.migrations.sqlsplit import leading, split
from dbops.migrations.tokens import Token, form, groups, read, split_at


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule finds at an offset; `why` and `instead` are the rule's own where they are empty."""

    offset: int
    why: str = ""
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: what it is for, what its finding says, what to do instead, and an example of each kind with a note.

    `live` rules are about tables in use, and so leave the baseline alone.
    """

    code: str
    name: str
    about: str
    why: str
    instead: str
    find: Callable[[File], Iterator[Hit]]
    bad: tuple[str, str]
    good: tuple[str, str]
    live: bool = False


@dataclass(frozen=True)
class Statement:
    """A statement's tokens; `form` leaves out what stands in parentheses, `nested` does not."""

    parts: list[Token]

    @cached_property
    def form(self) -> str:
        """Return the form without what stands in parentheses."""
        return form(self.parts, nested=False)

    @cached_property
    def nested(self) -> str:
        """Return the whole form."""
        return form(self.parts, nested=True)

    @property
    def offset(self) -> int:
        """Return where the statement begins."""
        return self.parts[0].offset

    def calls(self, pattern: re.Pattern[str]) -> Iterator[Token]:
        """Yield the names of the functions that are called and match."""
        for part, after in zip(self.parts, self.parts[1:], strict=False):
            if part.name and after.text == "(" and after.kind == "other" and pattern.fullmatch(part.name):
                yield part


@dataclass(frozen=True)
class File:
    """A migration that is checked: where it is, its text, and what earlier files have built."""

    path: Path
    text: str
    earlier: Schema = field(repr=False)

    @classmethod
    def at(cls, path: Path, text: str) -> File:
        """Return the file of a path with its text."""
        return cls(path, text, schema.before(path))

    @cached_property
    def statements(self) -> list[Statement]:
        """Return the statements in order."""
        return [Statement(read(statement.text, statement.start)) for statement in split(self.text)]

    @cached_property
    def reaching(self) -> list[reach.Finding]:
        """Return what reaches beyond the database, or changes the runner's limits."""
        return reach.findings(self.text)

    @cached_property
    def functions(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the functions that earlier files or this one create: the stable ones, and the volatile ones."""
        made = [found for _, sql in schema.statements(self.text) if (found := schema.made_function(sql))]
        stable = {name for name, is_stable in made if is_stable}
        volatile = {name for name, is_stable in made if not is_stable}
        return self.earlier.stable - volatile | stable, self.earlier.volatile - stable | volatile

    def in_use(self, table: str) -> bool:
        """Return whether a table is there before the file; chunks are."""
        return table in self.earlier.tables or table.startswith("_timescaledb_internal.")

    def actions(self, statement: Statement) -> tuple[str, list[list[Token]]]:
        """Return the table in use that an ALTER TABLE is about, and its actions; an empty name for other statements."""
        if (found := _object(statement, _ALTERS_TABLE)) and self.in_use(found[0]):
            return found[0], split_at(_without_end(statement.parts[found[2] :]), ",")
        return "", []

    def altered(self) -> Iterator[tuple[str, list[list[Token]]]]:
        """Yield each table in use that is altered, and the actions, for each ALTER TABLE."""
        yield from (found for statement in self.statements if (found := self.actions(statement))[0])


# Names in the form of a statement.
_N = r'(?:"[^"]*"|[^\s."()]+)'
_NAME = rf"{_N}(?: \. {_N})*"
_LIST = rf"(?P<names>{_NAME}(?: , {_NAME})*)"
_QUALIFIED = rf"(?P<name>{_NAME})"
_MAYBE = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?"
_KINDS = r"(?:TABLE|VIEW|MATERIALIZED VIEW|FOREIGN TABLE|TYPE|DOMAIN|SEQUENCE|INDEX|FUNCTION|PROCEDURE|AGGREGATE)"
_CREATES_TABLE = re.compile(rf"CREATE (?:UNLOGGED |FOREIGN )?TABLE {_MAYBE}{_QUALIFIED} ")
_CREATES_TEMPORARY = re.compile(r"CREATE (?:GLOBAL |LOCAL )?TEMP(?:ORARY)? ")
_ALTERS_TABLE = re.compile(rf"ALTER (?:FOREIGN )?TABLE {_MAYBE}{_QUALIFIED} (?:\* )?")
_CREATES_INDEX = re.compile(
    rf"CREATE (?P<unique>UNIQUE )?INDEX (?P<concurrently>CONCURRENTLY )?(?:IF NOT EXISTS )?(?:{_N} )??"
    rf"ON (?P<only>ONLY )?{_QUALIFIED} "
)
_REINDEXES = re.compile(
    rf"REINDEX (?:\( (?P<options>[^)]*)\) )?(?P<what>TABLE|INDEX|SCHEMA) (?P<concurrently>CONCURRENTLY )?{_QUALIFIED} "
)


def _stored(shown: str) -> str:
    """Return the name in a form as PostgreSQL keeps it, with the schema public where none is written."""
    parts = [part[1:-1] if part[:1] == '"' else part.lower() for part in shown.split(" . ")]
    return ".".join(parts if len(parts) > 1 else ["public", *parts])


def _object(statement: Statement, pattern: re.Pattern[str]) -> tuple[str, re.Match[str], int] | None:
    """Return the name that a statement of a kind is about, the match, and how many tokens that took; None if none."""
    match = pattern.match(statement.form)
    return (_stored(match["name"]), match, len(match[0].split())) if match else None


def _named(statement: Statement, pattern: re.Pattern[str]) -> str | None:
    found = _object(statement, pattern)
    return found[0] if found else None


def _without_end(parts: list[Token]) -> list[Token]:
    return parts[:-1] if parts and parts[-1].text == ";" and parts[-1].kind == "other" else parts


def _at_start(*patterns: str) -> Callable[[File], Iterator[Hit]]:
    """Return what finds the statements that begin in one of some ways."""
    compiled = re.compile("|".join(patterns))
    return lambda file: (Hit(s.offset) for s in file.statements if compiled.match(s.form))


def _header(file: File) -> Iterator[Hit]:
    said = "".join(leading(file.text)).lower()
    if missing := [word for word in ("why:", "needs:", "locks:") if word not in said]:
        yield Hit(0, f"The header lacks: {' '.join(missing)}.")
        return
    try:
        locks.parse(files.parse_header(file.text).locks)
    except ValueError as error:
        yield Hit(file.text.lower().find("locks:"), f"{error}.".capitalize())


_DATA = re.compile(
    r"(?:INSERT|UPDATE|DELETE|MERGE|TRUNCATE|COPY) |SELECT .*\bINTO "
    r"|EXPLAIN .*\b(?:INSERT INTO|DELETE FROM|UPDATE|MERGE) "
    r"|CREATE (?:\S+ )?(?:\S+ )?TABLE .*\bAS (?:SELECT|WITH|VALUES|TABLE|EXECUTE|; |\Z)"
)
_DATA_IN_WITH = re.compile(rf"\b(?:INSERT INTO|DELETE FROM|MERGE INTO|UPDATE (?:ONLY )?{_QUALIFIED} (?:AS \S+ )?SET) ")
_DATA_CALLS = re.compile(
    r"drop_chunks?|refresh_continuous_aggregate|run_job|delete_job|setval|lo_(?:creat|create|from_bytea|put|unlink)"
)


def _data(file: File) -> Iterator[Hit]:
    for statement in file.statements:
        if _DATA.match(statement.form) or (
            statement.form.startswith("WITH ") and _DATA_IN_WITH.search(statement.nested)
        ):
            yield Hit(statement.offset)
        else:
            yield from (Hit(call.offset) for call in statement.calls(_DATA_CALLS))


_JOBS = re.compile(r"(?:add|alter)_job|(?:add|alter)_\w*policy|(?:add|alter)_policies")
_ACTS = re.compile(r"CREATE (?:OR REPLACE )?(?:CONSTRAINT TRIGGER|TRIGGER|EVENT TRIGGER|POLICY|RULE) ")


def _automation(file: File) -> Iterator[Hit]:
    for statement in file.statements:
        if _ACTS.match(statement.form):
            yield Hit(statement.offset)
        yield from (Hit(call.offset) for call in statement.calls(_JOBS))


_SETS_ROLE = re.compile(
    r"SET (?:SESSION |LOCAL )?(?:ROLE|SESSION AUTHORIZATION|AUTHORIZATION) |RESET (?:ROLE|SESSION AUTHORIZATION)\b"
)


def _roles(file: File) -> Iterator[Hit]:
    yield from (Hit(finding.offset) for finding in file.reaching if finding.kind is reach.ROLE)
    yield from (Hit(s.offset) for s in file.statements if _SETS_ROLE.match(s.form))


_STORES_CONDITION = re.compile(r"(?:CREATE|ALTER) ")


def _unstable(file: File) -> Iterator[Hit]:
    in_file = [schema.varchar_columns(sql) for _, sql in schema.statements(file.text)]
    varchars = file.earlier.varchars.union(*in_file)
    for statement in file.statements:
        if _STORES_CONDITION.match(statement.form):
            yield from (Hit(*found) for found in restored.unstable(statement.parts, varchars))


def _reach(file: File) -> Iterator[Hit]:
    for finding in file.reaching:
        if finding.kind not in (reach.ROLE, reach.LIMITS):
            yield Hit(finding.offset, f"{finding}.", finding.kind.instead)


def _limits(file: File) -> Iterator[Hit]:
    for finding in file.reaching:
        if finding.kind is reach.LIMITS:
            yield Hit(finding.offset, f"{finding}.", finding.kind.instead)


_BARE = re.compile(
    rf"(?:CREATE (?:OR REPLACE )?(?:UNLOGGED |RECURSIVE )?|ALTER |DROP |COMMENT ON ){_KINDS} (?:CONCURRENTLY )?{_MAYBE}"
    rf"{_LIST}|TRUNCATE (?:TABLE )?(?:ONLY )?(?P<truncated>{_NAME})"
    rf"|REFRESH MATERIALIZED VIEW (?:CONCURRENTLY )?(?P<view>{_NAME})"
)
_INDEXED = re.compile(rf"CREATE (?:UNIQUE )?INDEX .*?\bON (?:ONLY )?{_LIST}")
_REFERS = re.compile(rf"\bREFERENCES {_LIST}")
_NAMES_TABLE = re.compile(
    rf"(?:\bREFERENCES|\bPARTITION OF|\b(?:ATTACH|DETACH) PARTITION|\bINHERITS \(|[(,] LIKE) (?P<names>{_NAME})"
)


def _schemas(file: File) -> Iterator[Hit]:
    for statement in file.statements:
        if _CREATES_TEMPORARY.match(statement.form):
            continue
        creates_index = _INDEXED.match(statement.form)
        found: list[re.Match[str] | None] = [creates_index or _BARE.match(statement.form)]
        found += _NAMES_TABLE.finditer(statement.nested) if re.match("CREATE|ALTER", statement.form) else []
        for match in found:
            listed = next((group for group in match.groups() if group), "") if match else ""
            names = [name for name in listed.split(" , ") if name and " . " not in name]
            # The column of COMMENT ON COLUMN has its table in front.
            for name in names:
                bare = _stored(name).removeprefix("public.")
                at = next((part.offset for part in statement.parts if part.name == bare), statement.offset)
                yield Hit(at, f"Write the schema before {bare}.")
        if match := re.match(
            rf"COMMENT ON (?:COLUMN {_N} \. {_N} IS|(?:CONSTRAINT|TRIGGER) {_N} ON {_N} IS) ", statement.form
        ):
            yield Hit(statement.offset, "Write the schema before the table's name.")


_KEYS = {"PRIMARY", "UNIQUE", "REFERENCES", "FOREIGN", "CHECK", "EXCLUDE"}


def _elements(statement: Statement) -> Iterator[list[Token]]:
    """Yield what a CREATE TABLE lists, and what an ALTER TABLE adds."""
    if re.match(r"CREATE (?:\S+ )?(?:\S+ )?TABLE ", statement.form):
        for inside, _ in list(groups(statement.parts))[:1]:
            yield from split_at(inside, ",")
    elif statement.form.startswith("CREATE DOMAIN "):
        yield statement.parts[2:]
    elif found := _object(statement, _ALTERS_TABLE):
        for action in split_at(_without_end(statement.parts[found[2] :]), ","):
            if action and action[0].text == "ADD":
                yield action[1:]


def _outside(parts: list[Token]) -> list[Token]:
    """Return the tokens that do not stand in parentheses."""
    depth, found = 0, []
    for part in parts:
        if part.kind == "other" and part.text in "()":
            depth += 1 if part.text == "(" else -1
        elif not depth:
            found.append(part)
    return found


def _constraints(file: File) -> Iterator[Hit]:
    for statement in file.statements:
        for element in _elements(statement):
            parts = _outside(element)
            texts = [part.text if part.kind == "word" else "" for part in parts]
            for n, text in enumerate(texts):
                if text not in _KEYS or (text == "REFERENCES" and "FOREIGN" in texts[:n]):
                    continue
                if (n < 2 or texts[n - 2] != "CONSTRAINT") and not (
                    text == "EXCLUDE" and texts[n + 1 : n + 2] != ["USING"]
                ):
                    yield Hit(parts[n].offset)
                    break


_RUNS_ANOTHER = re.compile(r"(?:PREPARE|EXECUTE|DECLARE|EXPLAIN) ")


def _blocks(file: File) -> Iterator[Hit]:
    for statement in file.statements:
        hidden = statement.form.startswith("DO ") and not reach.is_about_own_database(statement.parts)
        hidden |= _RUNS_ANOTHER.match(statement.form) is not None
        if hidden or (statement.form.startswith("CALL ") and not list(statement.calls(_JOBS))):
            yield Hit(statement.offset)


PER_CHUNK = re.compile(r"TIMESCALEDB \. TRANSACTION_PER_CHUNK (?:= (?:TRUE|ON|1|') )?[,)]")
_UNIQUE_ON_HYPERTABLE = (
    "A unique index on a hypertable blocks writes to all chunks while it is built: neither CONCURRENTLY nor"
    " timescaledb.transaction_per_chunk can build it.",
    "Create it together with the table, or plan a pause of the writers.",
)


def _indexes(file: File) -> Iterator[Hit]:
    hypertables = file.earlier.hypertables
    for statement in file.statements:
        if found := _object(statement, _CREATES_INDEX):
            table, match, _ = found
            if not (file.in_use(table) or table in file.earlier.views):
                continue
            per_chunk = PER_CHUNK.search(statement.nested)
            if match["concurrently"] and not match["only"] and table in file.earlier.partitioned:
                yield Hit(
                    statement.offset,
                    "PostgreSQL refuses CONCURRENTLY on a partitioned table.",
                    "Build it ON ONLY the table, CONCURRENTLY on each partition, and attach these.",
                )
            elif table not in hypertables:
                if not match["concurrently"] and not (match["only"] and table in file.earlier.partitioned):
                    yield Hit(statement.offset)
            elif match["unique"]:
                yield Hit(statement.offset, *_UNIQUE_ON_HYPERTABLE)
            elif match["concurrently"]:
                yield Hit(
                    statement.offset,
                    "TimescaleDB refuses CONCURRENTLY on a hypertable.",
                    "Write WITH (timescaledb.transaction_per_chunk) instead.",
                )
            elif not per_chunk:
                yield Hit(
                    statement.offset,
                    "An index on a hypertable blocks writes to all chunks while it is built.",
                    "Add WITH (timescaledb.transaction_per_chunk), in a file with -- migrate: no-transaction.",
                )
        elif reindex := _REINDEXES.match(statement.nested):
            table, concurrently = (
                _stored(reindex["name"]),
                reindex["concurrently"] or "CONCURRENTLY" in (reindex["options"] or ""),
            )
            if reindex["what"] == "TABLE" and table in hypertables:
                why = "TimescaleDB refuses REINDEX CONCURRENTLY of a hypertable." if concurrently else ""
                yield Hit(statement.offset, why, "Reindex its chunks one by one, outside a migration.")
            elif not concurrently and (reindex["what"] != "TABLE" or file.in_use(table)):
                yield Hit(
                    statement.offset, "", "Write REINDEX (CONCURRENTLY), in a file with -- migrate: no-transaction."
                )
    for table, actions in file.altered():
        for action in actions:
            shown = form(action, nested=False)
            if shown.startswith("ADD ") and " USING INDEX " in shown and table in hypertables:
                yield Hit(
                    action[0].offset, "TimescaleDB refuses USING INDEX on a hypertable.", _UNIQUE_ON_HYPERTABLE[1]
                )
            elif shown.startswith("ADD ") and re.search(r"\b(?:PRIMARY KEY|UNIQUE|EXCLUDE) (?!USING INDEX)", shown):
                using = (
                    "CREATE UNIQUE INDEX CONCURRENTLY in a file with -- migrate: no-transaction, and ADD CONSTRAINT ..."
                    " USING INDEX in the next."
                )
                yield Hit(action[0].offset, *(_UNIQUE_ON_HYPERTABLE if table in hypertables else ("", using)))


_SERIAL = {"SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL2", "SERIAL4", "SERIAL8"}
# Functions of PostgreSQL that are volatile (pg_proc.provolatile); what is not is evaluated once for all rows.
VOLATILE = re.compile(
    r"random\w*|gen_random_\w+|uuidv\d|clock_timestamp|timeofday|nextval|setval|currval|lastval|currtid2|amvalidate|set_config|txid_\w+|pg_\w+"
    r"|lo_\w+|loread|lowrite|query_to_\w+|table_to_\w+|cursor_to_\w+|schema_to_\w+|database_to_\w+|brin_\w+|gin_clean_pending_list|ts_\w+"
    r"|current_query|inet_\w+|binary_upgrade_\w+|\w+_transforms_\w+|has_\w+|suppress_\w+|unique_key_recheck|RI_\w+|be_lo\w*"
)
_WORDS_BEFORE_PARENTHESIS = {
    "CHECK", "DEFAULT", "IN", "AND", "OR", "NOT", "VALUES", "KEY", "AS", "USING", "ANY", "ALL", "CAST", "NUMERIC",
    "VARCHAR",
    "CHAR", "CHARACTER", "VARYING", "DECIMAL", "BIT", "TIME", "TIMESTAMP", "INTERVAL", "UNIQUE", "WITH", "ARRAY", "ROW",
    "COALESCE", "NULLIF", "GREATEST", "LEAST", "EXTRACT", "FLOAT",
}  # fmt: skip


def _is_volatile(parts: list[Token], file: File) -> bool:
    """Return whether an expression calls a function whose result differs from row to row, or may."""
    stable, volatile = file.functions
    for n, part in enumerate(parts[:-1]):
        if not part.name or parts[n + 1].text != "(" or part.text in _WORDS_BEFORE_PARENTHESIS:
            continue
        schema_name = parts[n - 2].name if n > 1 and parts[n - 1].text == "." else ""
        if schema_name in ("", "pg_catalog"):
            # PostgreSQL's own now() is found before one in public.
            ours = not schema_name and f"public.{part.name}" in volatile and part.name != "now"
            if ours or VOLATILE.fullmatch(part.name):
                return True
        elif f"{schema_name}.{part.name}" not in stable:
            return True
    return False


def _added_column(action: list[Token], file: File) -> tuple[str, str]:
    """Return what a new column does to the rows that are there, and what to do instead; empty for nothing."""
    parts = _outside(action)
    texts = [part.text if part.kind == "word" else part.name for part in parts]
    first = next((n for n, text in enumerate(texts) if n and text not in ("COLUMN", "IF", "NOT", "EXISTS")), 0)
    kind = _stored(" . ".join(part.name for part in parts[first + 1 : first + 4 : 2] if part.name))
    if first + 2 >= len(parts) or parts[first + 2].text != ".":
        kind = _stored(parts[first + 1].name) if first + 1 < len(parts) else ""
    default = next((n for n, part in enumerate(action) if part.text == "DEFAULT" and part.kind == "word"), 0)
    ends = ("CONSTRAINT", "NOT", "CHECK", "REFERENCES", "UNIQUE", "PRIMARY", "GENERATED", "COLLATE")
    value = action[default + 1 :] if default else []
    stop = next((n for n, part in enumerate(value) if part.text in ends and part.kind == "word"), len(value))
    instead = "Add the column without it, SET DEFAULT for new rows, and fill the old ones in batches."
    if kind.rpartition(".")[2].upper() in _SERIAL or "GENERATED" in texts or _is_volatile(value[:stop], file):
        return f"rewrites {_ALL_BLOCKED}", instead
    if kind in file.earlier.domains and "[" not in [part.text for part in parts]:
        return f"rewrites {_ALL_BLOCKED}, since the type is a domain with constraints", (
            "Use the domain's base type, and add its CHECK to the table NOT VALID."
        )
    if "CHECK" in texts or ("REFERENCES" in texts and default):
        return f"reads {_ALL_BLOCKED}", (
            "Add the column alone, then the constraint NOT VALID, and validate it in a later file."
        )
    return "", ""


def _column(shown: str) -> str:
    """Return the name of a column or an index in a form as PostgreSQL keeps it."""
    return shown[1:-1] if shown[:1] == '"' else shown.lower()


_SIZED = re.compile(
    r"(?P<base>varchar|charactervarying|text|numeric|decimal)(?:\((?P<size>\d+)(?:,(?P<scale>\d+))?\))?"
)


def is_wider(old: str, new: str) -> bool:
    """Return whether all values of one type are values of another as they are stored, so that no row is read."""
    before, after = _SIZED.fullmatch(old), _SIZED.fullmatch(new)
    if not before or not after:
        return False
    is_text = [match["base"] in ("varchar", "charactervarying", "text") for match in (before, after)]
    if is_text[0] != is_text[1]:
        return False
    if not after["size"]:
        return True
    same_scale = (before["scale"] or "0") == (after["scale"] or "0")
    return bool(before["size"]) and same_scale and int(before["size"]) <= int(after["size"])


_ALL_BLOCKED = "all rows while reads and writes are blocked"
_LIVE = "docs/live-changes.md shows how."
_WEAK = re.compile(
    r"VALIDATE CONSTRAINT |ALTER (?:COLUMN )?\S+ SET STATISTICS |SET |RESET |CLUSTER ON |SET WITHOUT CLUSTER"
)


def _alterations(file: File) -> Iterator[Hit]:
    held: set[str] = set()
    transactional = schema.is_transactional(file.text)
    for statement in file.statements:
        table, actions = file.actions(statement)
        shown = [form(action, nested=False) for action in actions]
        is_strong = not all(_WEAK.match(text) for text in shown)
        if table and is_strong and transactional:
            held.add(table)
        for action, text in zip(actions, shown, strict=True):
            what, instead = _alteration(action, text, table, file, held=table in held or is_strong)
            if what:
                yield Hit(action[0].offset, f"This {what}.", instead)
        if transactional and (read := held.intersection(_reads(statement))):
            yield Hit(
                statement.offset,
                f"This reads {min(read)} while an earlier statement's lock on it blocks others until the end.",
                "Move it to a file of its own.",
            )
        if transactional:
            # A foreign key locks the table that it refers to.
            held |= {_stored(match["names"]) for match in _REFERS.finditer(statement.nested)}
        parent = re.search(rf"\bPARTITION OF {_QUALIFIED} ", statement.form)
        if parent and _stored(parent["name"]) in file.earlier.defaults:
            yield Hit(
                statement.offset, "This reads all rows of the default partition while reads and writes are blocked."
            )


def _reads(statement: Statement) -> set[str]:
    """Return the tables that a query reads, also one that fills a materialized view."""
    if not re.match(r"(?:SELECT|WITH|CREATE MATERIALIZED VIEW|REFRESH|ANALYZE)\b", statement.form):
        return set()
    if "WITH NO DATA" in statement.form:
        return set()
    return {
        _stored(match["name"]) for match in re.finditer(rf"\b(?:FROM|JOIN) (?:ONLY )?{_QUALIFIED} ", statement.nested)
    }


def _alteration(action: list[Token], text: str, table: str, file: File, *, held: bool) -> tuple[str, str]:
    """Return what an action of ALTER TABLE does to the rows, and what to do instead; empty for nothing.

    `held` is whether the transaction has a strong lock on the table already.
    """
    earlier = file.earlier
    constraint = re.match(rf"ADD (?:CONSTRAINT {_N} )?(?P<kind>CHECK|FOREIGN KEY|UNIQUE|PRIMARY KEY|EXCLUDE)\b", text)
    if text.startswith("VALIDATE CONSTRAINT ") and held:
        return (
            "reads all rows while the lock of another ALTER TABLE blocks others until the end",
            "Move it to a later file.",
        )
    if constraint:
        if match := re.match(rf"ADD (?:CONSTRAINT {_N} )?PRIMARY KEY USING INDEX (?P<index>{_N}) ", text):
            nullable = [
                c for c in earlier.indexes.get(_column(match["index"]), ()) if (table, c) not in earlier.not_null
            ]
            if nullable:
                return f"reads {_ALL_BLOCKED}, since {nullable[0]} may be null", (
                    f"SET NOT NULL before, with the proof of a CHECK constraint. {_LIVE}"
                )
        if constraint["kind"] in ("CHECK", "FOREIGN KEY") and "NOT VALID" not in text:
            blocked = "reads and writes are" if constraint["kind"] == "CHECK" else "writes are"
            return (
                f"reads all rows while {blocked} blocked",
                f"Add it NOT VALID, and VALIDATE CONSTRAINT in a later file. {_LIVE}",
            )
        return "", ""
    if text.startswith("ADD ") and not text.startswith("ADD CONSTRAINT "):
        return _added_column(action, file)
    if match := re.match(rf"ALTER (?:COLUMN )?(?P<name>{_N}) (?:SET DATA )?TYPE ", text):
        start = next(n for n, part in enumerate(action) if part.text == "TYPE" and part.kind == "word") + 1
        old = earlier.types.get((table, _column(match["name"])), "")
        if is_wider(old, "".join(part.text.lower() for part in action[start:])):
            return "", ""
        return f"rewrites {_ALL_BLOCKED}", (
            f"Add a column of the new type, fill it in batches, change the clients, and drop the old one. {_LIVE}"
        )
    if re.match(rf"ALTER (?:COLUMN )?{_N} SET EXPRESSION ", text):
        return f"rewrites {_ALL_BLOCKED}", "Add another column, and drop the old one when no client uses it."
    match = re.match(rf"ALTER (?:COLUMN )?(?P<name>{_N}) SET NOT NULL ", text)
    if match and (table, _column(match["name"])) not in earlier.not_null:
        return f"reads {_ALL_BLOCKED}", (
            f"In earlier files add CHECK (column IS NOT NULL) NOT VALID and validate it, which spares the scan. {_LIVE}"
        )
    if re.match(r"SET (?:LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)\b", text):
        return f"copies {_ALL_BLOCKED}", "Plan a pause, and do it outside a migration."
    if match := re.match(rf"ATTACH PARTITION {_QUALIFIED} ", text):
        part = _stored(match["name"])
        if table in earlier.defaults:
            return "reads all rows of the default partition while reads and writes are blocked", (
                "In earlier files add to the default partition a CHECK that rules these rows out, NOT VALID, and"
                " validate it: that spares the scan."
            )
        if file.in_use(part) and part not in earlier.checked:
            return f"reads {_ALL_BLOCKED} in {part}", (
                "In earlier files add to it a CHECK that says what its rows hold, NOT VALID, and validate it: that"
                " spares the scan."
            )
    return "", ""


_ALONE = re.compile(r"VACUUM\b|REINDEX (?:SCHEMA|DATABASE|SYSTEM) |CLUSTER (?:VERBOSE )?(?:; |\Z)")
_CONTINUOUS = re.compile(r"CREATE MATERIALIZED VIEW .*TIMESCALEDB \. CONTINUOUS\b(?!.*WITH NO DATA)")


def _no_transaction(file: File) -> Iterator[Hit]:
    if not schema.is_transactional(file.text):
        return
    for statement in file.statements:
        if re.match(r"(?:CREATE|DROP|REINDEX|ALTER TABLE)\b", statement.form):
            words = (part for part in statement.parts if part.kind == "word")
            if concurrently := next((part for part in words if part.text == "CONCURRENTLY"), None):
                yield Hit(concurrently.offset, "CONCURRENTLY cannot run in a transaction.")
                continue
        if PER_CHUNK.search(statement.nested):
            yield Hit(statement.offset, "timescaledb.transaction_per_chunk cannot run in a transaction.")
        elif _ALONE.match(statement.form) or _CONTINUOUS.match(statement.nested):
            yield Hit(statement.offset)


_COMMENTS_TABLE = re.compile(rf"COMMENT ON TABLE {_QUALIFIED} IS ' ")


def _comments(file: File) -> Iterator[Hit]:
    commented = {
        name
        for statement in file.statements
        if (name := _named(statement, _COMMENTS_TABLE))
        and any(p.text.strip() for p in statement.parts if p.kind == "string")
    }
    for statement in file.statements:
        if (name := _named(statement, _CREATES_TABLE)) and name not in commented:
            yield Hit(statement.offset, f"Table {name} has no comment.")


# Names that are given: of collations, extensions, languages and roles.
_BEFORE_GIVEN = re.compile(
    r"(?:\bCOLLATE|\bLANGUAGE|CREATE EXTENSION(?: IF NOT EXISTS)?|OWNER TO|FOR ROLE|SET ROLE) \Z"
)
_GIVES_RIGHTS = re.compile(r"(?:ALTER DEFAULT PRIVILEGES .* )?(?:GRANT|REVOKE) .* (?:TO|FROM) ")


def _names(file: File) -> Iterator[Hit]:
    for statement in file.statements:
        for n, part in enumerate(statement.parts):
            if part.kind not in ("word", "quoted"):
                continue
            written = file.text[part.offset : part.offset + len(part.text)] if part.kind == "word" else f'"{part.text}"'
            if re.fullmatch(r"[A-Z0-9_]+|[a-z_][a-z0-9_]*", written):
                continue
            before = form(statement.parts[:n], nested=True)
            if not (_BEFORE_GIVEN.search(before) or _GIVES_RIGHTS.match(before)):
                yield Hit(part.offset, f"{written} is not in snake_case, or is quoted.")


_LOCKS = re.compile(rf"(?:LOCK (?:TABLE )?(?:ONLY )?|CLUSTER (?:VERBOSE )?(?:{_N} ON )?){_LIST} |CLUSTER\b")
_CHUNK_CALLS = re.compile(
    r"(?:re|de)?compress_chunk|convert_to_(?:columnstore|rowstore)|move_chunk|reorder_chunk|merge_chunks|split_chunk"
    r"|attach_chunk|detach_chunk|rebuild_columnstore|pg_sleep\w*|pg_(?:try_)?advisory_\w*lock\w*"
)
_DOMAIN_SCANS = re.compile(
    r"ALTER DOMAIN \S+(?: \. \S+)? (?:SET NOT NULL|VALIDATE CONSTRAINT|ADD (?!.*NOT VALID))"
    r"|ALTER TYPE \S+(?: \. \S+)? .*\bALTER ATTRIBUTE\b.* CASCADE\b"
)
_FULL = re.compile(r"VACUUM (?:FULL\b|\( (?:[^)]* )?FULL (?!OFF|FALSE|0)[^)]*\))")


def _held_locks(file: File) -> Iterator[Hit]:
    for statement in file.statements:
        if match := _LOCKS.match(statement.form):
            named = [_stored(name) for name in (match["names"] or "").split(" , ") if name and name != ";"]
            weak = re.search(r" IN (?:ACCESS SHARE|ROW SHARE|ROW EXCLUSIVE) MODE ", statement.form)
            if not weak and (not named or any(file.in_use(name) for name in named)):
                yield Hit(statement.offset)
        elif _STORAGE.match(statement.form):
            yield Hit(statement.offset)
        elif _FULL.match(statement.nested):
            yield Hit(statement.offset, "VACUUM FULL copies a table while reads and writes are blocked.", "Remove it.")
        elif match := re.match(rf"REFRESH MATERIALIZED VIEW (?!CONCURRENTLY){_QUALIFIED} ", statement.form):
            if _stored(match["name"]) in file.earlier.views:
                yield Hit(
                    statement.offset,
                    "The view cannot be read while it is refreshed.",
                    "Write REFRESH MATERIALIZED VIEW CONCURRENTLY; the view needs a unique index for that.",
                )
        elif _DOMAIN_SCANS.match(statement.form):
            yield Hit(
                statement.offset,
                "This reads or rewrites every table that uses the type, with writes to it blocked.",
                "Add the constraint to the tables instead, NOT VALID, and validate it in a later file.",
            )
        elif re.match(r"(?:SELECT|WITH)\b.* FOR (?:NO KEY |KEY )?(?:UPDATE|SHARE)\b", statement.nested):
            yield Hit(
                statement.offset, "The rows stay locked until the migration commits.", "Remove FOR UPDATE or FOR SHARE."
            )
        elif moves := next(statement.calls(re.compile("create_hypertable")), None):
            if re.search(r"\bMIGRATE_DATA (?:=>|:=) (?!FALSE)", statement.nested.replace("= >", "=>")):
                yield Hit(
                    moves.offset,
                    "The rows are copied into chunks while reads and writes are blocked.",
                    "Create a hypertable, fill it in batches, and rename both.",
                )
        else:
            yield from (Hit(call.offset) for call in statement.calls(_CHUNK_CALLS))


_BEHAVES = re.compile(
    r"(?:NO )?INHERIT |(?:ENABLE|DISABLE|FORCE|NO FORCE) (?:ROW LEVEL SECURITY|(?:REPLICA |ALWAYS )?(?:TRIGGER|RULE))\b"
)
_STORAGE = re.compile(r"ALTER (?:INDEX|MATERIALIZED VIEW) (?:.* )?SET (?:TABLESPACE|ACCESS METHOD) ")
_BEHAVIOUR = re.compile(
    r"(?:ALTER|DROP) (?:POLICY|TRIGGER|RULE|EVENT TRIGGER) "
    r"|DROP (?:MATERIALIZED VIEW|PROCEDURE|ROUTINE|AGGREGATE|OPERATOR|CAST|PUBLICATION) "
    r"|SET (?:SESSION |LOCAL )?SESSION_REPLICATION_ROLE "
)


def _behaviour(file: File) -> Iterator[Hit]:
    for statement in file.statements:
        if _BEHAVIOUR.match(statement.form):
            yield Hit(statement.offset)
    for _, actions in file.altered():
        yield from (Hit(action[0].offset) for action in actions if _BEHAVES.match(form(action, nested=False)))


_COLUMN = "ALTER TABLE public.tickers ADD COLUMN isin text;\n"
_ALONE_IN_FILE = "-- migrate: no-transaction\n"
_SPLITS = "CREATE TABLE public.splits (ticker_id uuid NOT NULL, date date NOT NULL, ratio numeric NOT NULL);\n"

RULES = (
    Rule(
        code="KM01",
        name="header",
        about="A migration begins with a comment of three lines: why it exists, what it relies on, and which locks it"
        " takes."
        " They are for the operator who deploys it; `invoke db.migrate --plan` shows the third, and `--rehearse`"
        " compares it"
        " with what it measures.",
        why="The header is incomplete.",
        instead="Write the three lines as `invoke db.new` does.",
        find=_header,
        bad=("no header", _COLUMN),
        good=(
            "all three",
            "-- Why:   the exchange identifies a stock by its ISIN.\n-- Needs: 0002.\n"
            f"-- Locks: ACCESS EXCLUSIVE on public.tickers (for an instant)\n{_COLUMN}",
        ),
    ),
    Rule(
        code="KM02",
        name="data",
        about="A migration builds structure and moves no data: a backfill in a migration holds its locks until the"
        " last row"
        " is written, and cannot be stopped and resumed. [live-changes.md](live-changes.md) shows where it goes"
        " instead.",
        why="A migration inserts, updates, deletes or copies no rows.",
        instead="Do it in batches, outside a migration.",
        find=_data,
        bad=("fills a column", "UPDATE public.tickers SET sector = 'Unknown';\n"),
        good=(
            "a default fills the column for old rows and new ones, and rewrites nothing",
            "ALTER TABLE public.tickers ADD COLUMN venue text NOT NULL DEFAULT 'unknown';\n",
        ),
    ),
    Rule(
        code="KM03",
        name="automation",
        about="A migration starts nothing that acts by itself: no trigger, rule, job or policy. What a migration"
        " builds must"
        " behave in the same way on a developer's machine and in production, whatever runs beside it.",
        why="A migration creates no trigger, rule, job or policy.",
        instead="Let the application or an operator do it.",
        find=_automation,
        bad=(
            "a policy that deletes data by itself",
            "SELECT public.add_retention_policy('public.ohlcv', interval '730 days');\n",
        ),
        good=(
            "structure that waits for an operator",
            "SELECT public.set_chunk_time_interval('public.ohlcv', interval '30 days');\n",
        ),
    ),
    Rule(
        code="KM04",
        name="roles",
        about="A migration touches no role and no password: roles belong to the whole server, and their names differ"
        " between"
        " environments. The runner chooses the role that a migration runs as.",
        why="Roles belong to the whole server, and the runner chooses the one that a migration runs as.",
        instead="Remove it.",
        find=_roles,
        bad=("a role", "CREATE ROLE app LOGIN;\n"),
        good=("a right for a role that the operator has made", "GRANT SELECT ON public.tickers TO reader;\n"),
    ),
    Rule(
        code="KM05",
        name="extension",
        about="TimescaleDB is the only extension: each further one must be installed, updated and preloaded on every"
        " server.",
        why="The only extension is timescaledb.",
        instead="Use what PostgreSQL has itself.",
        find=_at_start(r"CREATE EXTENSION (?:IF NOT EXISTS )?+(?!TIMESCALEDB |\"timescaledb\" )"),
        bad=("a function that PostgreSQL has itself", "CREATE EXTENSION pgcrypto;\n"),
        good=(
            "the one that the schema needs",
            "CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;\n",
        ),
    ),
    Rule(
        code="KM06",
        name="transaction",
        about="The runner begins and ends the transaction, so that a file and its row in the ledger commit together or"
        " not at"
        " all.",
        why="The runner begins and ends the transaction.",
        instead="Remove it.",
        find=_at_start(r"(?:BEGIN|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE)\b|(?:START|PREPARE|SET) TRANSACTION\b"),
        bad=("a transaction of its own", f"BEGIN;\n{_COLUMN}COMMIT;\n"),
        good=("the statement alone", _COLUMN),
    ),
    Rule(
        code="KM07",
        name="schema",
        about="What a migration defines or changes has its schema in its name: without one, `search_path` decides what"
        " is"
        " meant.",
        why="The schema is missing.",
        instead="",
        find=_schemas,
        bad=("no schema", "ALTER TABLE tickers ADD COLUMN isin text;\n"),
        good=("with a schema", _COLUMN),
    ),
    Rule(
        code="KM08",
        name="constraint",
        about="Every constraint is named explicitly: checks, error messages and later migrations refer to it, and a"
        " name that"
        " PostgreSQL makes up can differ between databases.",
        why="The constraint has no name.",
        instead="Write CONSTRAINT and a name before it.",
        find=_constraints,
        bad=("PostgreSQL makes up the name", "ALTER TABLE public.tickers ADD CHECK (symbol <> '') NOT VALID;\n"),
        good=(
            "a name",
            "ALTER TABLE public.tickers ADD CONSTRAINT tickers_symbol_check CHECK (symbol <> '') NOT VALID;\n",
        ),
    ),
    Rule(
        code="KM09",
        name="block",
        about="A migration hides nothing in a block, a procedure, a prepared statement, a cursor or EXPLAIN: neither"
        " lint nor a reviewer can tell what it does. The exception is a block that only executes statements about its"
        " own database, whose name a migration cannot know.",
        why="It cannot be checked what is run here.",
        instead="Write the statements themselves.",
        find=_blocks,
        bad=("code", "DO $$ BEGIN DELETE FROM public.tickers; END $$;\n"),
        good=(
            "a statement about the database that the migration runs in",
            "DO $$\nBEGIN\n    EXECUTE format('ALTER DATABASE %I SET work_mem = %L', current_database(), '16MB');\nEND"
            " $$;\n",
        ),
    ),
    Rule(
        code="KM10",
        name="index",
        about="An index of a table in use is built CONCURRENTLY, since a plain build blocks writes until it ends. On a"
        " hypertable, TimescaleDB refuses CONCURRENTLY (0A000): there it is built chunk by chunk, each in a"
        " transaction of its"
        " own. UNIQUE has neither form on a hypertable: create such an index with its table, or plan a pause of the"
        " writers.",
        why="The index is built while writes are blocked.",
        instead="Write CREATE INDEX CONCURRENTLY, in a file with -- migrate: no-transaction.",
        find=_indexes,
        bad=("blocks writes to all chunks", "CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume);\n"),
        good=(
            "chunk by chunk, outside a transaction",
            f"{_ALONE_IN_FILE}CREATE INDEX ohlcv_volume_idx ON public.ohlcv (volume)"
            " WITH (timescaledb.transaction_per_chunk);\n",
        ),
        live=True,
    ),
    Rule(
        code="KM11",
        name="alter",
        about="ALTER TABLE reads or rewrites no rows of a table in use: it would do so under a lock that blocks"
        " others, on a"
        " hypertable for all chunks. Changes of the catalog alone take an instant and are not found.",
        why="This reads or rewrites all rows.",
        instead=_LIVE,
        find=_alterations,
        bad=(
            "reads all chunks",
            "ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_volume_check CHECK (volume >= 0);\n",
        ),
        good=(
            "only rows that are written from now on",
            "ALTER TABLE public.ohlcv ADD CONSTRAINT ohlcv_volume_check CHECK (volume >= 0) NOT VALID;\n",
        ),
        live=True,
    ),
    Rule(
        code="KM12",
        name="no_transaction",
        about="What PostgreSQL and TimescaleDB refuse to do in a transaction needs a file of its own with"
        " `-- migrate: no-transaction` in its header. Without it, the migration fails when it is run.",
        why="This cannot run in a transaction.",
        instead="Give the file the header -- migrate: no-transaction.",
        find=_no_transaction,
        bad=(
            "the runner would open a transaction",
            "CREATE INDEX CONCURRENTLY tickers_sector_idx ON public.tickers (sector);\n",
        ),
        good=(
            "the header says so",
            f"{_ALONE_IN_FILE}CREATE INDEX CONCURRENTLY tickers_sector_idx ON public.tickers (sector);\n",
        ),
    ),
    Rule(
        code="KM13",
        name="comment",
        about="Every new table has a comment that says what one row is: docs/schema.md and every client show it.",
        why="The table has no comment.",
        instead="Say what one row is: COMMENT ON TABLE ... IS '...'.",
        find=_comments,
        bad=("no comment", _SPLITS),
        good=("what one row is", f"{_SPLITS}COMMENT ON TABLE public.splits IS 'One row per stock split';\n"),
    ),
    Rule(
        code="KM14",
        name="names",
        about="Names are in snake_case and need no quotes: a quoted name must be quoted in every query that is ever"
        " written.",
        why="A name is not in snake_case.",
        instead="Write names in snake_case and without quotes.",
        find=_names,
        bad=(
            "quotes",
            'CREATE TABLE public."Splits" (ticker_id uuid NOT NULL);\n'
            "COMMENT ON TABLE public.\"Splits\" IS 'One row per stock split';\n",
        ),
        good=("snake_case", "ALTER TABLE public.tickers ADD COLUMN listed_at date;\n"),
    ),
    Rule(
        code="KM15",
        name="reach",
        about="A migration stays within its database, since the same files are built and rehearsed in scratch"
        " databases: it"
        " names no database, changes no setting of the server, ends no session, uses no file or program of the server,"
        " and"
        " reaches no other server. Every verb that runs migrations refuses such statements too. What a migration sets"
        " on its"
        " own database goes into a DO block: `EXECUTE format('… DATABASE %I …', current_database())`.",
        why="This reaches beyond the database.",
        instead="Remove it.",
        find=_reach,
        bad=(
            "the same in every database that the file is built in?",
            "ALTER DATABASE kapman_dev SET work_mem = '16MB';\n",
        ),
        good=(
            "the database that the migration runs in",
            "DO $$\nBEGIN\n    EXECUTE format('ALTER DATABASE %I SET work_mem = %L', current_database(), '16MB');\nEND"
            " $$;\n",
        ),
    ),
    Rule(
        code="KM16",
        name="limits",
        about="How long a migration waits for locks and runs is the runner's, which retries and keeps to a budget. A"
        " file that"
        " needs more says so in its header; `SET lock_timeout`, `set_config`, `RESET ALL` and the like switch off what"
        " protects others.",
        why="This changes the limits that the runner sets.",
        instead="Write them in the header.",
        find=_limits,
        bad=("no limit at all", "SET lock_timeout = 0;\n"),
        good=("the header", f"-- lock-timeout: 5s\n{_COLUMN}"),
    ),
    Rule(
        code="KM17",
        name="locks",
        about="A migration takes no lock for its own sake, and does nothing that keeps a table in use from others for"
        " as long"
        " as it has rows: LOCK, CLUSTER, VACUUM FULL, REFRESH MATERIALIZED VIEW without CONCURRENTLY, constraints of a"
        " domain"
        " that tables use, rows locked by FOR UPDATE, advisory locks, the compression of chunks.",
        why="This keeps others out until the migration ends.",
        instead="Do it outside a migration, when no client needs the table.",
        find=_held_locks,
        bad=("no client reads or writes until the commit", "LOCK TABLE public.tickers;\n"),
        good=(
            "a table that the file creates",
            f"{_SPLITS}COMMENT ON TABLE public.splits IS 'Splits';\nLOCK TABLE public.splits;\n",
        ),
        live=True,
    ),
    Rule(
        code="KM18",
        name="behaviour",
        about="What other sessions may do with a table in use, and what their queries return, is not changed under"
        " them:"
        " row security, policies, triggers and rules that are switched off or dropped, tables that become parts of"
        " another.",
        why="This changes at once what other sessions may do or see.",
        instead="Do it in a release of its own, and say in a waiver why no client is surprised.",
        find=_behaviour,
        bad=("rows disappear for all but the owner", "ALTER TABLE public.tickers ENABLE ROW LEVEL SECURITY;\n"),
        good=("a view that shows less", "CREATE VIEW public.listed AS SELECT t.id FROM public.tickers AS t;\n"),
        live=True,
    ),
    Rule(
        code="KM19",
        name="restore",
        about="A condition that a table, index, view, policy, trigger, rule or domain keeps reads the same after a dump"
        " and restore, and so after pg_upgrade, or the restored schema would differ from `db/schema.txt`. Three kinds"
        " do not: a list of literals on a varchar column, an array of varchar, and a BETWEEN in front of `AND`.",
        why="PostgreSQL writes this in other words after a restore.",
        instead="Write it in the words that PostgreSQL keeps.",
        find=_unstable,
        bad=(
            "the literals become varchar, then text",
            "CREATE VIEW public.tech AS\nSELECT t.id FROM public.tickers AS t\n"
            "WHERE t.sector IN ('Tech', 'Software');\n",
        ),
        good=(
            "all of it is text",
            "CREATE VIEW public.tech AS\nSELECT t.id FROM public.tickers AS t\n"
            "WHERE t.sector::text IN ('Tech', 'Software');\n",
        ),
    ),
)
