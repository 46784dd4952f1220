"""What to say of text that does not parse: the likeliest mistake, and where it stands.

Mostly of people's other languages: operators of C, statements that Starlark does not have, quotes
of word processors. (Reserved words and brackets are layout.py's.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_CHARACTERS = {
    "&": "write 'and'",
    "!": "write 'not'",
    "?": "write 'a if condition else b'",
    "@": "Starlark has no decorators",
    "`": 'write "…"',
    "$": 'a string is written "…"',
    "\u201c": 'write "',
    "\u201d": 'write "',
    "\u2018": "write '",
    "\u2019": "write '",
    "\u00a0": "it is a no-break space: write a plain one",
    "\\": "nothing but the end of the line may follow it",
}
_SHOWN = {"_NEWLINE": "end of the line", "_DEDENT": "end of the block", "$END": "end of the file"}
_BLOCKS = ("if", "elif", "else", "for", "def")
_WORD = re.compile(r"[A-Za-z_]\w*")


def about_character(text: str, position: int) -> str:
    """What is wrong with a character that begins no token."""
    character = text[position : position + 1]
    if not character:
        return "unexpected end of the file"
    if character in "\"'":
        return "a string that does not end"
    hint = _CHARACTERS.get(character, "")
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    return f"unexpected character '{shown}'" + (f": {hint}" if hint else "")


def about_token(token: Any, text: str, expected: Iterable[str]) -> tuple[str, int]:
    """What is wrong with a token, and the column (from 1) where that stands, 0 for its own.
    `expected` are names of the terminals that may stand there."""
    lines = text.split("\n")
    line = lines[token.line - 1] if token.line and token.line <= len(lines) else ""
    before, value, wanted = line[: (token.column or 1) - 1], str(token), set(expected)
    first = _WORD.match(line.lstrip())
    word = first[0] if first else ""
    if token.type == "STRING":
        return _about_string(before, value), 0
    if token.type == "_INDENT":
        return "unexpected indentation", 0
    if word in ("else", "elif") and value == word:
        return f"'{word}' without an 'if' above it", 0
    if re.match(r"\s*else\s+if\b", line):
        return "write 'elif'", len(line) - len(line.lstrip()) + 1
    if wanted == {"_INDENT"}:
        return "an indented block is missing", 0
    if token.type in _SHOWN:
        shown = f"unexpected {_SHOWN[token.type]}"
        if token.type == "_NEWLINE" and "COLON" in wanted and word in _BLOCKS:
            return f"{shown}: ':' is missing", 0
        if wanted and re.search(r"\bif\b", before) and "ELSE" in wanted:
            return f"{shown}: 'else' is missing", 0
        return shown, 0
    hint = _hint(value, before, line[len(before) :], word, wanted)
    return f"unexpected '{value}'" + (f": {hint}" if hint else ""), 0


def _about_string(before: str, value: str) -> str:
    if before.endswith(("f", "F")):
        return "Starlark has no f-strings: use '…'.format(…)"
    if value in ('""', "''") or before.endswith(('""', "''")):
        return "a string that does not end"
    if before.rstrip().endswith(("'", '"')) or not before.strip():
        return "two strings side by side: join them with '+', or is a comma missing?"
    if re.search(r"\bprint\s*$", before):
        return "unexpected string: print is a function, print(…)"
    return "unexpected string: is a comma or a bracket missing?"


def _hint(value: str, before: str, rest: str, word: str, wanted: set[str]) -> str:
    """What may have been meant by a token that does not belong after `before`."""
    if rest.startswith(":="):
        return "assign in a statement of its own"
    call = re.fullmatch(r"\s*([a-z_][\w.]*)\s+", before)
    if word in ("function", "func", "fn", "Def", "DEF", "define", "sub") and _WORD.match(value):
        return "a function begins with 'def'"
    if value == ":" and re.fullmatch(r"\s*\w+\(.*\)\s*", before) and word != "def":
        return "a function begins with 'def'"
    if word == "def" and wanted == {"LPAR"}:
        return "'(' is missing"
    if call and _WORD.fullmatch(value) and call[1] not in _BLOCKS:
        return f"a call is written {call[1]}(…)"
    inside = _innermost(before)
    named = re.search(r"\w$", before) if value == ":" else re.search(r"\w=$", before)
    if word != "def" and inside == "(" and named:
        return "an argument is written NAME=VALUE"
    if inside == "{" and value in ("}", ",") and "COLON" in wanted:
        return "a dict is written {key: value, …}, a list [value, …]"
    if value == "=" and before.endswith(("'", '"')):
        return "a name before '=' has no quotes"
    if value == "=":
        return "to compare, write '=='"
    if value in ("&", "|") and before.rstrip().endswith(value):
        return f"write '{'and' if value == '&' else 'or'}'"
    if value in ("*", "**") and re.search(r"[\w)]\s*\*?$", before):
        return "Starlark has no power operator"
    if value == "for" and before.count("(") > before.count(")"):
        return "write a list, [… for …]"
    if word == "for" and "IN" in wanted:
        return "'in' is missing"
    if value == ":" and re.fullmatch(r"\s*(if|elif)\s*", before):
        return "a condition is missing"
    annotated = re.match(r"\s*def\s+\w+\s*\(.*\w\s*$|\s*\w+\s*$", before)
    if (value == ":" and annotated and re.match(r":\s*[A-Za-z]", rest)) or rest.startswith("->"):
        return "Starlark has no type annotations"
    if before[-1:].isdigit() and _WORD.match(value):
        return "a number ends before it"
    if re.fullmatch(r"\w+", value) and "COMMA" in wanted and (inside or not before.strip()):
        return "is a comma missing?"
    return ""


def _innermost(before: str) -> str:
    """The bracket that is open at the end of a line's beginning, "" for none."""
    opened: list[str] = []
    for character in re.sub(r"""("|').*?\1""", "", before):
        if character in "([{":
            opened.append(character)
        elif character in ")]}" and opened:
            opened.pop()
    return opened[-1] if opened else ""
