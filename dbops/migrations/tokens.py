"""The tokens of a statement, and its form: what lint and the refusal of statements recognise statements by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace

from dbops.migrations import sqlsplit

_PIECE = re.compile(r"\|\||:=|=>|::|[0-9]+|.", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:[xu](?P<hex>(?<=x)[0-9A-Fa-f]{1,2}|(?<=u)[0-9A-Fa-f]{4})|(?P<octal>[0-7]{1,3})|(?P<other>.))", re.DOTALL
)
_UNICODE = re.compile(r"\\\+?(?P<hex>(?<=\+)[0-9A-Fa-f]{6}|[0-9A-Fa-f]{4})")
_BLANKS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


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
    last = 0
    for kind, begin, end in sqlsplit.tokens(text):
        if kind in ("comment", "nothing"):
            continue
        raw, at = text[begin:end], start + begin
        if kind == "word":
            found.append(Token(kind, raw.upper(), at))
        elif kind == "quoted":
            found.append(Token(kind, raw[1:-1].replace('""', '"'), at))
        elif kind in ("string", "escaped", "dollar"):
            inside = raw.index("$", 1) + 1 if kind == "dollar" else 2 if kind == "escaped" else 1
            content = raw[inside:-inside] if kind == "dollar" else raw[inside:-1]
            if kind == "escaped":
                content = _ESCAPE.sub(_character, content.replace("''", "'"))
            if [part.text for part in found[-2:]] == ["U", "&"] and found[-1].offset == at - 1:
                content = _UNICODE.sub(_character, content)
                del found[-2:]
            between = text[last:begin]
            if found and found[-1].kind == "string" and kind == "string" and (not between or "\n" in between):
                # A doubled quote, read as the end of one literal and the beginning of another; or one that goes on.
                joined = f"{found[-1].text}{'' if between else chr(39)}{content}"
                found[-1] = replace(found[-1], text=joined)
            else:
                found.append(Token("string", content, at, at + inside))
        else:
            found += [Token("other", piece[0], at + piece.start()) for piece in _PIECE.finditer(raw)]
        last = end
    return found


def _character(match: re.Match[str]) -> str:
    """Return the character that an escape in E'...' or U&'...' stands for."""
    if code := match["hex"]:
        return chr(int(code, 16))
    if match["octal"]:
        return chr(int(match["octal"], 8))
    return _BLANKS.get(match["other"], match["other"])


def form(parts: list[Token], *, nested: bool) -> str:
    """Return a statement with one blank between tokens, words in capitals, and a quote for each literal.

    What stands in parentheses is left out, unless it is asked for.
    """
    shown = []
    for part in parts if nested else outside(parts):
        quoted = '"' + re.sub(r"\s", "_", part.text) + '"'
        shown.append({"string": "'", "quoted": quoted}.get(part.kind, part.text))
    return " ".join([*shown, ""])


def _with_depths(parts: list[Token]) -> Iterator[tuple[int, Token]]:
    """Yield tokens, each with how many pairs of parentheses it stands in; those of a pair stand in it."""
    depth = 0
    for part in parts:
        depth += part.text == "(" and part.kind == "other"
        yield depth, part
        depth -= part.text == ")" and part.kind == "other"


def outside(parts: list[Token]) -> list[Token]:
    """Return the tokens that do not stand in parentheses, without these."""
    return [part for depth, part in _with_depths(parts) if not depth]


def groups(parts: list[Token]) -> Iterator[tuple[list[Token], str]]:
    """Yield the content of each pair of parentheses that is not in another, and the name in front of it."""
    start = 0
    for n, (depth, part) in enumerate(_with_depths(parts)):
        if depth == 1 and part.kind == "other" and part.text == "(":
            start = n
        elif depth == 1 and part.kind == "other" and part.text == ")":
            yield parts[start + 1 : n], parts[start - 1].name if start else ""


def split_at(parts: list[Token], separators: Set[str]) -> list[list[Token]]:
    """Return the parts between operators or words, in capitals, outside parentheses."""
    found: list[list[Token]] = [[]]
    for depth, part in _with_depths(parts):
        if part.text in separators and part.kind in ("other", "word") and not depth:
            found.append([])
        else:
            found[-1].append(part)
    return found


def listed(parts: list[Token]) -> list[list[Token]]:
    """Return what the first pair of parentheses lists, between commas; one empty part where there is none."""
    return split_at(next(groups(parts), ([], ""))[0], {","})
