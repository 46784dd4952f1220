"""Output as lines: whatever pieces it comes in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.core.output import LONGEST, Lines


def split(pieces: list[bytes]) -> list[str]:
    lines = Lines()
    return [line for piece in pieces for line in lines.feed(piece)] + lines.last()


def by_line(data: bytes) -> list[str]:
    """The same of all bytes at once, as they were split when every line was kept whole."""
    whole = data.split(b"\n")
    whole = whole if whole[-1] else whole[:-1]
    return [w.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace") for w in whole]


@given(st.lists(st.text(alphabet="ab\r\n\N{SNOWMAN}").map(str.encode)))
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    assert [w for w in split(pieces) if w] == [w for w in by_line(b"".join(pieces)) if w]


def test_a_long_line_is_cut() -> None:
    first, second = split([b"a" * (LONGEST - 1), b"bcd" * 100_000, b"\nnext\n"])
    assert first.startswith("a" * (LONGEST - 1) + "b …")
    assert second == "next"


def test_a_progress_bar_is_not_cut() -> None:
    assert split([b"%d of 100000\r" % n for n in range(100_000)] + [b"done\n"]) == ["done"]


def test_nothing_grows() -> None:
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"\r" * 70_000) == []
        assert lines.feed(b"x" * 70_000) == []
    assert len(lines._line) <= LONGEST + 1
