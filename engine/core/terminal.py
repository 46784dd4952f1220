"""What others wrote, shown to people: output of build steps, names and labels of images, what servers
answer. A terminal obeys control characters in it: they change its title, its clipboard, what was
printed before. None of them reaches it.

Line breaks and tabs pass, and colours (SGR) where envd itself writes to a terminal. All else is
written as "\\u001b", which is what JSON has for it, so that JSON stays what it is.

Control sequences: ECMA-48; bidirectional controls: Unicode, UAX #9.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

_CONTROLS = (
    r"\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f"  # C0, DEL and C1, but for what follows
    r"\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069"  # what turns text around, or ends its line
)
_RETURN = r"\r(?!\n)"  # what comes after it would replace what was printed
_ESCAPED = re.compile(rf"[{_CONTROLS}\x1b]|{_RETURN}")
# A name that is not UTF-8 goes out as its bytes, of which these are C1 to some terminals.
_ESCAPED_ON_TERMINALS = re.compile(rf"[{_CONTROLS}\udc80-\udc9f]|\x1b(?!\[[0-9;:]{{0,40}}m)|{_RETURN}")
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: cursor, colours, erasing
    # OSC, DCS, SOS, PM, APC: a string with an end
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x80-\x9f\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)


def escape(text: str) -> str:
    """`text` with its control characters as JSON would write them."""
    return _ESCAPED.sub(_as_json, text)


def _as_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def clean(text: str) -> str:
    """`text` of a program that wrote to a terminal: without its control sequences (colours too), and
    what is left escaped."""
    if _ESCAPED.search(text) is None:
        return text
    return escape(_SEQUENCE.sub("", text))


def one_line(text: str) -> str:
    """`clean`, for a place in a line or a table: line breaks and tabs are escaped as well."""
    text = clean(text)
    return text if text.isprintable() else re.sub(r"[\t\n\r]", _as_json, text)


class Guarded:
    """A text stream that escapes control characters, but colours on a terminal. All else is the
    stream's own: bytes written to its `buffer` pass as they are."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._pattern = _ESCAPED_ON_TERMINALS if stream.isatty() else _ESCAPED

    def write(self, text: str) -> int:
        """Write `text`; the number of its characters. Raises TypeError for bytes."""
        self.stream.write(self._pattern.sub(_as_json, text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all `lines`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard() -> None:
    """Escape what this process prints, from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Guarded):
            setattr(sys, name, Guarded(stream))


def bare(stream: TextIO) -> TextIO:
    """The stream itself, for who moves the cursor and has cleaned all that others wrote."""
    return stream.stream if isinstance(stream, Guarded) else stream
