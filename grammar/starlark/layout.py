"""Tokens -> tokens with indentation, between Lark's lexer and its parser (Starlark spec, "Special
tokens"). What is wrong with brackets, indentation and reserved words is found here."""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token
from lark.lark import PostLex

from grammar.starlark.keywords import RESERVED
from grammar.starlark.limits import MAX_NESTING, MAX_TOKENS

_OPENING = {"LPAR": ")", "LSQB": "]", "LBRACE": "}"}
_CLOSING = ("RPAR", "RSQB", "RBRACE")


class LayoutError(Exception):
    """What is wrong, at a line and column."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def _at(token: Token, message: str) -> LayoutError:
    return LayoutError(message, token.line or 1, token.column or 1)


class Layout(PostLex):
    """Turns _NEWLINE into _NEWLINE, _INDENT and _DEDENT. It has no state between files."""

    always_accept = ("_NEWLINE",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """The tokens that the grammar knows."""
        levels = [0]
        brackets: list[Token] = []
        first = True
        for number, token in enumerate(stream):
            kind = token.type
            if number > MAX_TOKENS:
                raise _at(token, f"the file has more than {MAX_TOKENS} tokens")
            if kind == "_NEWLINE":
                if not brackets:
                    yield from self._line(token, levels)
                first = False
                continue
            if first and token.column != 1:
                raise _at(token, "unexpected indentation")
            first = False
            if kind in _OPENING:
                brackets.append(token)
                if len(brackets) > MAX_NESTING:
                    raise _at(token, f"more than {MAX_NESTING} brackets inside each other")
            elif kind in _CLOSING:
                if not brackets:
                    raise _at(token, f"unexpected '{token}': it closes nothing")
                opening = brackets.pop()
                if _OPENING[opening.type] != token:
                    where = f"the '{opening}' of line {opening.line}"
                    raise _at(token, f"unexpected '{token}': it does not close {where}")
            elif kind == "NAME":
                self._name(token)
            yield token
        if brackets:
            raise _at(brackets[-1], f"'{brackets[-1]}' is never closed")
        for _ in levels[1:]:
            yield Token("_DEDENT", "")

    def _name(self, token: Token) -> None:
        if token in RESERVED:
            raise _at(token, RESERVED[token])
        if not token.isascii() and not all(c == "_" or c.isalpha() or c.isdecimal() for c in token):
            raise _at(token, f"'{token}' is not a valid name: names are letters, digits and underscores")

    def _line(self, token: Token, levels: list[int]) -> Iterator[Token]:
        """The end of a line, and how the next one is indented."""
        yield token
        indentation = token.rpartition("\n")[2]
        line = (token.line or 1) + token.count("\n")
        if "\t" in indentation:
            column = indentation.index("\t") + 1
            raise LayoutError("a tab in the indentation: indent with spaces", line, column)
        width = len(indentation)
        if width > levels[-1]:
            if len(levels) > MAX_NESTING // 2:
                raise LayoutError(f"more than {MAX_NESTING // 2} blocks inside each other", line, 1)
            levels.append(width)
            yield self._token("_INDENT", line, width)
        while width < levels[-1]:
            levels.pop()
            if width > levels[-1]:
                raise LayoutError("the indentation fits no block above", line, width + 1)
            yield self._token("_DEDENT", line, width)

    def _token(self, kind: str, line: int, width: int) -> Token:
        return Token(kind, "", line=line, column=width + 1)
