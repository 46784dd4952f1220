"""What a command writes, as lines: of any length, in bounded memory."""

from __future__ import annotations

LONGEST = 16 << 10  # bytes of a line that are kept
_CUT = " … (the rest of this line is left out)"


class Lines:
    """Splits a stream of bytes into lines.

    Progress bars rewrite their line: only its last state is worth a log line. What is longer than
    LONGEST is cut off there.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._cut = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` ends."""
        *whole, rest = data.split(b"\n")
        found = []
        for piece in whole:
            self._add(piece)
            found.append(self._take())
        self._add(rest)
        return found

    def last(self) -> list[str]:
        """The line that the stream's end ends, if there is one."""
        return [self._take()] if self._line or self._cut else []

    def _add(self, piece: bytes) -> None:
        kept = piece.rstrip(b"\r")
        if (again := kept.rfind(b"\r")) >= 0:
            self._line.clear()
            self._cut = False
            kept = kept[again + 1 :]
        elif self._line.endswith(b"\r") and kept:
            self._line.clear()
            self._cut = False
        room = LONGEST - len(self._line)
        if room < len(kept):
            self._cut = True
        self._line += kept[:room]
        if piece.endswith(b"\r") and not self._line.endswith(b"\r"):
            self._line += b"\r"

    def _take(self) -> str:
        line = self._line.decode("utf-8", "replace").rstrip("\r")
        cut = self._cut
        self._line.clear()
        self._cut = False
        return line + _CUT if cut else line
