"""Find the statements of a migration that reach beyond the database that it runs in.

The same files are built in scratch databases, rehearsed and compared, so they must change nothing else: no other
database, no role, no setting of the server. What is looked at are the statements, the bodies of DO blocks and of
routines that are called, and the SQL that these put together from literals, `||` and format(). A name that is only
known when a block runs is accepted where it can be seen that it is the current database's. Code that hides what it
does is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from dbops.errors import UsageError
from dbops.migrations.files import Migration, first_of
from dbops.migrations.sqlsplit import CREATES_ROUTINE, Statement, location_at, split
from dbops.migrations.tokens import Token, form, groups, listed, read, split_at


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to reach beyond the database: why it is refused, what to do instead, and how it is recognised.

    `statement` matches the beginning of a statement in the form that `form` gives it; `function` matches the name of a
    function that is called; `written` matches, anywhere in a statement, a change of a system catalog.
    """

    why: str
    instead: str
    statement: re.Pattern[str] | None = None
    function: re.Pattern[str] | None = None
    written: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """What reaches beyond the database: the offset in the file's text, the words that do, and the kind."""

    offset: int
    words: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.words} {self.kind.why}"


def _catalogs(*names: str) -> re.Pattern[str]:
    """Return a pattern for a change of the rows of some system catalogs."""
    listed = "|".join(names).upper()
    schema = r'(?:"?PG_CATALOG"? \. )?'
    return re.compile(rf'\b(?:UPDATE|INTO|DELETE FROM) (?:ONLY )?{schema}"?(?:{listed})\b', re.IGNORECASE)


# How a statement's form shows the current database's name where it is put together, and what is not known.
_OWN, _OTHER = "\ue000OWN", "\ue000OTHER"
_OWN_FORM = f'"?{_OWN}"? '
_ON_LABEL = r"(?:COMMENT|SECURITY LABEL(?: FOR \S+)?) ON"
_LISTED = r"(?!TO |FROM |[.,] )"

