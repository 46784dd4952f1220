"""Literals: their text -> their value (Starlark spec, "Lexical elements")."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial

from grammar.environment import Position
from grammar.errors import SpecError
from grammar.starlark.limits import MAX_BITS
from grammar.starlark.text import from_digits

_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "\n": "",
}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_PREFIX = re.compile(r"[rb]*")
_DIGITS = {"x": "2 hexadecimal digits", "u": "4 hexadecimal digits", "U": "8 hexadecimal digits"}


class SpecStr(str):
    """A string that knows where it was written; what is computed from it does not."""

    position: Position

    @classmethod
    def at(cls, text: str, position: Position) -> SpecStr:
        """`text`, written at `position`."""
        made = cls(text)
        made.position = position
        return made


def string_value(token: str, position: Position) -> str | bytes:
    """The value of a string (or bytes) literal. Raises SpecError for a bad escape."""
    prefix = _PREFIX.match(token)
    assert prefix is not None
    flags, body = prefix[0], token[prefix.end() :]
    quote = body[:3] if len(body) >= 6 and body[:3] in ('"""', "'''") else body[:1]
    text = body[len(quote) : -len(quote)]
    if "r" in flags or "\\" not in text:
        return text.encode() if "b" in flags else SpecStr.at(text, position)
    pieces: list[bytes] = []
    last = 0
    for match in _ESCAPE.finditer(text):
        pieces.append(text[last : match.start()].encode())
        last = match.end()
        # An escape's place is looked for only when it is wrong: that takes a look at the whole token.
        offset = prefix.end() + len(quote) + match.start()
        where = partial(_inside, position, token, offset)
        pieces.append(_escaped(match[1], "b" in flags, where))
    pieces.append(text[last:].encode())
    value = b"".join(pieces)
    return value if "b" in flags else SpecStr.at(value.decode(), position)


def _inside(position: Position, token: str, offset: int) -> Position:
    """The place of a character of a token that begins at `position`."""
    before = token[:offset]
    lines = before.count("\n")
    column = offset - before.rfind("\n") if lines else position.column + offset
    return Position(position.file, position.line + lines, column)


def _escaped(code: str, in_bytes: bool, where: Callable[[], Position]) -> bytes:
    """The elements that an escape stands for. Raises SpecError."""
    if code in _SIMPLE:
        return _SIMPLE[code].encode()
    kind = code[0]
    if kind in "01234567":
        number = int(code, 8)
    elif kind in "xuU":
        if len(code) == 1:
            raise SpecError(f"truncated escape: '\\{kind}' needs {_DIGITS[kind]}", where())
        number = int(code[1:], 16)
    else:
        raise SpecError(f"invalid escape sequence '\\{code}': write '\\\\{code}'", where())
    if kind in "uU":
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise SpecError(f"'\\{code}' is not a Unicode code point", where())
        return chr(number).encode()
    if number > (255 if in_bytes else 127):
        if in_bytes:
            raise SpecError(f"'\\{code}' is not a byte: the largest is '\\377'", where())
        raise SpecError(f"'\\{code}' is not an ASCII character: write '\\u{number:04x}'", where())
    return bytes([number])


def integer_value(token: str, position: Position) -> int:
    """The value of an int literal. Raises SpecError."""
    base = {"x": 16, "o": 8, "b": 2}.get(token[1:2].lower(), 10)
    digits = token if base == 10 else token[2:]
    if base == 10 and len(token) > 1 and token[0] == "0":
        raise SpecError(
            f"an int has no leading zeros: an octal one is written 0o{token.lstrip('0') or '0'}", position
        )
    if len(digits) * (base.bit_length() - 1) > MAX_BITS:
        raise SpecError(f"an int of more than {MAX_BITS} bits", position)
    return from_digits(digits, base)


def float_value(token: str, position: Position) -> float:
    """The value of a float literal. Raises SpecError for one that is too large."""
    value = float(token)
    if math.isinf(value):
        raise SpecError("floating-point literal too large", position)
    return value
