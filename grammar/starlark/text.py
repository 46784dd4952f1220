"""Strings as the Starlark specification has them: sequences of elements that encode text as UTF-8.

A string is a Python str, so that text stays text for everything outside of the language. What
counts elements (len, indices, slices, find, …) looks at its UTF-8. Bytes that encode no character,
which only slicing a character apart makes, are surrogates (PEP 383), so that str and UTF-8 are two
forms of the same value; `joined` restores the one form when pieces come together again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LOST = re.compile("[\udc80-\udcff]")
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)  # Unicode White_Space


def encoded(text: str) -> bytes:
    """The elements of a string."""
    return text.encode("utf-8", "surrogateescape")


def decoded(data: bytes) -> str:
    """The string of these elements."""
    return data.decode("utf-8", "surrogateescape")


def length(text: str) -> int:
    """How many elements a string has."""
    return len(text) if text.isascii() else len(encoded(text))


def whole(text: str) -> bool:
    """Whether a string is text: no element is outside of a character."""
    return text.isascii() or _LOST.search(text) is None


def joined(text: str) -> str:
    """The one form of a string that was put together from strings."""
    return text if whole(text) else decoded(encoded(text))


def replaced(text: str) -> str:
    """A string with U+FFFD in place of each element that is outside of a character."""
    return text if text.isascii() else _LOST.sub("\ufffd", text)


def quoted(text: str) -> str:
    """The literal of a string."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_escaped, text)) + '"'


_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def utf16(text: str) -> bytes:
    """The UTF-16 transcoding, little-endian."""
    return replaced(text).encode("utf-16-le")


@dataclass(frozen=True)
class View:
    """What elems() and the like give: an iterable over a string or bytes. `method` made it."""

    of: str | bytes
    method: str

    @property
    def type_name(self) -> str:
        """What type() says."""
        if isinstance(self.of, bytes):
            return "bytes.elems"
        return "string.elems" if "elem" in self.method else "string.codepoints"

    def __len__(self) -> int:
        if isinstance(self.of, bytes):
            return len(self.of)
        return length(self.of) if "elem" in self.method else len(self.of)

    def __iter__(self) -> Iterator[str | int]:
        if isinstance(self.of, bytes):
            return iter(self.of)
        if self.method == "elem_ords":
            return iter(encoded(self.of))
        if self.method == "elems":
            if self.of.isascii():
                return iter(self.of)
            return (decoded(bytes([x])) for x in encoded(self.of))
        characters = replaced(self.of)
        return iter(characters) if self.method == "codepoints" else map(ord, characters)

    def __getitem__(self, index: int | slice) -> object:
        return list(self)[index]


_CHUNK = 600  # digits that Python converts whatever its own limit on digits is
_CHUNK_BITS = 1900


def decimal(value: int) -> str:
    """An int of any size in base 10."""
    if value.bit_length() <= _CHUNK_BITS:
        return str(value)
    digits = _digits(abs(value), int(value.bit_length() * 0.30103) + 1).lstrip("0")
    return f"-{digits}" if value < 0 else digits


def _digits(value: int, number: int) -> str:
    if number <= _CHUNK:
        return str(value).rjust(number, "0")
    half = number // 2
    high, low = divmod(value, 10**half)
    return _digits(high, number - half) + _digits(low, half)


def from_digits(text: str, base: int = 10) -> int:
    """The int that ASCII digits of any number denote. Raises ValueError when one is none."""
    if len(text) <= _CHUNK or base in (2, 4, 8, 16, 32):
        return int(text, base)
    half = len(text) // 2
    high: int = from_digits(text[:-half], base) * base**half
    return high + from_digits(text[-half:], base)


def float_text(value: float) -> str:
    """A float as the specification's %g: the fewest digits that denote it, with an exponent when
    that is below -4 or above 5, and otherwise always a point."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "+inf" if value > 0 else "-inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    digits, exponent = _parts(repr(abs(value)))
    if exponent < -4 or exponent > 5:
        point = "." if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}{digits[1:]}e{exponent:+03d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return f"{sign}{digits[: exponent + 1]:0<{exponent + 1}}.{digits[exponent + 1 :] or '0'}"


def _parts(text: str) -> tuple[str, int]:
    """The significant digits and the decimal exponent of a positive float, from its repr."""
    number, _, power = text.partition("e")
    units, _, fraction = number.partition(".")
    digits = (units + fraction).lstrip("0")
    exponent = len(digits) - len(fraction) - 1 + int(power or 0)
    return (digits.rstrip("0") or "0", exponent if digits else 0)