DATABASE = Kind(
    "names a database, but a migration is also built and rehearsed in databases of other names",
    "Write it in a DO block, for the database that it runs in:"
    " EXECUTE format('ALTER DATABASE %I ...', current_database()).",
    re.compile(
        rf"ALTER DATABASE (?!{_OWN_FORM})|{_ON_LABEL} DATABASE (?!{_OWN_FORM})|REINDEX (?:DATABASE|SYSTEM) (?!; |\Z)"
        rf"|(?:GRANT|REVOKE) .*? ON DATABASE {_LISTED}(?!{_OWN_FORM}(?:TO|FROM) )"
    ),
    written=_catalogs("pg_database", "pg_db_role_setting", "pg_shdescription", "pg_shseclabel"),
)
WHOLE_DATABASE = Kind(
    "makes, drops or renames a database",
    "Remove it: databases are made and dropped by `invoke db.create`, `invoke db.drop` and `invoke db.rebuild`.",
    re.compile(r"(?:CREATE|DROP) DATABASE |ALTER DATABASE \S+ RENAME "),
)
ROLE = Kind(
    "changes roles, which all databases of the server share",
    "Remove it: the server's administrator creates roles. A migration may grant a role that exists rights on its own"
    " objects.",
    re.compile(
        rf"(?:CREATE|ALTER|DROP) (?:ROLE|GROUP|USER(?! MAPPING)) |{_ON_LABEL} ROLE |(?:REASSIGN|DROP) OWNED "
        r"|(?:GRANT|REVOKE) (?!.* ON )"
    ),
    written=_catalogs("pg_authid", "pg_auth_members", "pg_roles", "pg_shadow", "pg_user"),
)
SERVER = Kind(
    "acts on the whole server",
    "Remove it: that is for the server's administrator. A setting for this database alone is made in a DO block:"
    " EXECUTE format('ALTER DATABASE %I SET ...', current_database()).",
    re.compile(
        rf"ALTER SYSTEM |(?:CREATE|ALTER|DROP) TABLESPACE |{_ON_LABEL} TABLESPACE |CHECKPOINT\b"
        rf"|(?:GRANT|REVOKE) .*? ON (?:TABLESPACE|PARAMETER) {_LISTED}"
    ),
    re.compile(
        r"pg_(?:reload_conf|rotate_logfile\w*|promote|switch_wal|create_restore_point|start_backup|stop_backup"
        r"|backup_start|backup_stop|wal_replay_(?:pause|resume)|log_backend_memory_contexts|log_standby_snapshot"
        r"|stat_statements_reset|stat_reset_(?:shared|slru|replication_slot|subscription_stats)|replication_slot_advance"
        r"|(?:create|drop|copy|sync)_\w*replication_slots?|logical_slot_get\w*changes"
        r"|replication_origin_(?:create|drop|advance))"
    ),
    _catalogs("pg_tablespace", "pg_parameter_acl", "pg_replication_origin", "pg_shdepend"),
)
SESSIONS = Kind(
    "ends or interrupts other sessions",
    "Remove it: a migration waits for its locks, as long as its header `lock-timeout` says.",
    function=re.compile(r"pg_(?:terminate|cancel)_backend"),
)
FILES = Kind(
    "uses files or programs of the server",
    "Remove it: a migration builds structure, and data is loaded afterwards, as with \\copy in `invoke db.psql`.",
    re.compile(r"LOAD '|COPY .*?(?:FROM|TO) (?:PROGRAM )?'"),
    re.compile(
        r"pg_(?:read_file|read_binary_file|stat_file|ls_\w*dir|logdir_ls|file_(?:read|write|rename|unlink|sync|length))"
        r"|lo_(?:import|export)"
    ),
)
REMOTE = Kind(
    "reaches another database or server",
    "Remove it: what depends on another server is set up by hand, in each environment.",
    re.compile(
        rf"(?:CREATE|ALTER|DROP) SUBSCRIPTION |{_ON_LABEL} SUBSCRIPTION |(?:CREATE|ALTER) SERVER "
        r"|IMPORT FOREIGN SCHEMA "
    ),
    re.compile(r"dblink(?:_\w+)?|schedule_in_database|(?:add|attach|detach|delete)_data_node|distributed_exec"),
    _catalogs("pg_subscription"),
)
UPGRADE = Kind(
    "must be the first statement of a session, and changes which TimescaleDB the checks expect",
    "Remove it, and run `invoke db.upgrade`.",
    re.compile(r'ALTER EXTENSION (?:TIMESCALEDB|"timescaledb") UPDATE\b'),
)
# Not beyond the database, but found in the same way.
_LIMITS = r'"?(?:lock_timeout|statement_timeout|transaction_timeout|idle_in_transaction_session_timeout)\b'
LIMITS = Kind(
    "changes the limits that the runner sets, so that others may wait for longer than it says",
    "Remove it, and write in the file's header what it needs: `-- lock-timeout: 2s`, `-- lock-budget: 10min` or"
    " `-- statement-timeout: 10min`.",
    re.compile(rf"SET (?:SESSION |LOCAL )?{_LIMITS}|RESET (?:ALL\b|{_LIMITS})|DISCARD ALL\b", re.IGNORECASE),
    written=re.compile(
        rf"{_catalogs('pg_settings').pattern}|\bCREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) .* SET {_LIMITS}",
        re.IGNORECASE,
    ),
)
KINDS = (WHOLE_DATABASE, DATABASE, ROLE, SERVER, SESSIONS, FILES, REMOTE, UPGRADE, LIMITS)

