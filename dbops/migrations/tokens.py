"""The tokens of a statement, and its form: what lint and the refusal of statements recognise statements by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dbops.migrations import sqlsplit

_PIECE = re.compile(r"\|\||:=|=>|::|[0-9]+|.", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A token at an offset: `text` is a word in capitals, a quoted name without quotes, or a literal's content.

    `inside` is the offset of the content.
    """

    kind: str
    text: str
    offset: int
    inside: int = 0

    @property
    def name(self) -> str:
        """Return the name that a word or a quoted name stands for; empty for another token."""
        return self.text.lower() if self.kind == "word" else self.text if self.kind == "quoted" else ""


def read(text: str, start: int) -> list[Token]:
    """Return the tokens of a text that stands at an offset, with parentheses and operators one by one."""
    found: list[Token] = []
    for kind, begin, end in sqlsplit.tokens(text):
        raw, at = text[begin:end], start + begin
        if kind == "word":
            found.append(Token(kind, raw.upper(), at))
        elif kind == "quoted":
            found.append(Token(kind, raw[1:-1].replace('""', '"'), at))
        elif kind == "string" and begin and text[begin - 1] == "'" and found[-1].kind == "string":
            # A doubled quote was read as the end of one literal and the beginning of another.
            found[-1] = replace(found[-1], text=f"{found[-1].text}'{raw[1:-1]}")
        elif kind == "string":
            found.append(Token(kind, raw[1:-1], at, at + 1))
        elif kind == "escaped":
            found.append(Token("string", _ESCAPED.sub(r"\1", raw[2:-1].replace("''", "'")), at, at + 2))
        elif kind == "dollar":
            tag = raw.index("$", 1) + 1
            found.append(Token("string", raw[tag:-tag], at, at + tag))
        else:
            found += [Token("other", piece[0], at + piece.start()) for piece in _PIECE.finditer(raw)]
    return found


def form(parts: list[Token], *, nested: bool) -> str:
    """Return a statement with one blank between tokens, words in capitals, and a quote for each literal.

    What stands in parentheses is left out, unless it is asked for.
    """
    depth = 0
    shown: list[str] = []
    for part in parts:
        if part.kind == "other" and part.text in "()":
            depth += 1 if part.text == "(" else -1
            shown += [part.text] * nested
        elif nested or not depth:
            quoted = '"' + re.sub(r"\s", "_", part.text) + '"'
            shown.append({"string": "'", "quoted": quoted}.get(part.kind, part.text))
    return " ".join([*shown, ""])


def groups(parts: list[Token]) -> Iterator[tuple[list[Token], str]]:
    """Yield the content of each pair of parentheses that is not in another, and the name in front of it."""
    depth, start = 0, 0
    for n, part in enumerate(parts):
        if part.kind == "other" and part.text == "(":
            depth += 1
            start = n if depth == 1 else start
        elif part.kind == "other" and part.text == ")":
            depth -= 1
            if not depth:
                yield parts[start + 1 : n], parts[start - 1].name if start else ""


def split_at(parts: list[Token], operator: str) -> list[list[Token]]:
    """Return the parts between an operator, outside parentheses."""
    depth = 0
    found: list[list[Token]] = [[]]
    for part in parts:
        depth += (part.text == "(") - (part.text == ")") if part.kind == "other" else 0
        if part.text == operator and part.kind == "other" and not depth:
            found.append([])
        else:
            found[-1].append(part)
    return found
