"""Conditions that PostgreSQL writes in other words after a dump and restore.

It keeps a condition as a tree and writes it down for a dump; what it reads back is another tree where the text does not
say the same to the parser. Tried on PostgreSQL 15: tests/integration/test_lint_facts.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import pairwise

from dbops.migrations.tokens import Token, groups, listed, outside, split_at

LIST = "With a list on a varchar column, PostgreSQL writes this in other words after a restore."
ARRAY = "PostgreSQL writes an array of varchar in other words after a restore."
RANGE = "PostgreSQL writes a BETWEEN that begins a condition in other words after a restore."

_VARCHAR = {"varchar", "varying"}
_KEEP_TYPE = {"coalesce", "nullif", "greatest", "least"}
# What ends a condition, at the same depth.
_ENDS = {
    "WHERE", "CHECK", "WHEN", "HAVING", "ON", "USING", "SELECT", "FROM", "JOIN", "GROUP", "ORDER", "AS", "THEN", "ELSE",
    "CASE", "END", "LIMIT", "UNION", "RETURN", "WITH", "STORED", "DO", "TO", "FOR", "ADD", "EXECUTE", "INCLUDE",
    ",", ";",
}  # fmt: skip


def unstable(parts: list[Token], varchars: Set[str]) -> Iterator[tuple[int, str, str]]:
    """Yield where such a condition is in a statement, why, and what to write instead.

    `varchars` are the names of columns of type varchar, in any table.
    """
    for n, part in enumerate(parts):
        if part.kind != "word" or part.text not in ("IN", "ARRAY"):
            continue
        after = parts[n + 1 :]
        if part.text == "IN" and after and after[0].text == "(" and _is_varchar(parts[:n], varchars):
            items = listed(after)
            if len(items) > 1 and all(item and item[0].kind == "string" for item in items):
                yield part.offset, LIST, "Cast the column: `column::text IN (…)`."
        if part.text == "ARRAY":
            # Whether what stands behind the brackets is a cast to an array of varchar.
            end = next((m for m, other in enumerate(after) if other.kind == "other" and other.text == "]"), len(after))
            names = {other.name for other in after[end + 2 : end + 4]}
            if [other.text for other in after[end + 1 : end + 2]] == ["::"] and names & _VARCHAR:
                yield part.offset, ARRAY, "Cast to text[]."
    for offset in _ranges(parts):
        yield offset, RANGE, "Write `>=` and `<=`, or put the BETWEEN last."


def _is_varchar(before: list[Token], varchars: Set[str]) -> bool:
    """Return whether an expression that ends here is a varchar."""
    if before and before[-1].text == "NOT":
        before = before[:-1]
    if len(before) > 2 and before[-2].text == "COLLATE":
        before = before[:-2]
    if not before:
        return False
    if before[-1].text != ")" or before[-1].kind != "other":
        is_cast = len(before) > 1 and before[-2].text in ("::", "CHARACTER")
        return before[-1].name in (_VARCHAR if is_cast else varchars)
    depth, start = 0, len(before)
    while start and (depth or start == len(before)):
        start -= 1
        if before[start].kind == "other":
            depth += (before[start].text == ")") - (before[start].text == "(")
    inside, caller = before[start + 1 : -1], before[start - 1].name if start else ""
    if caller in _KEEP_TYPE:
        return any(_is_varchar(argument, varchars) for argument in split_at(inside, {","}))
    return caller in _VARCHAR or (
        caller in ("", "check", "where", "and", "or", "not") and _is_varchar(inside, varchars)
    )


def _ranges(parts: list[Token]) -> Iterator[int]:
    """Yield the offset of each BETWEEN that is the first of several conditions joined by its own kind of word."""
    for condition in split_at(parts, _ENDS):
        alternatives = split_at(condition, {"OR"})
        for alternative in alternatives:
            terms = _terms(alternative)
            if len(terms) > 1 and (begun := _between(terms[0], negated=False)):
                yield begun.offset
        first = _terms(alternatives[0])
        if len(alternatives) > 1 and len(first) == 1 and (begun := _between(first[0], negated=True)):
            yield begun.offset
    for inside, _ in groups(parts):
        yield from _ranges(inside)


def _between(term: list[Token], *, negated: bool) -> Token | None:
    """Return the BETWEEN that a term is, in parentheses or not; a negated or symmetric one makes an OR."""
    while len(term) > 1 and term[0].text == "(" and term[-1].text == ")" and len(list(groups(term))) == 1:
        inside = term[1:-1]
        if len(split_at(inside, {"OR", ",", ";"})) > 1 or len(_terms(inside)) > 1:
            return None
        term = inside
    for before, part in pairwise([Token("other", "", 0), *outside(term)]):
        if part.kind == "word" and part.text == "BETWEEN":
            makes_or = (before.text == "NOT") != any(other.text == "SYMMETRIC" for other in term)
            return part if makes_or == negated else None
    return None


def _terms(parts: list[Token]) -> list[list[Token]]:
    """Return what is joined by AND; the AND of a BETWEEN joins nothing."""
    found: list[list[Token]] = []
    is_open = False
    for piece in split_at(parts, {"AND"}):
        if is_open:
            found[-1] = [*found[-1], *piece]
        else:
            found.append(piece)
        is_open = not is_open and any(part.kind == "word" and part.text == "BETWEEN" for part in outside(piece))
    return found