# A statement that begins otherwise, and has none of these names, has nothing that is looked for.
_BEGINNINGS = {
    "CHECKPOINT", "COPY", "DISCARD", "DO", "GRANT", "IMPORT", "LOAD", "REASSIGN", "REINDEX", "RESET",
    "REVOKE", "SECURITY", "SET",
}  # fmt: skip
_CREATED = {
    "DATABASE", "EXTENSION", "FUNCTION", "GROUP", "OR", "OWNED", "PROCEDURE", "ROLE", "SCHEMA", "SERVER",
    "SUBSCRIPTION", "SYSTEM", "TABLESPACE", "USER",
}  # fmt: skip
_NAMES = (
    "pg_", "dblink", "lo_import", "lo_export", "set_config", "query_to_xml", "ts_stat", "schedule_in_database",
    "distributed_exec", "_data_node",
)  # fmt: skip
# What format() copies, and the placeholder behind it.
_TEMPLATE = re.compile(r"(.*?)(?:%(?:(\d+)\$)?-?\d*([sIL%])|\Z)", re.DOTALL)
_RUN_A_QUERY = {"query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "ts_stat"}
_LIMIT = re.compile(_LIMITS, re.IGNORECASE)
_CURRENT = {"current_database()", "current_catalog", "pg_catalog.current_database()"}
_LOOKED_UP = re.compile(r"datnamefrom(?:pg_catalog\.)?pg_databasewheredatname=(?:pg_catalog\.)?current_database\(\)")
_WRAPPED = re.compile(
    r"(?:pg_catalog\.)?quote_ident\((?P<inner>.*)\)|\((?P<group>.*)\)|(?P<cast>.*)::(?:text|name|varchar)"
)
# Words of PL/pgSQL behind which a statement begins, and those that an expression does not contain.
_BEFORE_STATEMENT = {"BEGIN", "THEN", "ELSE", "LOOP", "DECLARE"}
_BEFORE_EXPRESSION = {
    *_BEFORE_STATEMENT, "EXECUTE", "IN", "INTO", "USING", "SELECT", "RETURN", "QUERY", "DEFAULT", "FROM", "RAISE",
}  # fmt: skip


def assert_within(files: tuple[Migration, ...]) -> None:
    """Raise UsageError, with each place and what to do, if files have statements that reach beyond their database."""
    _refuse([item for item in _found(files) if item[1].kind is not LIMITS], limits=False)


def assert_limits(files: tuple[Migration, ...]) -> None:
    """Raise UsageError, with each place and what to do, if files change the settings that headers exist for."""
    _refuse([item for item in _found(files) if item[1].kind is LIMITS], limits=True)


def _refuse(found: list[tuple[Migration, Violation]], *, limits: bool) -> None:
    if found:
        places = [location_at(file.text, finding.offset, file.label) for file, finding in found]
        notes = [f"{place} {finding}" for place, (_, finding) in zip(places, found, strict=True)]
        file, first = found[0]
        raise UsageError(
            f"{file.path.name} {'overrides the runner' if limits else 'reaches beyond its database'}: {first}",
            where=file.label,
            location=places[0],
            notes=first_of(tuple(notes[1:])),
            state="No migration was run.",
            hint=first.kind.instead,
        )


@lru_cache(maxsize=1)
def _found(files: tuple[Migration, ...]) -> tuple[tuple[Migration, Violation], ...]:
    """Return what is found in files; a rebuild looks for it before it creates a database, and before it migrates."""
    routines: dict[str, Kind] = {}
    return tuple((file, finding) for file in files for finding in findings(file.text, file.statements, routines))


def findings(
    text: str, statements: tuple[Statement, ...] | None = None, routines: dict[str, Kind] | None = None
) -> list[Violation]:
    """Return what reaches beyond the database, or changes the runner's limits, in a migration's text, in order.

    `statements` are those of the text, if it is cut already. `routines` are those of earlier files whose bodies do so,
    by name; those that the text creates are added.
    """
    routines = {} if routines is None else routines
    found: list[Violation] = []
    for statement in split(text) if statements is None else statements:
        # Most statements need no close look, and rows of VALUES may be many.
        verb, second, third = (*statement.words[:3], "", "", "")[:3]
        kind = third if verb == "COMMENT" else second
        named = verb in _BEGINNINGS or (verb in ("CREATE", "ALTER", "DROP", "COMMENT") and kind in _CREATED)
        lowered = statement.text.lower()
        if not named and not any(name in lowered for name in (*_NAMES, *routines)):
            continue
        parts = read(statement.text, statement.start)
        if CREATES_ROUTINE.match(form(parts[:4], nested=True)) and (name := next(groups(parts), ([], ""))[1]):
            # It does no harm until it is called.
            inside = chain(_in_statement(parts, routines), _in_bodies(parts, routines))
            if first := next(inside, None):
                routines[name] = first.kind
        else:
            found += _in_statement(parts, routines)
    return sorted({(f.offset, f.kind.why): f for f in found}.values(), key=lambda finding: finding.offset)


def _in_statement(parts: list[Token], routines: dict[str, Kind]) -> Iterator[Violation]:
    """Yield what reaches beyond the database in a statement of SQL, or in one of PL/pgSQL, also behind THEN."""
    starts = [0, *(n + 1 for n, part in enumerate(parts) if part.kind == "word" and part.text in _BEFORE_STATEMENT)]
    if form(parts[:2], nested=True) == "CREATE SCHEMA ":
        starts += [n for n, part in enumerate(parts) if part.kind == "word" and part.text == "GRANT"]
    for start in starts:
        shown = form(parts[start:], nested=False)
        for kind in KINDS:
            if kind.statement and (match := kind.statement.match(shown)):
                words = shown.split()[0] if "." in match[0] or "'" in match[0] else match[0].strip()
                yield Violation(parts[start].offset, words, kind)
                break
    whole = form(parts, nested=True)
    for kind in KINDS:
        if kind.written and (match := kind.written.search(whole)):
            yield Violation(parts[0].offset, match[0].lower().replace(" . ", "."), kind)
    for n, part in enumerate(parts[:-1]):
        if part.name and parts[n + 1].text == "(" and parts[n + 1].kind == "other":
            before = parts[n - 3] if n > 2 and parts[n - 1].text == "." else parts[n - 1] if n else part
            if before.text in ("FUNCTION", "PROCEDURE", "ROUTINE") and before.kind == "word":
                continue
            called = (kind for kind in KINDS if kind.function and kind.function.fullmatch(part.name))
            if kind_of_call := next(called, routines.get(part.name)):
                yield Violation(part.offset, f"{part.name}()", kind_of_call)
            if part.name not in ("set_config", *_RUN_A_QUERY):
                continue
            argument = _made(listed(parts[n:])[0], set())
            if part.name == "set_config" and (match := _LIMIT.match(argument)):
                yield Violation(part.offset, f"set_config('{match[0].lower()}')", LIMITS)
            elif part.name in _RUN_A_QUERY:
                yield from _in_made(argument, part.offset, routines)
    if form(parts[:1], nested=True) == "DO ":
        yield from _in_bodies(parts, routines)


def _in_made(text: str, offset: int, routines: dict[str, Kind]) -> Iterator[Violation]:
    """Yield what reaches beyond the database in SQL that is put together at an offset."""
    for statement in split(text):
        for finding in _in_statement(read(statement.text, 0), routines):
            yield Violation(offset, finding.words, finding.kind)


def _in_bodies(parts: list[Token], routines: dict[str, Kind]) -> Iterator[Violation]:
    """Yield what reaches beyond the database in the body of a DO block or a routine, and in the SQL that it makes."""
    for inner, own in _statements_in_bodies(parts):
        yield from _in_statement(inner, routines)
        yield from _in_expressions(inner, own, routines)


def _in_expressions(parts: list[Token], own: set[str], routines: dict[str, Kind]) -> Iterator[Violation]:
    """Yield what the SQL that a statement of PL/pgSQL puts together reaches; a message of RAISE is no SQL."""
    expression: list[Token] = []
    depth = 0
    for n, part in enumerate([*parts, Token("other", ";", 0)]):
        depth += (part.text == "(") - (part.text == ")") if part.kind == "other" else 0
        ends = part.kind == "word" and part.text in _BEFORE_EXPRESSION
        ends |= part.kind == "other" and (part.text in (";", ":=", ",", "[", "]") or (part.text == "=" and n == 1))
        if not ends or depth:
            expression.append(part)
            continue
        if literal := next((token for token in expression if token.kind == "string"), None):
            yield from _in_made(_made(expression, own), literal.offset, routines)
            # What other functions than format() are given may be SQL too.
            for group, name in groups(expression):
                if name != "format":
                    yield from _in_expressions(group, own, routines)
        expression = []
        if part.kind == "word" and part.text == "RAISE":
            return


def _made(expression: list[Token], own: set[str]) -> str:
    """Return the text that an expression makes, with a name in place of what is not known."""
    made = ""
    for operand in split_at(expression, {"||"}):
        if len(operand) > 2 and operand[-2].text == "::":
            operand = operand[:-2]
        inside = list(groups(operand))
        if len(operand) == 1 and operand[0].kind == "string":
            made += operand[0].text
        elif inside and inside[0][1] == "format" and operand[-1].text == ")":
            template, *arguments = (_made(argument, own) for argument in split_at(inside[0][0], {","}))
            count = 0
            for literal, number, kind in _TEMPLATE.findall(template):
                made += literal
                if kind == "%":
                    made += "%"
                elif kind:
                    count = int(number or count + 1)
                    value = arguments[count - 1] if count <= len(arguments) else _OTHER
                    known = not value.startswith((_OWN, _OTHER))
                    made += f'"{value}"' if known and kind == "I" else f"'{value}'" if kind == "L" else value
        elif inside and inside[0][1] in ("concat", "concat_ws") and operand[-1].text == ")":
            made_parts = [_made(argument, own) for argument in split_at(inside[0][0], {","})]
            made += made_parts[0].join(made_parts[1:]) if inside[0][1] == "concat_ws" else "".join(made_parts)
        elif len(inside) == 1 and operand[0].text == "(" and operand[-1].text == ")":
            made += _made(inside[0][0], own)
        else:
            made += _OWN if _is_own("".join(part.text.lower() for part in operand), own) else _OTHER
    return made


def is_about_own_database(block: list[Token]) -> bool:
    """Return whether all that a DO block does is to execute statements about the current database."""
    for parts, own in _statements_in_bodies(block):
        words = [part.text for part in parts]
        while words and words[0] in _BEFORE_STATEMENT:
            words.pop(0)
        if words[:1] == ["EXECUTE"]:
            start = len(parts) - len(words) + 1
            if f"DATABASE {_OWN}" not in _made(parts[start:-1], own).replace('"', ""):
                return False
        elif words[:1] != ["END"] and not (words and words[0].lower() in own):
            return False
    return True


def _is_own(expression: str, own: set[str]) -> bool:
    """Return whether an expression, in lower case and without blanks, is the name of the current database."""
    if match := _WRAPPED.fullmatch(expression):
        return _is_own(match["inner"] or match["group"] or match["cast"] or "", own)
    expression = expression.removeprefix("select")
    return expression in _CURRENT or expression in own or _LOOKED_UP.fullmatch(expression) is not None


def _statements_in_bodies(block: list[Token]) -> Iterator[tuple[list[Token], set[str]]]:
    """Yield the statements in the bodies of a DO block or a routine.

    With each come the variables of its body to which nothing but the name of the current database is assigned.
    """
    for body in (part for part in block if part.kind == "string"):
        statements = [read(statement.text, body.inside + statement.start) for statement in split(body.text)]
        given: dict[str, bool] = {}
        for parts in statements:
            texts = [part.text.lower() for part in parts if part.text != ";"]
            while texts and texts[0].upper() in _BEFORE_STATEMENT:
                texts.pop(0)
            sign = next((n for n, text in enumerate(texts) if text in (":=", "=", "default")), 0)
            names, value = texts[:1], texts[sign + 1 :]
            if "into" in texts[:-1]:
                at = texts.index("into")
                at += texts[at + 1] == "strict"
                names = texts[at + 1 : at + 2]
                value = [text for text in [*texts[1:at], *texts[at + 2 :]] if text != "strict" and text != "into"]
            elif texts[:1] == ["for"]:
                names, value = texts[1:2], []
            elif not sign:
                continue
            for name in names:
                given[name] = given.get(name, True) and _is_own("".join(value), set())
        own = {name for name, is_own in given.items() if is_own}
        yield from ((parts, own) for parts in statements)
