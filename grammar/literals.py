"""String literals: their text -> their value (Starlark spec, "String literals")."""

from __future__ import annotations

import re

from grammar.environment import Position
from grammar.errors import SpecError

_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\",
    "'": "'", '"': '"', "\n": "",
}
_ESCAPE = re.compile(
    r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL
)


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
    prefix = re.match(r"[rb]*", token)
    assert prefix is not None
    flags, body = prefix[0], token[prefix.end() :]
    if flags not in ("", "r", "b", "rb", "br"):
        raise SpecError(f"no string prefix '{flags}'", position)
    quote = body[:3] if body[:3] in ('"""', "'''") else body[:1]
    text = body[len(quote) : -len(quote)]
    if "r" in flags:
        value = text
    else:
        def decode(match: re.Match[str]) -> str:
            code = match[1]
            if code in _SIMPLE:
                return _SIMPLE[code]
            if (code[0] in "uU" and len(code) > 1) or (code[0] == "x" and len(code) == 3):
                number = int(code[1:], 16)
            elif code[0] in "01234567":
                number = int(code, 8)
            else:
                raise SpecError(f"no escape '\\{code}' in strings: write '\\\\{code}'", position)
            if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
                raise SpecError(f"'\\{code}' is no character", position)
            if "b" not in flags and code[0] not in "uU" and number > 127:
                raise SpecError(f"'\\{code}' is no ASCII character: write \\u{number:04x}", position)
            return chr(number)

        value = _ESCAPE.sub(decode, text)
    if "b" in flags:
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            return value.encode("utf-8")
    return SpecStr.at(value, position)
